"""This project's side of a side-by-side benchmark: one round of the work for each line "go" on stdin.

The harness gives the work (module `work` on PYTHONPATH: sizes, batches, sources) and times it in turn with other systems.
    python benchmarks/worker.py --work T1|T2|D0|D1|D1b1 [--variant reference|xla] [--rounds 5]
Weights are random; dropout is where the paper has it; float32.
"""

import work  # isort: skip  (sets thread counts before jax is imported)

ARGS = work.args()

import jax
import numpy as np

from transformer_jax import parallel
from transformer_jax.config import Config

SIZES = work.CFG[ARGS.work]


def config():
  """The work's model; T1 and T2 train it, D0, D1 and D1b1 search with it."""
  width = SIZES["d"] // SIZES["h"]
  return Config().replace(num_layers=SIZES["enc"], d_model=SIZES["d"], d_ff=SIZES["ff"], num_heads=SIZES["h"], d_k=width, d_v=width,
                          attention_kernel=ARGS.variant or "xla")


def training_round(cfg, model):
  """One update for each of the work's batches; returns the number of target tokens."""
  from transformer_jax.training.state import initial_state
  from transformer_jax.training.step import TrainStep

  train_step = TrainStep(cfg, model)
  batches = [(parallel.shard_rows(source), parallel.shard_rows(target)) for source, target in work.train_batches(ARGS.work)]
  tokens = work.ntok(work.train_batches(ARGS.work))
  state = parallel.replicate(jax.jit(lambda: initial_state(cfg, model))())

  def run():
    nonlocal state
    for batch in batches:
      state, progress = train_step(state, [batch])
    jax.block_until_ready(progress)
    return tokens

  return run


def search_round(cfg, model):
  """Beam search over the work's sources with the output length forced; returns the number of output tokens."""
  from transformer_jax.runs.build import make_search

  sources = work.decode_sources(ARGS.work)
  repeats = SIZES.get("reps", 1)
  source_BS = work.pad(sources)
  limits_B = np.full(len(sources), SIZES["out"], np.int32)
  search = make_search(model, cfg.replace(beam_size=SIZES["beam"]).decode, SIZES["out"])
  params = jax.jit(lambda: model.init(jax.random.key(0), source_BS[:1], source_BS[:1])["params"])()
  search = jax.jit(search)

  def run():
    for _ in range(repeats):
      result = jax.block_until_ready(search(params, source_BS, limits_B, limits_B))
      assert (np.asarray(result.lengths_BM[:, 0]) == SIZES["out"]).all(), result.lengths_BM[:, 0]
    return repeats * len(sources) * SIZES["out"]

  return run


def main():
  """Builds the work and serves it."""
  from transformer_jax.model.transformer import Transformer

  parallel.start_up()
  cfg = config()
  model = Transformer(cfg.model, SIZES["vocab"], SIZES["vocab"])
  run = (training_round if ARGS.work.startswith("T") else search_round)(cfg, model)
  work.serve(ARGS, "transformer_jax", jax.__version__, run)


main()
