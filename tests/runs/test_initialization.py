"""`--init_from`: a run begins with the parameters and the tokenizer of another run."""

import json
import shutil

import jax
import numpy as np
import pytest
import tiny_run
from tiny_run import SEED, metrics_of, tiny_config

from transformer_jax.checkpoints import Checkpoints
from transformer_jax.cli import ablate
from transformer_jax.cli import train as train_command
from transformer_jax.cli.flags import Command
from transformer_jax.cli.main import run
from transformer_jax.config import Config, default_settings, kept_settings
from transformer_jax.errors import CheckpointError, ConfigError, DataError, WorkdirError
from transformer_jax.runs import train as train_module
from transformer_jax.runs.digest import digest_of, params_digest
from transformer_jax.runs.doctor import examine
from transformer_jax.runs.train import train
from transformer_jax.training.state import initial_state


def config_from(source, **settings):
  """Returns the Config of a run on other numbers, from another seed, that begins with `source`."""
  own = dict(init_from=str(source), seed=SEED + 1, numbers_limit=500, train_steps=20)
  return tiny_config(**{**own, **settings})


def arrays_of(workdir, step=None, part=""):
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    return checkpoints.read(step, part)[0]


def log_of(workdir):
  return (workdir / "log.txt").read_text()


def record_of(workdir):
  return json.loads((workdir / "config.json").read_text())["initialized_from"]


class Killed(Exception):
  """Raised in place of a kill."""


def killed_before_its_first_update(config, workdir, monkeypatch, after_checkpoint=True):
  """Starts a run, which is killed right before its first update, or before that checkpoint."""

  def kill(*_, **__):
    raise Killed

  with monkeypatch.context() as patch:
    if after_checkpoint:
      patch.setattr(train_module, "run_updates", kill)
    else:
      patch.setattr(train_module.RunHooks, "save", kill)
    with pytest.raises(Killed):
      train(config, workdir, ".")


@pytest.fixture
def source(trained, tmp_path):
  """A copy of `trained` to begin with; a test may change it."""
  return shutil.copytree(trained, tmp_path / "source")


@pytest.fixture(scope="module")
def tuned(trained, tmp_path_factory):
  """A run of 40 updates that began with `trained`, for tests that only read it."""
  workdir = tmp_path_factory.mktemp("tuned") / "run"
  train(config_from(trained, train_steps=40), workdir, ".")
  return workdir


def test_it_begins_with_these_parameters_and_nothing_else(trained, tmp_path, monkeypatch):
  killed_before_its_first_update(config_from(trained), tmp_path / "run", monkeypatch)
  killed_before_its_first_update(tiny_config(), tmp_path / "random", monkeypatch)
  assert not Checkpoints(tmp_path / "random/checkpoints", read_only=True).steps()
  arrays, theirs = arrays_of(tmp_path / "run", 0), arrays_of(trained, 40)
  of_theirs = {name: array for name, array in theirs.items() if name.startswith("params/")}
  assert arrays.keys() == theirs.keys() and of_theirs
  for name, array in arrays.items():
    if name in of_theirs:
      assert array.dtype == theirs[name].dtype and array.tobytes() == theirs[name].tobytes()
    else:
      assert not np.any(array), name
  sum_of_theirs = params_digest({name[len("params/") :]: a for name, a in of_theirs.items()})
  assert record_of(tmp_path / "run") == dict(
    workdir=str(trained), step=40, params_sha256=sum_of_theirs
  )
  line = f"began with the parameters of {trained}, step 40 (SHA-256 {sum_of_theirs[:16]}...)"
  assert line in log_of(tmp_path / "run")
  for path in (trained / "tokenizer").iterdir():
    assert (tmp_path / "run/tokenizer" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_data_and_dropout_are_those_of_this_seed(trained, tmp_path, monkeypatch):
  """With random parameters in place of the source's, it is a run that began with none."""
  steps = dict(train_steps=3, checkpoint_every=3)
  random = tiny_config(seed=SEED + 1, **steps)
  train(random, tmp_path / "random", ".")
  killed_before_its_first_update(
    config_from(trained, numbers_limit=1000, **steps), tmp_path / "run", monkeypatch
  )
  begin = train_module.begin

  def begin_at_random(run, *options):
    _, stream, reported, record = begin(run, *options)
    state = jax.jit(lambda: initial_state(random, run.model))()
    return state, stream, reported, record

  monkeypatch.setattr(train_module, "begin", begin_at_random)
  train(config_from(trained, numbers_limit=1000, **steps), tmp_path / "run", ".")
  assert digest_of(tmp_path / "run") == digest_of(tmp_path / "random")


@pytest.mark.slow
def test_a_run_of_40_is_a_run_of_20_resumed_after_its_source_has_gone(tuned, source, tmp_path):
  config = config_from(source)
  train(config, tmp_path / "run", ".")
  assert digest_of(tmp_path / "run") == digest_of(tuned, 20)
  assert 0 not in Checkpoints(tmp_path / "run/checkpoints", read_only=True).steps()
  record = record_of(tmp_path / "run")
  shutil.rmtree(source)
  train(config.replace(train_steps=40), tmp_path / "run", ".")
  assert digest_of(tmp_path / "run") == digest_of(tuned)
  assert metrics_of(tmp_path / "run") == metrics_of(tuned)
  assert record_of(tmp_path / "run") == record
  assert log_of(tmp_path / "run").count("began with the parameters of") == 2
  lines, _, error = examine(tmp_path / "run")
  assert error is None and any(f"began with the parameters of {source}" in line for line in lines)


@pytest.mark.slow
def test_a_run_killed_before_its_first_update_no_longer_needs_its_source(
  tuned, source, tmp_path, monkeypatch
):
  config = config_from(source)
  killed_before_its_first_update(config, tmp_path / "run", monkeypatch)
  assert Checkpoints(tmp_path / "run/checkpoints", read_only=True).steps() == [0]
  assert not Checkpoints(tmp_path / "run/checkpoints", read_only=True).regular_steps()
  before = digest_of(tmp_path / "run")
  shutil.rmtree(source)
  train(config, tmp_path / "run", ".")
  assert "resumed at step 0" in log_of(tmp_path / "run")
  assert before != digest_of(tmp_path / "run") == digest_of(tuned, 20)
  assert Checkpoints(tmp_path / "run/checkpoints", read_only=True).steps() == [10, 20]


@pytest.mark.slow
def test_a_run_killed_before_its_first_save_takes_the_same_step_of_its_source(
  tuned, source, tmp_path, monkeypatch
):
  """The source has trained on meanwhile: its last step is another one."""
  config = config_from(source)
  killed_before_its_first_update(config, tmp_path / "run", monkeypatch, after_checkpoint=False)
  assert not Checkpoints(tmp_path / "run/checkpoints", read_only=True).steps()
  train(tiny_config(train_steps=50), source, ".")
  train(config, tmp_path / "run", ".")
  assert record_of(tmp_path / "run")["step"] == 40
  assert digest_of(tmp_path / "run") == digest_of(tuned, 20)


@pytest.mark.slow
def test_a_source_that_changed_is_noticed_before_the_first_update(source, tmp_path, monkeypatch):
  config = config_from(source)
  killed_before_its_first_update(config, tmp_path / "run", monkeypatch, after_checkpoint=False)
  kept = shutil.copytree(tmp_path / "run", tmp_path / "kept")
  shutil.rmtree(source / "checkpoints/40")
  with pytest.raises(CheckpointError, match=r"no checkpoint of step 40; there are 20, 30"):
    train(config, tmp_path / "run", ".")
  shutil.rmtree(source)
  train(tiny_config(seed=SEED + 5), source, ".")
  with pytest.raises(CheckpointError, match=r"checkpoints/40: has other parameters than those"):
    train(config, tmp_path / "run", ".")
  assert not (tmp_path / "run/metrics.jsonl").exists()
  assert examine(tmp_path / "run")[2] is None
  source.rename(tmp_path / "moved")
  assert "there is no run" in str(examine(tmp_path / "run")[2])
  assert (tmp_path / "run/config.json").read_bytes() == (kept / "config.json").read_bytes()


def test_a_damaged_record_is_named(trained, tmp_path, monkeypatch):
  killed_before_its_first_update(config_from(trained), tmp_path / "run", monkeypatch)
  path = tmp_path / "run/config.json"
  content = json.loads(path.read_text())
  for record in ("x", dict(step=None)):
    path.write_text(json.dumps(dict(content, initialized_from=record)))
    with pytest.raises(ConfigError, match=r"config.json: has a damaged initialized_from; restore"):
      train(config_from(trained), tmp_path / "run", ".")


def test_another_checkpoint_than_the_last(trained, tmp_path, monkeypatch):
  killed_before_its_first_update(
    config_from(trained, init_checkpoint="30"), tmp_path / "run", monkeypatch
  )
  theirs = arrays_of(trained, 30, "params")
  arrays = arrays_of(tmp_path / "run", 0, "params")
  assert all(arrays[name].tobytes() == theirs[name].tobytes() for name in theirs)
  killed_before_its_first_update(
    config_from(trained, init_checkpoint="best"), tmp_path / "best", monkeypatch
  )
  with Checkpoints(trained / "checkpoints", read_only=True) as checkpoints:
    assert record_of(tmp_path / "best")["step"] == checkpoints.best_step()


@pytest.mark.parametrize("name", ["", "first", "-1", "1.5", "²"])
def test_a_wrong_checkpoint_name_is_refused(name):
  with pytest.raises(ConfigError, match=f"^--init_checkpoint={name}: is not a checkpoint; give"):
    tiny_config(init_from="x", init_checkpoint=name)


def test_a_checkpoint_without_a_run_is_refused(tmp_path):
  with pytest.raises(ConfigError, match=r"^--init_checkpoint=best: is read only with --init_from"):
    train(tiny_config(init_checkpoint="best"), tmp_path / "run", ".")


# What must agree with the source.


@pytest.mark.parametrize(
  "name, other",
  [
    ("num_layers", 2),
    ("d_model", 64),
    ("d_ff", 64),
    ("num_heads", 4),
    ("d_k", 8),
    ("d_v", 8),
    ("positions", "learned"),
    ("positions", "sinusoidal_concatenated"),
    ("norm", "pre"),
    ("embedding_sharing", "none"),
    ("vocab_size", 71),
    ("tokenizer", "subword_nmt"),
    ("preprocessing", "moses"),
  ],
)
def test_a_setting_that_must_agree_is_refused_by_name(name, other, trained, tmp_path):
  config = config_from(trained, **{name: other})
  theirs = tiny_config().to_flat()[name]
  problem = f"^--{name}={other}: the run in {trained}, whose .* has {theirs}; leave it out, or "
  with pytest.raises(ConfigError, match=problem):
    train(config, tmp_path / "run", ".")
  assert not (tmp_path / "run/config.json").exists()


@pytest.mark.slow
def test_settings_that_may_differ(trained, tmp_path):
  config = config_from(
    trained,
    dropout_rate=0.3,
    attention_kernel="reference",
    attention_dropout_rate=0.1,
    relu_dropout_rate=0.1,
    rematerialize=True,
    max_positions=50,
    dtype="bfloat16",
    max_length=30,
    batch_tokens=256,
    learning_rate_scale=0.5,
    label_smoothing=0.0,
    bleu_sentences=0,
    train_steps=2,
    checkpoint_every=2,
  )
  train(config, tmp_path / "run", ".")
  assert "done: step 2" in log_of(tmp_path / "run")


def test_the_rows_of_learned_positions_must_agree():
  source = tiny_config(positions="learned", max_positions=50).to_flat()
  assert kept_settings(source)["max_positions"] == 50
  assert "max_positions" not in kept_settings(tiny_config().to_flat())


def test_parameters_that_do_not_fit_are_named_with_their_shapes(source, tmp_path):
  path = source / "config.json"
  content = json.loads(path.read_text())
  content["settings"]["d_ff"] = 48
  path.write_text(json.dumps(content))
  name = r"decoder/layer_0/feed_forward\S*"
  with pytest.raises(
    CheckpointError, match=rf"{name} is float32\[.*32.*\] in the checkpoint, and float32\[.*48.*\]"
  ):
    train(config_from(source, d_ff=48), tmp_path / "run", ".")
  assert not (tmp_path / "run/config.json").exists()


# Sources that are missing or damaged.


def test_a_source_that_is_missing_or_damaged_is_one_error(source, tmp_path):
  def refused(error, problem):
    with pytest.raises(error, match=problem):
      train(config_from(source), tmp_path / "run", ".")
    assert not (tmp_path / "run/config.json").exists()

  data = next(path for path in (source / "checkpoints/40/state").rglob("*/d/*") if path.is_file())
  content = data.read_bytes()
  data.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
  refused(CheckpointError, r"checkpoints/40/.*: has changed since it was written")
  (source / "tokenizer/tokenizer.json").rename(source / "tokenizer/other")
  refused(DataError, r"source/tokenizer/tokenizer.json: cannot be read")
  (source / "tokenizer/other").rename(source / "tokenizer/tokenizer.json")
  shutil.rmtree(source / "checkpoints")
  refused(CheckpointError, r"source/checkpoints: there is no checkpoint; train first")
  (source / "config.json").write_text("{")
  refused(ConfigError, r"source/config.json: is not JSON")
  shutil.rmtree(source)
  refused(WorkdirError, r"--init_from=.*source: there is no run \(no config.json\); name the")


# A workdir that holds a run already.


def test_a_run_refuses_to_begin_with_another_source(run_copy, trained, tuned, tmp_path):
  with pytest.raises(ConfigError, match=r"--init_from=.*: the run in .* was started with none"):
    train(tiny_config(init_from=str(trained)), run_copy, ".")
  copy = shutil.copytree(tuned, tmp_path / "tuned")
  with pytest.raises(ConfigError, match=r"--init_from=: the run in .* was started with /"):
    train(config_from("", train_steps=40), copy, ".")
  with pytest.raises(ConfigError, match=r"--init_checkpoint=30: .* was started with last"):
    train(config_from(trained, train_steps=40, init_checkpoint="30"), copy, ".")


# The command line.


def parsed(*arguments):
  command = Command("train", "", **train_command.SETTINGS)
  train_command.declare(command)
  command.parse(arguments)
  return command


def test_flags_that_are_not_given_are_those_of_the_source(trained, tmp_path):
  file = tmp_path / "other.flags"
  file.write_text("--data_source=numbers\n--numbers_limit=500\n--d_ff=32\n--warmup_steps=7\n")
  config = parsed(f"--flagfile={file}", f"--init_from={trained}").config()
  own = dict(numbers_limit=500, warmup_steps=7, init_from=str(trained))
  assert config == Config().replace(**default_settings(tiny_config().to_flat()), **own)
  assert config.model.d_model == 32 and config.data.vocab_size == 70
  file.write_text("--data_source=numbers\n--d_ff=64\n")
  problem = rf"^{file}:2 --d_ff=64: the run in {trained}, whose parameters .* has 32; leave"
  with pytest.raises(ConfigError, match=problem):
    parsed(f"--flagfile={file}", f"--init_from={trained}").config()


def test_languages_are_the_source_s_unless_they_are_given(source):
  path = source / "config.json"
  content = json.loads(path.read_text())
  content["settings"].update(source_language="xx", target_language="yy")
  path.write_text(json.dumps(content))
  data = parsed(f"--init_from={source}", "--target_language=zz").config().data
  assert (data.source_language, data.target_language) == ("xx", "zz")


@pytest.mark.slow
def test_the_same_command_resumes_without_the_source(source, tmp_path, monkeypatch, capsys):
  """Only flags of data and training are given."""
  given = ("numbers_limit", "numbers_train_size", "max_length", "batch_tokens", "num_buckets")
  own = dict.fromkeys(("log_every", "evaluate_every", "checkpoint_every", "train_steps"), 2)
  own.update({name: tiny_run.TINY[name] for name in given}, bleu_sentences=0)
  flags = ["--init_from=source", *(f"--{name}={value}" for name, value in own.items())]
  monkeypatch.chdir(tmp_path)
  command = ["train", "--workdir=run", *flags]
  assert run(command) == 0
  before = digest_of("run")
  shutil.rmtree(source)
  assert run(command) == 0
  assert digest_of("run") == before
  assert "done: step 2" in capsys.readouterr().err
  assert run(["train", "--workdir=other", *flags]) == 6
  assert capsys.readouterr().err.splitlines() == [
    "transformer-jax: --init_from=source: there is no run (no config.json); name the workdir of a "
    "run"
  ]


def test_prepare_takes_the_tokenizer_of_the_source(trained, capsys):
  flags = [f"--init_from={trained}", "--numbers_train_size=50", "--max_length=40"]
  assert run(["prepare", *flags]) == 0
  out = capsys.readouterr().out
  assert out.startswith("data: en -> de, train 50 pairs, ") and "; vocabulary 70\n" in out


def test_a_table_refuses_a_row_with_init_from(trained, tmp_path):
  (tmp_path / "base.flags").write_text(f"--init_from={trained}\n")
  with pytest.raises(ConfigError, match=r"base.flags --init_from: is not for a table"):
    ablate.read_table(tmp_path)


# Parsing.

PARSING = dict(
  task="parsing",
  data_source="grammar",
  grammar_train_size=60,
  embedding_sharing="target",
  vocab_size=100,
  batch_tokens=1024,
  max_length=200,
  bleu_sentences=0,
  train_steps=2,
  evaluate_every=2,
  checkpoint_every=2,
)


def parsing_config(**settings):
  return tiny_config(**{**PARSING, **settings})


@pytest.mark.slow
def test_a_parser_of_the_grammar_begins_a_parser_of_a_treebank(tmp_path):
  train(parsing_config(), tmp_path / "grammar", ".")
  trees = tmp_path / "trees"
  trees.write_text("(TOP (S (NP (DT the) (NN dog)) (VP (VBZ barks)) (. .)))\n" * 3)
  treebank = dict(
    data_source="treebank", grammar_train_size=40_000, train_trees="trees", valid_trees="trees"
  )
  config = parsing_config(**treebank, init_from=str(tmp_path / "grammar"))
  train(config, tmp_path / "treebank", tmp_path)
  assert "done: step 2" in log_of(tmp_path / "treebank")
  for name, value in dict(vocab_size=90, linearization="t2t").items():
    problem = f"^--{name}={value}: the run in .*grammar, whose parameters"
    with pytest.raises(ConfigError, match=problem):
      train(config.replace(**{name: value}), tmp_path / "other", tmp_path)
  with pytest.raises(ConfigError, match=r"^--task=translation: the run in .*, has parsing"):
    translation = tiny_config(embedding_sharing="target", vocab_size=100)
    train(translation.replace(init_from=str(tmp_path / "grammar")), tmp_path / "other", ".")
