"""This project's side of a side-by-side benchmark; see `work.py`.

    python benchmarks/worker.py --work=T1 [--variant=KERNEL] [--rounds=5]          training and search: the attention kernel, else auto
    python benchmarks/worker.py --work=A1 --variant=KERNEL@HEADS [--rounds=5]      attention alone (A) or a sub-layer (S), forward + backward
Weights are random; dropout is where the paper has it.
"""

import work

OPTIONS = work.arguments()

import functools

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


def config():
  """The model that T and G works train or search with."""
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


def training():
  """(one update for each batch -> number of target tokens, the round's FLOP)."""
  cfg = config()
  model = Transformer(cfg.model, SIZE["vocab"], SIZE["vocab"])
  train_step, batches = TrainStep(cfg, model), work.training_batches(OPTIONS.work)
  on_devices = [tuple(map(parallel.shard_rows, batch)) for batch in batches]
  state = parallel.replicate(jax.jit(lambda: initial_state(cfg, model))())

  def run_round():
    nonlocal state
    for batch in on_devices:
      state, progress = train_step(state, [batch])
    jax.block_until_ready(progress)
    return work.target_tokens(batches)

  return run_round, work.training_flops(OPTIONS.work, batches)


def search():
  """(beam search over the sources with the output's length forced -> number of output tokens, None)."""
  cfg, length = config().replace(beam_size=SIZE["beam"]), SIZE["out"]
  model = Transformer(cfg.model, SIZE["vocab"], SIZE["vocab"])
  source_BS = work.pad(work.search_sources(OPTIONS.work))
  limits_B = np.full(len(source_BS), length, np.int32)
  params = jax.jit(lambda: model.init(jax.random.key(0), source_BS[:1], source_BS[:1])["params"])()
  find = jax.jit(make_search(model, cfg.decode, length))

  def run_round():
    for _ in range(SIZE["repeats"]):
      lengths = np.asarray(find(params, source_BS, limits_B, limits_B).lengths_BM[:, 0])
      assert (lengths == length).all(), lengths
    return SIZE["repeats"] * len(source_BS) * length

  return run_round, None


def attention(is_sublayer):
  """(attention, or a sub-layer with its projections, forward + backward -> number of positions, FLOP of the matrix products)."""
  kernel, _, heads = (OPTIONS.variant or "blocked@8").partition("@")
  batch, length, width, heads = SIZE["batch"], SIZE["length"], SIZE["width"], int(heads or 8)
  d_k = width // heads
  draw = lambda seed, *shape: jnp.asarray(
    np.random.default_rng(seed).standard_normal(shape), jnp.float32
  )
  if is_sublayer:
    sizes = dict(d_model=width, num_heads=heads, d_k=d_k, d_v=d_k, attention_kernel=kernel)
    module = MultiHeadAttention(Config().replace(**sizes).model, jnp.dtype("float32"))
    inputs = draw(0, batch, length, width)
    arrays, slope = (
      (jax.jit(module.init)(jax.random.key(0), inputs, inputs, Mask()), inputs),
      draw(1, batch, length, width),
    )
    function = lambda params, x: module.apply(params, x, x, Mask())[0]
  else:
    arrays, slope = (
      [draw(seed, batch, length, heads, d_k) for seed in range(3)],
      draw(3, batch, length, heads, d_k),
    )
    function = functools.partial(KERNELS[kernel].attend, mask=Mask())

  @jax.jit
  def both(arrays, slope):
    values, pull = jax.vjp(function, *arrays)
    return values, pull(slope)

  def run_round():
    jax.block_until_ready(both(arrays, slope))
    return batch * length

  return run_round, 12.0 * batch * length**2 * width + (
    24.0 * batch * length * width**2 if is_sublayer else 0.0
  )


def main():
  """Builds the work and serves it."""
  parallel.start_up()
  kinds = {"A": functools.partial(attention, False), "S": functools.partial(attention, True)}
  kind = kinds.get(OPTIONS.work[0], training if "budget" in SIZE else search)
  run_round, flop = kind()
  work.serve(OPTIONS, "transformer_jax", jax.__version__, run_round, flop=flop)


main()
