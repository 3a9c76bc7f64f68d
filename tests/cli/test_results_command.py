"""`evaluate --results` and `results`: from a run to a page, and the pages of this repository."""

import hashlib
import itertools
import json
import pathlib
import re
import statistics

import pytest
import tiny_run

from transformer_jax.analysis.results import pages, rows
from transformer_jax.cli.main import run
from transformer_jax.cli.results import settings_of
from transformer_jax.runs import evaluate as evaluate_module
from transformer_jax.runs.digest import digest_of

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "experiments/results"
PAGES = [REPOSITORY / "README.md", REPOSITORY / "experiments/README.md"]


@pytest.fixture
def project(tmp_path, monkeypatch):
  """A working folder with a page, and a flag file of `trained` without two of its settings."""
  flags = [flag for flag in tiny_run.flags() if not flag.startswith(("--seed", "--log_every"))]
  (tmp_path / "mine").mkdir()
  (tmp_path / "mine/tiny.flags").write_text("# Tiny.\n" + "\n".join(flags) + "\n")
  (tmp_path / "README.md").write_text(
    "# Mine\n\n<!-- results long: mine/tiny -->\n<!-- end of results -->\n"
  )
  monkeypatch.chdir(tmp_path)
  return tmp_path


def test_from_a_run_to_a_page(project, run_copy, capsys):
  flags = [f"--workdir={run_copy}", "--results=r", "--beam_size=2", "--max_extra_length=3"]
  assert run(["evaluate", *flags, "--experiment=mine/tiny.flags"]) == 0
  said = capsys.readouterr()
  [path] = (project / "r").iterdir()
  assert f"the run and its scores are in {path.relative_to(project)}" in said.err
  name = f"mine-tiny-seed{tiny_run.SEED}-test-step40-beam_size=2-max_extra_length=3.json"
  assert path.name == name
  text = path.read_text()
  assert str(run_copy) not in text and str(project) not in text
  result = json.loads(text)
  flag_file = (project / "mine/tiny.flags").read_bytes()
  assert result["flag_file"] == "mine/tiny.flags"
  assert result["flag_file_sha256"] == hashlib.sha256(flag_file).hexdigest()
  assert result["seed"] == tiny_run.SEED
  seed = "" if tiny_run.SEED == 1 else f" --seed={tiny_run.SEED}"
  assert result["commands"] == [
    f"transformer-jax train --flagfile=mine/tiny.flags --workdir=DIR --log_every=10{seed}",
    "transformer-jax evaluate --workdir=DIR --beam_size=2 --max_extra_length=3",
  ]
  evaluation = json.loads(said.out.splitlines()[-1])
  for name in evaluation.keys() - {"headline"}:
    assert result["evaluation"][name] == evaluation[name]
  assert result["checkpoint_sha256"] == digest_of(run_copy, 40)
  assert result["parameters"] == 19_072
  lines = [json.loads(line) for line in (run_copy / "metrics.jsonl").read_text().splitlines()]
  training = result["training"]
  assert training["updates"] == 40
  assert training["target_tokens"] == sum(
    line["target_tokens"] for line in lines if line["split"] == "train"
  )
  assert training["wall_seconds"] == lines[-1]["wall_seconds"] > 0
  assert training["processor_seconds"] == lines[-1]["processor_seconds"] > 0
  [start] = training["starts"]
  assert start["step"] == 0 and start["hardware"]["usable_cores"] and start["versions"]["jax"]

  assert run(["results", "--results=r", "--pages=README.md"]) == 0
  assert capsys.readouterr().out == "README.md: written\n"
  page = (project / "README.md").read_text()
  assert "| `mine/tiny.flags` | test, " in page
  assert run(["results", "--results=r", "--pages=README.md"]) == 0
  assert capsys.readouterr().out == "README.md: unchanged\n"
  with open(project / "mine/tiny.flags", "a", encoding="utf-8") as file:
    file.write("--label_smoothing=0.2\n")
  settings_of.cache_clear()
  assert run(["results", "--results=r", "--pages=README.md"]) == 3
  assert "mine/tiny.flags has other settings by now; remove it" in capsys.readouterr().err


@pytest.mark.parametrize(
  "flags, message",
  [
    (["--results=r"], "--experiment: is missing, which --results needs; give both, or neither"),
    (["--experiment=mine/tiny.flags"], "--results: is missing, which --experiment needs"),
    (["--results=r", "--experiment=none.flags"], "--experiment: none.flags cannot be read"),
    (
      ["--results=r", "--experiment=mine/tiny.flags", "--source=a", "--reference=b"],
      "--results: is for sets that others have, too; leave --source and --reference out",
    ),
    (
      ["--results=r", "--experiment=mine/other.flags"],
      "--experiment=mine/other.flags: the run in {} has other settings: --d_ff=32; name the flag",
    ),
  ],
)
def test_what_cannot_be_recorded_is_refused_before_the_search(
  project, trained, capsys, monkeypatch, flags, message
):
  text = (project / "mine/tiny.flags").read_text()
  (project / "mine/other.flags").write_text(text.replace("--d_ff=32", "--d_ff=33"))
  monkeypatch.setattr(evaluate_module, "evaluate", lambda *_, **__: pytest.fail("searched"))
  assert run(["evaluate", f"--workdir={trained}", *flags]) == 2
  assert message.format(trained) in capsys.readouterr().err
  assert not (project / "r").exists()


def test_no_other_result_is_overwritten(project, trained, capsys, monkeypatch):
  """Nor is an imported model taken for the run of a flag file."""
  monkeypatch.setattr(evaluate_module, "evaluate", lambda *_, **__: pytest.fail("searched"))
  flags = ["evaluate", f"--workdir={trained}", "--results=r", "--experiment=mine/tiny.flags"]
  (project / "r").mkdir()
  (project / "r/mine-tiny-seed1-test.json").write_text('{"flag_file": "mine-tiny.flags"}')
  assert run(flags) == 2
  wrong = "--results=r: mine-tiny-seed1-test.json is of mine-tiny.flags; give another folder"
  assert wrong in capsys.readouterr().err
  (project / "file").touch()
  assert run([*flags, "--results=file"]) == 6
  assert "file: " in capsys.readouterr().err
  of_run = f"--workdir={trained}"
  assert run(["export", of_run, "--format=safetensors", "--output=exported"]) == 0
  assert run(["import", "--from=exported", "--workdir=imported"]) == 0
  assert run([*flags, "--workdir=imported", "--results=other"]) == 2
  assert "imported holds an imported model, which no flag file gives" in capsys.readouterr().err


def test_the_flags_of_a_package_have_the_same_name_from_anywhere(project):
  assert settings_of("experiments/quickstart.flags") == settings_of(
    str(REPOSITORY / "experiments/quickstart.flags")
  )


def results():
  return rows.read(RESULTS, settings_of)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_pages_are_what_the_jsons_say(page, monkeypatch):
  """`make results` writes them."""
  monkeypatch.chdir(REPOSITORY)
  text = page.read_text(encoding="utf-8")
  assert pages.with_tables(text, page, results(), pages.read_about(RESULTS), RESULTS) == text


def generated(text):
  """Returns the rows of the tables between the comments."""
  tables = re.findall(r"<!-- results .*?-->\n(.*?)<!-- end of results -->", text, re.DOTALL)
  return [line for table in tables for line in table.splitlines() if line.startswith("| ")]


def leaves(content, path=()):
  """Yields (path, number) of a JSON, and the text in it as path ()."""
  if isinstance(content, dict):
    for name, value in content.items():
      yield from leaves(value, (*path, name))
  elif isinstance(content, list):
    yield (*path, "length"), len(content)
    for value in content:
      yield from leaves(value, path)
  elif isinstance(content, (int, float)) and not isinstance(content, bool):
    yield path, content
  elif isinstance(content, str):
    yield (), content


class Known:
  """The numbers and the words of the JSONs: single ones, and over the seeds of one experiment."""

  def __init__(self):
    self.words = set()
    self.numbers = set()
    runs = [json.loads(path.read_bytes()) for path in sorted(RESULTS.glob("*-seed*.json"))]
    speeds = (REPOSITORY / "benchmarks/results/cpu.jsonl").read_text().splitlines()
    tables = [
      json.loads(path.read_bytes()) for path in REPOSITORY.glob("experiments/**/table.json")
    ]
    about = json.loads((RESULTS / "about.json").read_bytes())
    for content in [*runs, *map(json.loads, speeds), *tables, about]:
      self._add(leaves(content))
    for experiment in {each["flag_file"] for each in runs}:
      self._add_seeds([each for each in runs if each["flag_file"] == experiment])
    by_work = [json.loads(line) for line in speeds]
    for one, other in itertools.permutations(by_work, 2):
      if one.get("work") == other.get("work") and one.get("work"):
        self.numbers.add(one["tokens_per_second"] / other["tokens_per_second"])

  def _add(self, found):
    for path, value in found:
      if path:
        self.numbers |= {value, 100 * value, value / 60}
      else:
        self.words |= set(re.split(r"[\s:|,;()/=]+", value))
        self.words.add(value[:7])

  def _add_seeds(self, runs):
    self.numbers.add(len(runs))
    by_path = {}
    for each in runs:
      training = each["training"]
      by_path.setdefault("tokens", []).append(training["target_tokens"] / training["updates"])
      for path, value in dict(leaves(each)).items():
        by_path.setdefault(path, []).append(value)
    by_path.pop((), None)
    for values in by_path.values():
      self._add([(("mean",), statistics.mean(values))])
      if len(values) > 1:
        self._add([(("sd",), statistics.stdev(values))])

  def has(self, word):
    """Returns whether a number as a table shows it is one of these, rounded; or a word."""
    text = word.replace(",", "").rstrip("%")
    digits = len(text.partition(".")[2])
    return word in self.words or float(text) in {round(number, digits) for number in self.numbers}


def numbers_in(line):
  """Returns the numbers of a row, without those in names and links."""
  plain = re.sub(r"\]\([^)]*\)|`[^`]*`", " ", line)
  words = re.split(r"[\s|*\[\]();=]+", plain)
  return [word.rstrip(",") for word in words if re.fullmatch(r"[+-]?\d[\d,]*(\.\d+)?%?,?", word)]


@pytest.fixture(scope="module")
def known():
  return Known()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_no_number_is_without_a_json(page, known):
  lines = generated(page.read_text(encoding="utf-8"))
  numbers = [number for line in lines for number in numbers_in(line)]
  assert len(numbers) > 5
  assert [number for number in numbers if not known.has(number)] == []


def test_a_number_that_was_typed_is_found(known):
  lines = generated((REPOSITORY / "README.md").read_text(encoding="utf-8"))
  bold = re.search(r"\*\*([\d.]+%?)", lines[2])[1]
  assert bold in numbers_in(lines[2]) and known.has(bold)
  assert "98.7654" in numbers_in(lines[2].replace(bold, "98.7654"))
  assert not any(map(known.has, ("98.7654", "1,234,567", "+0.98765%")))
