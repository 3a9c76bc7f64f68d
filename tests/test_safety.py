"""Nothing in the package runs code that stands in a file, or trusts a file to say what to build."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "transformer_jax"
FILES = sorted(PACKAGE.rglob("*.py"))

# They turn bytes into code.
MODULES = {
  "pickle",
  "cPickle",
  "dill",
  "cloudpickle",
  "joblib",
  "marshal",
  "shelve",
  "code",
  "codeop",
  "imp",
}
NAMES = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {"extractall", "unpack_archive", "load_module", "exec_module", "system", "popen"}
KEYWORDS = {"allow_pickle", "shell"}  # may only be given as False


def offences(text):
  """Yields what a file does that no file here may do."""
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, ast.Import):
      yield from imports(alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield from imports([node.module or ""])
    elif isinstance(node, ast.Call):
      yield from calls(node)


def imports(names):
  """Yields the forbidden modules among imported names."""
  for name in names:
    if name.split(".")[0] in MODULES:
      yield f"imports {name}"


def calls(node):
  """Yields what is forbidden about a call."""
  function = node.func
  if isinstance(function, ast.Name) and function.id in NAMES:
    yield f"calls {function.id}"
  if isinstance(function, ast.Attribute) and function.attr in ATTRIBUTES:
    yield f"calls {function.attr}"
  for keyword in node.keywords:
    if keyword.arg in KEYWORDS and getattr(keyword.value, "value", None) is not False:
      yield f"passes {keyword.arg}"
  given = {keyword.arg for keyword in node.keywords}
  if ast.unparse(function) == "np.load" and "allow_pickle" not in given:
    yield "np.load without allow_pickle=False"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_runs_code_from_a_file(path):
  assert list(offences(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
  "text",
  [
    "import pickle",
    "from pickle import load",
    "eval(x)",
    "np.load(f, allow_pickle=True)",
    "np.load(f)",
    "archive.extractall()",
    "subprocess.run(x, shell=True)",
  ],
)
def test_the_test_sees_them(text):
  assert list(offences(text))
