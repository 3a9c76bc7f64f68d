"""`--profile_steps`: a trace, a summary of the time, and the same bits as without it."""

import pytest
from tiny_run import tiny_config

from transformer_jax.cli.main import run as command_line
from transformer_jax.runs.digest import digest_of
from transformer_jax.runs.profile import REST, part_of, split_of
from transformer_jax.runs.train import train


@pytest.mark.parametrize(
  "path, part",
  [
    (
      "jit(f)/transpose(jvp(Transformer))/Transformer.encode/encoder/layer_0/"
      "self_attention_norm/self_attention/query/dot_general",
      "attention's projections",
    ),
    (
      "jit(f)/jvp(Transformer)/decoder/layer_0/cross_attention_norm/cross_attention/"
      "vmap(BTNH,BSNH->BNTS)/dot_general",
      "attention",
    ),
    (
      "jit(f)/jvp(Transformer)/decoder/layer_0/feed_forward_norm/rng_bit_generator",
      "dropout masks",
    ),
    (
      "jit(f)/jvp(Transformer)/decoder/layer_0/feed_forward_norm/feed_forward/inner/dot_general",
      "feed-forward",
    ),
    ("jit(f)/jvp(Transformer)/decoder/layer_0/feed_forward_norm/reduce_sum", "norms and residuals"),
    (
      "jit(f)/transpose(jvp(Transformer))/Transformer.logits/shared_embedding.logits/dot_general",
      "logits and loss",
    ),
    ("jit(f)/jvp(loss)/log_softmax/sub", "logits and loss"),
    ("jit(f)/optimizer/mul", "optimizer"),
    ("reduce_sum", REST),
    ("", REST),
  ],
)
def test_an_instruction_belongs_to_a_part_of_the_model(path, part):
  assert part_of(path) == part


def test_time_inside_another_instruction_counts_once():
  event = lambda name, start, duration, thread=1: dict(
    ts=start, dur=duration, pid=1, tid=thread, args=dict(hlo_op=name)
  )
  events = [
    event("call", 0, 100),
    event("dot", 10, 60),
    event("dot", 20, 30, thread=2),
    event("dot", 150, 10),
    dict(ts=0, dur=999, name="host"),
  ]
  split, busy = split_of(events, [dict(call="optimizer/while", dot="logits/dot_general")])
  assert split["optimizer"] == pytest.approx(40e-6) and split["logits and loss"] == pytest.approx(
    100e-6
  )
  assert busy == pytest.approx(110e-6)


def test_programs_may_have_instructions_of_the_same_name():
  """The instructions of a run, which a trace numbers, say which program it was."""
  event = lambda run, name, start: dict(
    ts=start, dur=10, pid=1, tid=1, args=dict(hlo_op=name, run_id=run)
  )
  events = [event("1", "dot", 0), event("1", "copy", 10), event("2", "copy", 20)]
  events += [event("2", "add", 30)]
  split, _ = split_of(
    events, [dict(dot="query/dot_general", copy="query/copy"), dict(copy="optimizer/copy", add="")]
  )
  assert split["attention's projections"] == pytest.approx(20e-6)
  assert split["optimizer"] == pytest.approx(10e-6)


def test_kernels_of_a_gpu_follow_each_other():
  """They overlap a little, and the number of an instruction says which program it is of."""
  event = lambda program, name, start: dict(
    ts=start,
    dur=10.2,
    pid=1,
    tid=1,
    args=dict(hlo_op=name, unique_hlo_op_id=str((program << 32) + int(start))),
  )
  events = [event(7, "dot", 0), event(7, "copy", 10), event(9, "copy", 20), event(9, "add", 30)]
  split, busy = split_of(
    events,
    [
      dict(dot="query/dot_general", copy="query/copy"),
      dict(copy="optimizer/copy", add="optimizer/add"),
    ],
  )
  assert split == {
    "attention's projections": pytest.approx(20.4e-6),
    "optimizer": pytest.approx(20.4e-6),
  }
  assert busy == pytest.approx(40.2e-6)


@pytest.mark.parametrize("accumulation_steps", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_profiled_run_is_the_same_run(accumulation_steps, tmp_path):
  config = tiny_config(train_steps=8, accumulation_steps=accumulation_steps, bleu_sentences=0)
  train(config, tmp_path / "plain", ".")
  train(config, tmp_path / "profiled", ".", profile_steps=(3, 6))
  assert digest_of(tmp_path / "profiled") == digest_of(tmp_path / "plain")
  assert list((tmp_path / "profiled" / "profile").glob("plugins/profile/*/*.trace.json.gz"))
  log = (tmp_path / "profiled" / "log.txt").read_text()
  assert "updates 3 to 6: " in log and "a device was computing " in log
  assert all(
    f"  {part} " in log
    for part in ("attention", "feed-forward", "norms and residuals", "logits and loss", "optimizer")
  )


@pytest.mark.slow
def test_fewer_updates_than_requested(tmp_path):
  """A trace that has begun is written; if none has begun, a warning says so."""
  config = tiny_config(train_steps=3, bleu_sentences=0)
  train(config, tmp_path / "run", ".", profile_steps=(2, 10))
  assert "updates 2 to 3: " in (tmp_path / "run/log.txt").read_text()
  train(config.replace(train_steps=5), tmp_path / "run", ".", profile_steps=(3, 4))
  log = (tmp_path / "run/log.txt").read_text()
  assert "warning: --profile_steps=3:4: this start made 2 updates, so there is no trace" in log


@pytest.mark.parametrize("text", ["10", "0:3", "5:2", "a:b", "1:2:3"])
def test_wrong_ranges_are_named(text, tmp_path, capsys):
  assert command_line(["train", f"--workdir={tmp_path / 'w'}", f"--profile_steps={text}"]) == 2
  assert f"--profile_steps={text}" in capsys.readouterr().err
