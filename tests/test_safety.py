"""Nothing in the package runs code that stands in a file, or trusts a file to say what to build."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "transformer_jax"
FILES = sorted(PACKAGE.rglob("*.py"))

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
}  # they turn bytes into code
NAMES = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {"extractall", "unpack_archive", "load_module", "exec_module", "system", "popen"}


def offences(text):
  """What a file does that no file here may do."""
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, (ast.Import, ast.ImportFrom)):
      names = (
        [alias.name for alias in node.names]
        if isinstance(node, ast.Import)
        else [node.module or ""]
      )
      yield from (f"imports {name}" for name in names if name.split(".")[0] in MODULES)
    elif isinstance(node, ast.Call):
      function = node.func
      if isinstance(function, ast.Name) and function.id in NAMES:
        yield f"calls {function.id}"
      if isinstance(function, ast.Attribute) and function.attr in ATTRIBUTES:
        yield f"calls {function.attr}"
      for keyword in node.keywords:
        if (
          keyword.arg in ("allow_pickle", "shell")
          and getattr(keyword.value, "value", None) is not False
        ):
          yield f"passes {keyword.arg}"
      if (
        isinstance(function, ast.Attribute)
        and function.attr == "load"
        and getattr(function.value, "id", "") == "np"
      ):
        if not any(keyword.arg == "allow_pickle" for keyword in node.keywords):
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
