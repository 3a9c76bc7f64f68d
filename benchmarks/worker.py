"""This project's side of a side-by-side benchmark; see `work.py`.

    python benchmarks/worker.py --work=T1 [--variant=KERNEL] [--rounds=5]
    python benchmarks/worker.py --work=A1 --variant=KERNEL@HEADS [--rounds=5]

For training and search the variant is the attention kernel, by default auto. A is attention alone,
S a sub-layer, both forward and backward. Weights are random; dropout is where the paper has it.
"""

import work

OPTIONS = work.arguments()

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax import parallel
from transformer_jax.attention import KERNELS, Mask
from transformer_jax.config import Config
from transformer_jax.model.multi_head_attention import MultiHeadAttention
from transformer_jax.model.transformer import Transformer
from transformer_jax.runs.search import make_search
from transformer_jax.training.state import initial_state
from transformer_jax.training.step import TrainStep

SIZE = work.SIZES[OPTIONS.work]
# A function that does a round and returns its number of tokens; the round's operations, if known.
Round = tuple[Callable[[], int], float | None]


def config() -> Config:
  """Returns the configuration that T and G works train or search with."""
  width = SIZE["d"] // SIZE["h"]
  return Config().replace(
    num_layers=SIZE["layers"],
    d_model=SIZE["d"],
    d_ff=SIZE["ff"],
    num_heads=SIZE["h"],
    d_k=width,
    d_v=width,
    dtype=SIZE.get("dtype", "float32"),
    attention_kernel=OPTIONS.variant or "auto",
  )


def training() -> Round:
  """One update for each batch."""
  cfg = config()
  model = Transformer(cfg.model, SIZE["vocab"], SIZE["vocab"])
  train_step = TrainStep(cfg, model)
  batches = work.training_batches(OPTIONS.work)
  shards = [
    tuple(parallel.shard_rows(side, parallel.own_rows_of_update) for side in batch)
    for batch in batches
  ]
  state = parallel.replicate(jax.jit(lambda: initial_state(cfg, model))())
  train_step.compile_ahead(state, shards, batches_in_update=1)

  def run_round():
    nonlocal state
    for batch in shards:
      state, progress = train_step(state, [batch])
    jax.block_until_ready(progress)
    return work.target_tokens(batches)

  return run_round, work.training_flops(OPTIONS.work, batches)


def search() -> Round:
  """Beam search over the sources; the outputs' length is forced."""
  cfg = config().replace(beam_size=SIZE["beam"])
  length = SIZE["out"]
  model = Transformer(cfg.model, SIZE["vocab"], SIZE["vocab"])
  source_BS = work.pad(work.search_sources(OPTIONS.work))
  limits_B = np.full(len(source_BS), length, np.int32)
  init = lambda: model.init(jax.random.key(0), source_BS[:1], source_BS[:1])
  params = jax.jit(init)()["params"]
  find = jax.jit(make_search(model, cfg.decode, length))

  def run_round():
    for _ in range(SIZE["repeats"]):
      result = find(params, source_BS, limits_B, limits_B)
      lengths = np.asarray(result.lengths_BM[:, 0])
      assert (lengths == length).all(), lengths
    return SIZE["repeats"] * len(source_BS) * length

  return run_round, None


def attention(is_sublayer: bool) -> Round:
  """Attention, or a sub-layer with its projections, forward and backward; tokens are positions.

  The operations are those of the matrix products.
  """
  kernel, _, num_heads = (OPTIONS.variant or "blocked@8").partition("@")
  heads = int(num_heads or 8)
  batch, length, width = SIZE["batch"], SIZE["length"], SIZE["width"]
  d_k = width // heads

  def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)

  if is_sublayer:
    sizes = dict(d_model=width, num_heads=heads, d_k=d_k, d_v=d_k, attention_kernel=kernel)
    module = MultiHeadAttention(Config().replace(**sizes).model, jnp.dtype("float32"))
    inputs = draw(0, batch, length, width)
    params = jax.jit(module.init)(jax.random.key(0), inputs, inputs, Mask())
    arrays = (params, inputs)
    gradient = draw(1, batch, length, width)

    def function(params, x):
      values, _ = module.apply(params, x, x, Mask())
      return values
  else:
    arrays = [draw(seed, batch, length, heads, d_k) for seed in range(3)]
    gradient = draw(3, batch, length, heads, d_k)
    function = functools.partial(KERNELS[kernel].attend, mask=Mask())

  @jax.jit
  def both(arrays, gradient):
    values, pull = jax.vjp(function, *arrays)
    return values, pull(gradient)

  def run_round():
    jax.block_until_ready(both(arrays, gradient))
    return batch * length

  flops = 12.0 * batch * length**2 * width
  if is_sublayer:
    flops += 24.0 * batch * length * width**2
  return run_round, flops


def main() -> None:
  """Builds the work and serves it."""
  parallel.start_up()
  kind = OPTIONS.work[0]
  if kind in "AS":
    run_round, flop = attention(is_sublayer=kind == "S")
  elif "budget" in SIZE:
    run_round, flop = training()
  else:
    run_round, flop = search()
  work.serve(OPTIONS, "transformer_jax", jax.__version__, run_round, flop=flop)


main()
