"""What h heads cost beside one: counted by formula, counted by XLA, and measured (Section 3.2.2).

Three columns answer the question: one head; h heads of width d_model / h, as the paper has them; and h heads of the full
width, which is what "doing the attention h times" would be. A fourth varies d_k at a fixed h (Table 3, row B).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax.analysis.cost.formulas import attention_flops, attention_parameters
from transformer_jax.analysis.timing import compiled, interleaved_timings
from transformer_jax.attention import KERNELS, Mask, Use
from transformer_jax.config import ModelConfig
from transformer_jax.model.multi_head_attention import MultiHeadAttention

NARROW, FULL, VARIED_D_K = "narrow", "full", "d_k"  # columns
SUBLAYER, CORE = "sub-layer", "attention alone"  # with the four projections, or without
PASSES = ("forward", "forward+backward")


@dataclasses.dataclass(frozen=True)
class Case:
  """One choice of heads in one column."""

  column: str
  num_heads: int
  d_k: int
  d_v: int

  def model(self, d_model, kernel, dtype="float32"):
    """A ModelConfig with these heads."""
    return ModelConfig(
      d_model=d_model,
      num_heads=self.num_heads,
      d_k=self.d_k,
      d_v=self.d_v,
      attention_kernel=kernel,
      dtype=dtype,
    )


def cases(d_model, head_counts, d_k_values, fixed_heads):
  """The cases of all columns; one head is both narrow and full, and stands among the narrow."""
  narrow = [Case(NARROW, h, d_model // h, d_model // h) for h in head_counts]
  full = [Case(FULL, h, d_model, d_model) for h in head_counts if h > 1]
  varied = [Case(VARIED_D_K, fixed_heads, d_k, d_model // fixed_heads) for d_k in d_k_values]
  return [*narrow, *full, *varied]


def serving_kernels(names, dtype):
  """(the names of `names` that can run here, name -> why another cannot)."""
  reasons = {
    name: KERNELS[name].why_not(Use(jax.default_backend(), dtype, 64, 64)) for name in names
  }
  return [name for name in names if reasons[name] is None], {
    name: reason for name, reason in reasons.items() if reason
  }


def measure(
  d_model,
  all_cases,
  lengths,
  kernels,
  *,
  batch_tokens,
  rounds,
  dtype="float32",
  log=lambda message: None,
):
  """Measures every case; the full and the d_k column with the kernel that `auto` takes, and with projections only.

  Args:
    d_model: width of the sub-layer.
    all_cases: Cases.
    lengths: sentence lengths n.
    kernels: names of KERNELS.
    batch_tokens: positions at once: a batch has batch_tokens / n sentences.
    rounds: timed rounds.
    dtype: of activations.
    log: function that hears of progress.

  Returns:
    list of dicts, one for each case, subject, kernel, length and pass: what was measured beside what the formula says.
  """
  records = []
  for length in lengths:
    wanted = list(_wanted(d_model, all_cases, kernels, dtype))
    log(f"n={length}: compiling {len(wanted)} functions")
    sentences = max(1, batch_tokens // length)
    subjects = [_subject(d_model, dtype, sentences, length, *want) for want in wanted]
    log(f"n={length}: timing {rounds} rounds")
    timings = interleaved_timings(subjects, rounds)
    records += [
      _record(d_model, sentences, length, *found)
      for found in zip(wanted, subjects, timings, strict=True)
    ]
  return records


def _wanted(d_model, all_cases, kernels, dtype):
  """(case, subject's name, kernel, pass) of all that is measured at a length."""
  for case in all_cases:
    for kernel in kernels if case.column == NARROW else ["auto"]:
      for name in (SUBLAYER, CORE) if case.column == NARROW else (SUBLAYER,):
        for which in PASSES:
          yield case, name, kernel, which


def _subject(d_model, dtype, sentences, length, case, name, kernel, which):
  arrays = lambda *shape: jnp.asarray(
    np.random.default_rng(0).standard_normal((sentences, length, *shape)), dtype
  )
  if name == CORE:
    query, key, value = (arrays(case.num_heads, width) for width in (case.d_k, case.d_k, case.d_v))
    forward = lambda q, k, v: KERNELS[kernel].attend(q, k, v, Mask(), None)
    arguments = query, key, value
  else:
    module = MultiHeadAttention(case.model(d_model, kernel, dtype), jnp.dtype(dtype))
    inputs = arrays(d_model)
    params = jax.jit(module.init)(jax.random.key(0), inputs, inputs, Mask())
    forward = lambda variables, x: module.apply(variables, x, x, Mask())[0]
    arguments = params, inputs
  if which == "forward":
    return compiled(forward, *arguments)
  # The gradient of a sum of squares reaches every output with a different weight, so nothing can be left out.
  both = jax.grad(
    lambda *args: jnp.sum(jnp.square(forward(*args).astype(jnp.float32))),
    argnums=tuple(range(len(arguments))),
  )
  return compiled(both, *arguments)


def _record(d_model, sentences, length, want, subject, timing):
  case, name, kernel, which = want
  model = case.model(d_model, kernel)
  formula = (
    attention_flops(model, length, length) if name == SUBLAYER else core_flops(model, length)
  )
  times = 1 if which == "forward" else 3  # each product has two in the backward pass
  return dict(
    column=case.column,
    num_heads=case.num_heads,
    d_k=case.d_k,
    d_v=case.d_v,
    subject=name,
    kernel=kernel,
    length=length,
    sentences=sentences,
    which=which,
    parameters=attention_parameters(model) if name == SUBLAYER else 0,
    formula_flops=sentences * formula * times,
    xla_flops=subject.flops,
    xla_softmax_flops=softmax_flops(sentences, case.num_heads, length)
    if which == "forward"
    else None,
    seconds=dataclasses.asdict(timing),
    peak_bytes=subject.peak_bytes,
  )


@functools.cache
def softmax_flops(sentences, num_heads, length):
  """What XLA counts for scaling scores and their softmax: the part of its count that is no matrix product."""
  scores_BHTS = jax.ShapeDtypeStruct((sentences, num_heads, length, length), jnp.float32)
  return compiled(lambda scores: jax.nn.softmax(scores / 3, axis=-1), scores_BHTS).flops


def core_flops(model, length):
  """FLOP of scores and weighted sum of one sentence, forward: 2 n^2 h (d_k + d_v)."""
  return 2 * length * length * model.num_heads * (model.d_k + model.d_v)


def ratios_to_one_head(records):
  """(subject, kernel, length) -> {h: time of forward+backward over that of one head}, of the narrow column."""
  times = {}
  for record in records:
    if record["column"] == NARROW and record["which"] == PASSES[1]:
      key = record["subject"], record["kernel"], record["length"]
      times.setdefault(key, {})[record["num_heads"]] = record["seconds"]["median"]
  return {
    key: {h: t / by_heads[1] for h, t in by_heads.items()}
    for key, by_heads in times.items()
    if 1 in by_heads
  }
