"""The floors of CONTRIBUTING.md: a file imports only from below; some things have one place."""

import ast
import graphlib
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "transformer_jax"
FILES = sorted(PACKAGE.rglob("*.py"))
FLOORS = [
  ("errors", "interrupt", "moved", "reference", "strict_json"),
  ("cache_folder", "config", "files", "machine", "roll_call"),
  ("attention", "data", "metrics", "checkpoints", "parallel", "workdir"),
  ("model", "tasks"),
  ("training", "decoding"),
  ("runs",),
  ("analysis", "interop"),
  ("service",),
  ("cli",),
  ("__init__", "__main__"),
]
FLOOR_OF = {unit: number for number, units in enumerate(FLOORS) for unit in units}


def unit_of(path):
  """Returns the folder or top-level file that a file belongs to."""
  return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path):
  """Yields the dotted names that a file imports anywhere, also inside functions."""
  for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f"{path}:{node.lineno}: relative import"
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


def outside_of(path):
  """Returns the other top-level packages that a file imports."""
  return {name.split(".")[0] for name in imports_of(path)} - {"transformer_jax"}


def inside_of(path):
  """Returns the units of this package that a file imports; the package itself is not a unit."""
  units = {name.split(".")[1] for name in imports_of(path) if name.startswith("transformer_jax.")}
  return units & set(FLOOR_OF)


def test_every_file_is_on_a_floor():
  assert {unit_of(path) for path in FILES} == set(FLOOR_OF)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_from_below_or_from_its_own_folder(path):
  unit = unit_of(path)
  for other in inside_of(path):
    assert other == unit or FLOOR_OF[other] < FLOOR_OF[unit], (
      f"{path} (floor {FLOOR_OF[unit]}) imports {other} (floor {FLOOR_OF[other]})"
    )


def name_of(path):
  """Returns the dotted name of a file's module."""
  parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
  return ".".join(parts).removesuffix(".__init__")


def test_no_folder_has_a_cycle():
  modules = {name_of(path): path for path in FILES}
  graph = {}
  for name, path in modules.items():
    graph[name] = set()
    for imported in imports_of(path):
      target = imported if imported in modules else imported.rpartition(".")[0]
      if target in modules and target not in (name, "transformer_jax"):
        graph[name].add(target)
  list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize(
  "unit, forbidden",
  [
    ("attention", {"flax"}),
    ("data", {"jax", "flax"}),
    ("metrics", {"jax", "flax"}),
    ("tasks", {"jax", "flax"}),
  ],
)
def test_packages_that_a_folder_must_not_know(unit, forbidden):
  for path in FILES:
    if unit_of(path) == unit:
      assert not outside_of(path) & forbidden, path


def test_the_reference_knows_only_numpy():
  for path in FILES:
    if unit_of(path) == "reference":
      types = {"collections", "typing"}
      assert outside_of(path) <= {"numpy", "math", *types}, path


def uses(text):
  """Yields the units whose code (not comments) has an attribute or a name `text`."""
  for path in FILES:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
      if text in (getattr(node, "attr", None), getattr(node, "id", None)):
        yield unit_of(path)


def test_flags_are_read_only_in_cli():
  assert {unit_of(path) for path in FILES if "absl" in outside_of(path)} == {"cli"}
  assert set(uses("FLAGS")) <= {"cli"}


def test_pmap_is_only_in_parallel():
  assert set(uses("pmap")) == {"parallel"}


def test_json_is_written_in_one_place():
  """Elsewhere NaN would become a word that is not JSON."""
  assert set(uses("dumps")) == {"strict_json"} and not set(uses("dump"))


def test_files_are_replaced_in_one_place():
  """Elsewhere a failed write would have another remedy, and a kill might leave half a file."""
  assert {path for path in FILES if "os.replace(" in path.read_text(encoding="utf-8")} == {
    PACKAGE / "files.py"
  }


def test_nothing_imports_tensorflow():
  assert not [path for path in FILES if "tensorflow" in outside_of(path)]


def public_functions(tree):
  """Yields the functions and methods of a file that others may call; nested ones are private."""
  for node in tree.body:
    if isinstance(node, ast.ClassDef):
      yield from public_functions(node)
    elif isinstance(node, ast.FunctionDef):
      if not node.name.startswith("_") or node.name.startswith("__"):
        yield node


def missing_annotations(function):
  """Returns the names of what a function leaves untyped."""
  a = function.args
  arguments = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
  names = [each.arg for each in arguments if each.annotation is None]
  missing = [name for name in names if name not in ("self", "cls")]
  return missing if function.returns is not None else [*missing, "return"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_functions_are_annotated(path):
  functions = public_functions(ast.parse(path.read_text(encoding="utf-8")))
  missing = {function.name: missing_annotations(function) for function in functions}
  assert not {name: names for name, names in missing.items() if names}


def test_missing_annotations_are_noticed():
  (function,) = public_functions(ast.parse("def f(a, *b, c: int = 1): pass"))
  assert sorted(missing_annotations(function)) == ["a", "b", "return"]
