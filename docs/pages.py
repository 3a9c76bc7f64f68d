"""Gathers the pages of the site for mkdocs: the repository's Markdown files, and the Python API.

Each file keeps its path, so a link between two files holds on the site as it does in a checkout.
"""

import pathlib

from mkdocs.structure.files import File, Files

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "transformer_jax"
# Whatever a page may show or link to.
PUBLISHED = [
  "*.md",
  "CITATION.cff",
  "LICENSE",
  "benchmarks/**/*.md",
  "benchmarks/results/*",
  "docs/*.css",
  "docs/**/*.md",
  "docs/figures/**/*.*",
  "experiments/**/*.*",
]
FOLDERS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def on_config(config):
  """Adds the API's pages to the navigation."""
  pages = [{"transformer_jax": "api/transformer_jax.md"}]
  pages += [{f"transformer_jax.{name}": f"api/{name}.md"} for name in FOLDERS]
  config.nav.append({"Python API": pages})
  return config


def on_files(files, config):
  """Returns the repository's pages in place of those of `docs_dir`, beside the theme's files."""
  own = [file for file in files if file.src_dir != config.docs_dir]
  found = {path for pattern in PUBLISHED for path in ROOT.glob(pattern) if path.is_file()}
  for path in sorted(found):
    name = path.relative_to(ROOT).as_posix()
    own.append(File.generated(config, name, abs_src_path=str(path)))
  for name, text in _api_pages().items():
    own.append(File.generated(config, f"api/{name}.md", content=text))
  return Files(own)


def _api_pages():
  """Returns the text of the API's pages by name: one for the top level, one for each folder."""
  top = ["# transformer_jax", "::: transformer_jax\n    options:\n      show_submodules: false"]
  for path in sorted(PACKAGE.glob("[!_]*.py")):
    top.append(f"## transformer_jax.{path.stem}")
    top.append(f"::: transformer_jax.{path.stem}\n    options:\n      heading_level: 3")
  pages = {name: f"# transformer_jax.{name}\n\n::: transformer_jax.{name}\n" for name in FOLDERS}
  return {"transformer_jax": "\n\n".join(top) + "\n"} | pages
