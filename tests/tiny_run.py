"""The settings of a run on the built-in task that trains in seconds, and its metrics."""

import json
import os

from transformer_jax.config import Config

# No test may depend on what these models happen to answer: `make test-portability` trains them
# from another seed.
SEED = int(os.environ.get("TRANSFORMER_JAX_TEST_SEED", "1"))

TINY = dict(
  seed=SEED,
  data_source="numbers",
  numbers_limit=1000,
  numbers_train_size=400,
  vocab_size=70,
  max_length=40,
  batch_tokens=512,
  num_buckets=2,
  num_layers=1,
  d_model=32,
  d_ff=32,
  num_heads=2,
  d_k=16,
  d_v=16,
  attention_kernel="xla",
  dropout_rate=0.2,
  warmup_steps=20,
  train_steps=40,
  log_every=10,
  evaluate_every=20,
  checkpoint_every=10,
  keep_checkpoints=3,
  keep_best=0,
  bleu_sentences=8,
)


def tiny_config(**settings):
  """Returns the Config of the run, with some settings changed."""
  return Config().replace(**{**TINY, **settings})


def flags(**settings):
  """Returns the same settings as flags."""
  return [f"--{name}={value}" for name, value in {**TINY, **settings}.items()]


def metrics_of(workdir):
  """Returns the lines of metrics.jsonl without times and speeds, which differ between runs."""
  result = []
  for text in (workdir / "metrics.jsonl").read_text().splitlines():
    line = json.loads(text)
    result.append(
      {name: line[name] for name in line if not name.endswith(("_seconds", "_per_second"))}
    )
  return result
