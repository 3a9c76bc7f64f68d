"""`transformer-jax experiments`, and flag files that are found in the package."""

import json
import pathlib
import shlex
import shutil
from importlib import resources

import pytest

from transformer_jax.cli import ablate, experiment_files, experiment_results, train
from transformer_jax.cli.flag_files import expand
from transformer_jax.cli.flags import Command
from transformer_jax.cli.main import run
from transformer_jax.data import network
from transformer_jax.errors import ConfigError

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
NAMES = {
  path.relative_to(REPOSITORY / "experiments").with_suffix("").as_posix()
  for path in (REPOSITORY / "experiments").rglob("*.flags")
}


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
  """An empty working folder."""
  monkeypatch.chdir(tmp_path)
  return tmp_path


def installed_at(folder, monkeypatch):
  """Makes the package look as if it were installed in `folder`."""
  package = folder / "site-packages" / "transformer_jax"
  shutil.copytree(REPOSITORY / "experiments", package / "experiments")
  monkeypatch.setattr(resources, "files", lambda name: folder / "site-packages" / name)
  return package / "experiments"


def config_of(flagfile):
  command = Command("train", "", **train.SETTINGS)
  train.declare(command)
  command.parse([f"--flagfile={flagfile}"])
  return command.config()


def test_experiments_are_beside_the_package_or_inside(tmp_path, monkeypatch):
  beside = pathlib.Path(str(resources.files("transformer_jax"))).parent / "experiments"
  assert experiment_files.folder() == beside
  assert set(experiment_files.names()) == NAMES
  inside = installed_at(tmp_path, monkeypatch)
  assert experiment_files.folder() == inside
  assert set(experiment_files.names()) == NAMES
  shutil.rmtree(inside)
  with pytest.raises(ConfigError, match="there is no such folder"):
    experiment_files.folder()


def test_a_flag_file_is_found_from_any_folder(elsewhere):
  config = config_of("experiments/quickstart.flags")
  assert config == config_of(REPOSITORY / "experiments/quickstart.flags")
  paths = [where for _, where in expand(["--flagfile", "experiments/table3/paper/big.flags"])]
  assert any("wmt14_en_de_base.flags" in where for where in paths)  # included by an included one


def test_the_working_folder_comes_first(elsewhere):
  own = elsewhere / "experiments" / "quickstart.flags"
  own.parent.mkdir()
  own.write_text("--d_k=3\n--flagfile=experiments/parsing/grammar.flags\n")
  assert next(expand(["--flagfile=experiments/quickstart.flags"])) == (
    "--d_k=3",
    "experiments/quickstart.flags:1",
  )
  assert config_of(own).data.data_source == "grammar"  # which only the package has
  own.unlink()
  own.symlink_to("nowhere")  # a broken link is the user's, too
  with pytest.raises(ConfigError, match="cannot be read"):
    config_of("experiments/quickstart.flags")


def test_other_names_are_not_looked_for(elsewhere):
  for name in ("quickstart.flags", "./x/experiments/quickstart.flags", "/experiments/x.flags"):
    assert experiment_files.find(pathlib.Path(name)) == pathlib.Path(name)
  with pytest.raises(ConfigError, match=r"none\.flags cannot be read: .*; transformer-jax experim"):
    config_of("experiments/none.flags")
  with pytest.raises(ConfigError, match=r"none\.flags cannot be read: No such file or directory$"):
    config_of("none.flags")


def test_a_table_is_found_from_any_folder(elsewhere, capsys):
  flags = ["--table=experiments/table3/small", "--workdir=w", "--print_commands", "--seeds=1"]
  assert run(["ablate", *flags]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == len(ablate.read_table(REPOSITORY / "experiments/table3/small"))
  assert all("--table=experiments/table3/small" in line for line in lines)


def test_the_folder_of_a_tables_results_is_not_taken_for_the_table(elsewhere, capsys):
  """The command in the table's header makes it; the same command must go on."""
  (elsewhere / "experiments/table3/small/results").mkdir(parents=True)
  flags = ["--table=experiments/table3/small", "--workdir=w", "--print_commands", "--seeds=1"]
  assert run(["ablate", *flags]) == 0
  assert capsys.readouterr().out.count("--rows=") == len(
    ablate.read_table(REPOSITORY / "experiments/table3/small")
  )
  (elsewhere / "mine").mkdir()
  assert run(["ablate", "--table=mine", "--workdir=w"]) == 2
  assert "--table=mine: has no base.flags" in capsys.readouterr().err


def test_a_copys_command_can_be_pasted(elsewhere, capsys):
  assert run(["experiments", "quickstart", "--output=my copy.flags"]) == 0
  command = capsys.readouterr().out.partition(": ")[2]
  assert shlex.split(command)[2] == "--flagfile=my copy.flags"


def test_the_list_has_all_with_their_results(elsewhere, capsys):
  assert run(["experiments"]) == 0
  text = capsys.readouterr().out
  listed = [line for line in text.splitlines() if line.endswith(".flags")]
  assert {experiment_files.full_name(line) for line in listed} == NAMES
  assert len(listed) == len(NAMES) and all(len(line) <= 100 for line in text.splitlines())
  assert "English number words to German ones" in text
  readme = (REPOSITORY / "experiments/README.md").read_text()
  results = experiment_results.read(REPOSITORY / "experiments")
  for name in ("quickstart", "translation/multi30k_lc", "parsing/grammar"):
    score = results[name].partition(": ")[2].partition(";")[0].partition(" ")[0]
    assert f"**{score}**" in readme and results[name].partition(";")[0] in " ".join(text.split())
  table = json.loads((REPOSITORY / "experiments/table3/small/results/table.json").read_text())
  assert f"perplexity {table['rows'][0]['perplexity']['mean']:.2f}" in results["table3/small/base"]
  assert "table3/paper/base" not in results


def test_results_that_cannot_be_read_are_left_out(tmp_path):
  (tmp_path / "t/results").mkdir(parents=True)
  for text in ("[]", "{", '{"rows": [{"row": "a", "seeds": 1}]}', '{"rows": 3}'):
    (tmp_path / "t/results/table.json").write_text(text)
    assert experiment_results.read(tmp_path) == {}
  (tmp_path / "README.md").write_text(
    "| experiment | set | ours | score |\n| -- | -- | -- | -- |\n"
    "| `a/b.flags` | test, all | **1.5** | BLEU, 13a |\n| `a/c.flags` | test | 2 | BLEU |\n"
    "\n| experiment | ours |\n| -- | -- |\n| `a/b.flags` | **0.5** |\n"
    "\n| experiment | set | F1, `--x` |\n| -- | -- | -- |\n| `d.flags` | dev | **99** (1%) |\n"
  )
  assert experiment_results.read(tmp_path) == {
    "a/b": "BLEU: 1.5; test, all",
    "d": "F1, --x: 99 (1%); dev",
  }


def test_a_folder_is_listed(elsewhere, capsys):
  assert run(["experiments", "table3/small"]) == 0
  listed = [line for line in capsys.readouterr().out.splitlines() if line.endswith(".flags")]
  assert len(listed) == sum(name.startswith("table3/small/") for name in NAMES)
  assert listed[0] == "experiments/table3/small/base.flags"


@pytest.mark.parametrize(
  "given", ["grammar", "parsing/grammar", "experiments/parsing/grammar.flags", "--name=grammar"]
)
def test_one_is_printed(elsewhere, capsys, given):
  assert run(["experiments", given]) == 0
  expected = (REPOSITORY / "experiments/parsing/grammar.flags").read_text()
  assert capsys.readouterr().out == expected


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_copied_experiment_means_the_same_in_any_folder(elsewhere, name, capsys):
  assert run(["experiments", name, "--output=copy.flags"]) == 0
  original = REPOSITORY / f"experiments/{name}.flags"
  assert config_of("copy.flags") == config_of(original)
  assert [flag for flag, _ in expand(["--flagfile=copy.flags"])] == [
    flag for flag, _ in expand([f"--flagfile={original}"])
  ]


@pytest.mark.parametrize(
  "arguments, message",
  [
    (["none"], "'none': there is no such experiment; transformer-jax experiments lists them"),
    (
      ["base"],
      "'base': there are several; choose from "
      + ", ".join(sorted(name for name in NAMES if name.endswith("/base"))),
    ),
    (["quickstart", "grammar"], "'grammar': is not a flag"),
    (["parsing", "--output=x"], "--output=x: is for one experiment; name one"),
    (["grammar", "--output=there"], "--output=there: is there already; name a new file"),
  ],
)
def test_impossible_requests_are_named(elsewhere, capsys, arguments, message):
  (elsewhere / "there").write_text("mine")
  assert run(["experiments", *arguments]) == 2
  assert capsys.readouterr().err.startswith(f"transformer-jax: {message}")
  assert (elsewhere / "there").read_text() == "mine"


def test_only_this_command_takes_an_argument_without_a_flag(elsewhere, capsys):
  assert run(["bleu", "quickstart"]) == 2
  (elsewhere / "x.flags").write_text("quickstart\n")
  assert run(["experiments", "--flagfile=x.flags"]) == 2
  assert "'quickstart' is not a flag" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["translation/multi30k_short", "parsing/wsj", "parsing/craft"])
def test_an_error_about_missing_data_has_the_headers_note(elsewhere, capsys, name):
  """The header may be that of the file that this one includes, which sets the path."""
  flags = [f"--flagfile=experiments/{name}.flags", "--workdir=run", "--data_root=none"]
  assert run(["train", *flags]) == 3
  error = capsys.readouterr().err
  notes = {experiment_files.data_note(path) for path in (REPOSITORY / "experiments").rglob("*.f*")}
  said = error.strip().partition("; the header of the flag file says: ")[2]
  assert said and said in notes


@pytest.mark.interop
def test_a_dataset_by_name_that_cannot_be_fetched_has_the_headers_note(
  elsewhere, capsys, monkeypatch
):
  pytest.importorskip("datasets", reason="pip install 'transformer_jax[datasets]'")
  monkeypatch.setattr(network, "why_unreachable", lambda url: "no network")
  flags = ["--flagfile=experiments/translation/multi30k_by_name.flags", "--workdir=run"]
  assert run(["train", *flags]) == 3
  error = capsys.readouterr().err
  assert error.count("\n") == 1 and "cannot be reached (no network)" in error
  note = experiment_files.data_note(REPOSITORY / "experiments/translation/multi30k_by_name.flags")
  assert note and error.endswith(f"the header of the flag file says: {note}\n")


def test_notes_of_headers(tmp_path):
  path = tmp_path / "x.flags"

  def note(header):
    path.write_text(f"{header}\n--d_k=3\n# Needs what is no header.\n")
    return experiment_files.data_note(path)

  assert note("# A model. Needs --data_root with x/.\n# Result: y.") == "Needs --data_root with x/"
  assert note("# A model.\n# Data: pip install x. Then y.\n#   transformer-jax train") == (
    "pip install x. Then y"
  )
  assert note("# A model. Needs patience.\n# Data: none.") == "none"
  assert note("# A model. Needs no data. It is small.") == note("# A model.") == note("") == ""
  assert experiment_files.summary(path) == ""
  path.write_text("# A model of Wu et al. 2021, of\n# two lines. Another sentence.\n")
  assert experiment_files.summary(path) == "A model of Wu et al. 2021, of two lines."
  assert experiment_files.data_note(tmp_path / "none") == ""
