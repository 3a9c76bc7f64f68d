"""Documents: the links, paths, commands and flags in them exist, and their lines are short."""

import dataclasses
import fnmatch
import functools
import pathlib
import re

import pytest
from test_floors import FLOORS

from transformer_jax.cli.main import COMMANDS
from transformer_jax.config import Config
from transformer_jax.service.limits import Limits

ROOT = pathlib.Path(__file__).resolve().parents[1]
# As in the Makefile's PAGES; commands of this package write the others.
PAGES = sorted(
  page
  for folder in (".", "docs", "experiments", "benchmarks")
  for page in (ROOT / folder).glob("*.md")
)
CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md"]  # the past has names of its own
# Folders that a path in a text may start from.
STARTS = (
  ".",
  "transformer_jax",
  "transformer_jax/analysis",
  "experiments",
  "tests",
  "benchmarks",
)
# Files that a run, an environment or a data set has, not the repository.
ELSEWHERE = re.compile(
  r"(runs/(quickstart|grammar|d_k_)|build/|\.venv|/|~|\.\./shared|node\d|processes/|tok/|"
  r"gs-mounted/)"
)
IN_A_WORKDIR = {"config.json", "score.json", "meta.json", "metrics.jsonl", "attention.json"}
IN_A_WORKDIR |= {"attention.html", "splits_unknown.txt", "log.txt"}
IN_A_WORKDIR |= {"weights.json"}  # the reader's own
SUFFIXES = "py|md|flags|json|jsonl|sh|png|pdf|html|toml|yml|yaml|cff|txt"
FLAGS_OF_OTHERS = {"flagfile", "signal", "check"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name + page.parent.name)
each_current_page = pytest.mark.parametrize(
  "page", CURRENT, ids=lambda page: page.name + page.parent.name
)


def text_of(page):
  return page.read_text(encoding="utf-8")


def code_in(text):
  """Returns what stands in code blocks and between backticks."""
  fence = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
  inline = re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", fence.sub("", text))
  return "\n".join(fence.findall(text) + inline)


def broken_links(text, folder):
  """Returns the relative links and pictures whose file is missing, and anchors that nothing has."""
  broken = []
  linked = re.findall(r"\]\(<?([^)>\s]+)>?\)", text) + re.findall(r'src="([^"]+)"', text)
  for target in linked:
    if target.startswith(("http:", "https:", "mailto:")):
      continue
    name, _, anchor = target.partition("#")
    file = folder / name if name else None
    if file is not None and not file.exists():
      broken.append(target)
    elif anchor:
      there = text if file is None else text_of(file)
      headings = re.findall(r"^#+ (.+)$", there, re.MULTILINE)
      slugs = {re.sub(r"[^\w\- ]", "", each).lower().replace(" ", "-") for each in headings}
      if anchor not in slugs and f'id="{anchor}"' not in there:
        broken.append(target)
  return broken


@functools.cache
def file_names():
  """Returns the names of all files of the repository."""
  tops = [top for top in ROOT.iterdir() if top.name not in ("build", "runs")]
  folders = [top for top in tops if top.is_dir() and not top.name.startswith(".")]
  inside = {path.name for folder in folders for path in folder.rglob("*.*")}
  return inside | {top.name for top in tops}


def is_there(path, folder):
  """Returns whether a path exists, from the page's folder or from where paths may start.

  A name without a folder may be that of any file.
  """
  if "/" not in path:
    return bool(fnmatch.filter(file_names(), path))
  starts = [folder, *(ROOT / start for start in STARTS)]
  return any(any(start.glob(path.rstrip("/"))) for start in starts)


def missing_paths(text, folder):
  """Returns the paths and file names in code that do not exist."""
  files = rf"(?<![\w/.=*-])(?:[\w.*<>~-]*/)*[\w.*-]+\.(?:{SUFFIXES})\b"
  folders = r"(?:[\w.-]+/)+(?![\w*<])"
  named = re.findall(f"{files}|{folders}", code_in(text))
  named = [path for path in named if not ELSEWHERE.match(path) and path not in IN_A_WORKDIR]
  return [path for path in named if not is_there(path, folder)]


def missing_names(text):
  """Returns the names that a text places in a file (`name` in `path`) and that it has not."""
  missing = []
  for name, path in re.findall(r"`(\w+)`\s+in\s+`([\w/]+\.py)`", text):
    files = [each for start in STARTS for each in (ROOT / start).glob(path)]
    if not any(re.search(rf"\b{name}\b", text_of(file)) for file in files):
      missing.append(f"{name} in {path}")
  return missing


def missing_targets(text):
  """Returns the targets of `make` in code that the Makefile has not."""
  targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
  named = re.findall(r"(?:^|[\s(])make(?: [A-Z]+=\S+)* ([a-z-]+)", "\n" + code_in(text))
  return [name for name in named if name not in targets]


def missing_commands(text):
  """Returns the names behind `transformer-jax` in code that are no commands."""
  named = re.findall(r"transformer-jax ([a-z]+)\b", code_in(text))
  return [name for name in named if name not in COMMANDS]


def known_flags():
  """Returns the names of all flags: settings, those that commands declare, those of scripts."""
  groups = dataclasses.fields(Config)
  known = {name for group in groups for name in dataclasses.asdict(getattr(Config(), group.name))}
  known |= {field.name for field in dataclasses.fields(Limits)}
  scripts = [*ROOT.glob("transformer_jax/cli/*.py"), *ROOT.glob("benchmarks/*.py")]
  scripts += ROOT.glob("tests/faults/*.py")
  for path in scripts:
    known |= set(re.findall(r"""["'](?:--)?([a-z][a-z0-9_]+)["']""", text_of(path)))
  return known


def missing_flags(text, known):
  """Returns the flags named in code of their own that no command and no script has.

  `--noNAME` switches NAME off.
  """
  inline = re.findall(r"`--([a-z][a-z0-9_]+)", text)
  there = known | FLAGS_OF_OTHERS
  return [name for name in inline if not {name, name.removeprefix("no")} & there]


def inner_items(text):
  """Returns the items of lists within lists."""
  return re.findall(
    r"^ +(?:[-*]|\d+\.) .*", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M
  )


def long_lines(text):
  """Returns the lines over 100 columns, but for tables, headings, links, code, and long words.

  Japanese has no blanks to break a line at.
  """
  prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
  long = [line for line in prose.splitlines() if len(line) > 100]
  free = re.compile(
    r"\||#|\s*[-*]? ?!?\[[^\]]*\]\([^)]*\)[.,]?$|\s*`[^`]*`[.,:]?$|.*[\u3040-\u30ff\u4e00-\u9fff]"
  )
  return [line for line in long if not free.match(line)]


@each_page
def test_links_lead_somewhere(page):
  assert not broken_links(text_of(page), page.parent)


@each_current_page
def test_paths_exist(page):
  assert not missing_paths(text_of(page), page.parent)
  assert not missing_names(text_of(page))


@each_page
def test_make_targets_and_commands_exist(page):
  assert not missing_targets(text_of(page))
  assert not missing_commands(text_of(page))


@each_page
def test_flags_exist(page):
  assert not missing_flags(text_of(page), known_flags())


@each_page
def test_lists_are_flat(page):
  """The site needs four spaces for an inner list, and the formatter writes two."""
  assert not inner_items(text_of(page))


@each_page
def test_lines_are_short(page):
  assert not long_lines(text_of(page))


def floors_in(text):
  """Returns the names on each floor of CONTRIBUTING.md's table, from the lowest floor up."""
  rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", text, re.MULTILINE)
  assert [int(number) for number, _ in rows] == list(range(len(rows)))
  return [set(re.findall(r"`(\w+)(?:/|\.py)`", names)) for _, names in rows]


def test_the_table_of_floors_is_that_of_the_imports():
  floors = floors_in(text_of(ROOT / "CONTRIBUTING.md"))
  assert floors == [set(floor) for floor in FLOORS[: len(floors)]]
  assert set(FLOORS[-1]) == {"__init__", "__main__"} and len(FLOORS) == len(floors) + 1


@pytest.mark.parametrize("name", [".ci/run", ".github/workflows/ci.yml"])
def test_scripts_call_targets_that_exist(name):
  text = text_of(ROOT / name)
  assert "make test" in text and not missing_targets(f"```\n{text}\n```")


@pytest.mark.parametrize("name", ["slurm.sh", "slurm_array.sh"])
def test_the_page_about_clusters_shows_the_scripts(name):
  script = (ROOT / "experiments" / "clusters" / name).read_text(encoding="utf-8")
  assert f"```\n{script}```" in (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")


def test_each_check_can_fail():
  """Each finds the one fault that is planted in a text, and lets the rest pass."""
  text = '[a](README.md) [b](none.md) [c](README.md#start) [d](README.md#none) <img src="none.png">'
  assert broken_links(text, ROOT) == ["none.md", "README.md#none", "none.png"]
  text = "`runs/build.py` `runs/none.py` `table3.py` `none.py` `model/` `rooms/` `wmt14_*.flags`"
  assert missing_paths(text, ROOT) == ["runs/none.py", "none.py", "rooms/"]
  text = "`build_task` in `runs/build.py`, `none` in `runs/build.py`"
  assert missing_names(text) == ["none in runs/build.py"]
  assert missing_targets("`make test` and `make SEED=1 none`") == ["none"]
  assert missing_commands("`transformer-jax train` `transformer-jax none`") == ["none"]
  assert missing_flags("`--d_k=3` `--none`", known_flags()) == ["none"]
  assert floors_in("| 0 | `a.py`, `b/` | x |\n| 1 | `c/` | `d/` |\n") == [{"a", "b"}, {"c"}]
  assert inner_items("- a\n  - b\n- c\n") == ["  - b"]
  words = "word " * 21
  assert long_lines(f"{words}\n| {words}\n```\n{words}\n```\n") == [words]


def test_every_page_of_the_site_stands_in_its_navigation():
  """As `make docs` demands, which needs more than the tests do."""
  navigation = text_of(ROOT / "mkdocs.yml").partition("\nnav:\n")[2]
  named = {ROOT / path for path in re.findall(r": (\S+\.md)$", navigation, re.MULTILINE)}
  published = {*ROOT.glob("*.md")}
  for folder in ("docs", "experiments", "benchmarks"):
    published |= {*(ROOT / folder).rglob("*.md")}
  assert named == published
