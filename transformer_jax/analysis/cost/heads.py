"""The cost of h heads beside one: counted by formula, counted by XLA, and measured (Section 3.2.2).

It has three columns: one head; h heads of width d_model / h, as in the paper; and h heads of the
full width, which would be "doing the attention h times". A fourth column varies d_k at
a fixed h (Table 3, row B).
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax.analysis.cost.formulas import attention_flops, attention_parameters
from transformer_jax.analysis.timing import Subject, Timing, compiled, interleaved_timings
from transformer_jax.attention import KERNELS, Mask, Use
from transformer_jax.config import ModelConfig
from transformer_jax.model.multi_head_attention import MultiHeadAttention

# Columns.
NARROW = "narrow"
FULL = "full"
VARIED_D_K = "d_k"
# The subject: the sub-layer with its four projections, or attention without them.
SUBLAYER = "sub-layer"
CORE = "attention alone"
# Passes.
FORWARD = "forward"
FORWARD_BACKWARD = "forward+backward"
PASSES = (FORWARD, FORWARD_BACKWARD)


@dataclasses.dataclass(frozen=True)
class Case:
  """A number of heads and their widths; a case of one of the columns."""

  column: str
  num_heads: int
  d_k: int
  d_v: int

  def model(self, d_model: int, kernel: str, dtype: str = "float32") -> ModelConfig:
    """Returns a ModelConfig with these heads."""
    return ModelConfig(
      d_model=d_model,
      num_heads=self.num_heads,
      d_k=self.d_k,
      d_v=self.d_v,
      attention_kernel=kernel,
      dtype=dtype,
    )


@dataclasses.dataclass(frozen=True)
class Batch:
  """The inputs that all cases of a length are measured on."""

  d_model: int
  sentences: int
  length: int
  dtype: str

  def arrays(self, *shape: int) -> jax.Array:
    """Returns random inputs [sentences, length, *shape], the same ones at each call."""
    values = np.random.default_rng(0).standard_normal((self.sentences, self.length, *shape))
    return jnp.asarray(values, self.dtype)


@dataclasses.dataclass(frozen=True)
class Probe:
  """One function to measure: a case, with or without projections, in a kernel and a pass."""

  case: Case
  subject: str  # SUBLAYER or CORE
  kernel: str
  which: str  # of PASSES


def cases(
  d_model: int, head_counts: Sequence[int], d_k_values: Sequence[int], fixed_heads: int
) -> list[Case]:
  """Returns the cases of all columns. One head is both narrow and full, and is listed as narrow."""
  narrow = [Case(NARROW, h, d_model // h, d_model // h) for h in head_counts]
  full = [Case(FULL, h, d_model, d_model) for h in head_counts if h > 1]
  varied = [Case(VARIED_D_K, fixed_heads, d_k, d_model // fixed_heads) for d_k in d_k_values]
  return [*narrow, *full, *varied]


def serving_kernels(names: Sequence[str], dtype: str) -> tuple[list[str], dict[str, str]]:
  """Returns (the kernels that can run here, name -> why another kernel cannot)."""
  use = Use(jax.default_backend(), dtype, 64, 64)
  reasons = {name: KERNELS[name].why_not(use) for name in names}
  serving = [name for name in names if reasons[name] is None]
  return serving, {name: reason for name, reason in reasons.items() if reason}


def can_run(name: str, dtype: str, d_k: int, d_v: int, length: int = 1) -> bool:
  """Returns whether a kernel itself serves heads of these widths, and sentences so long, here."""
  kernel = KERNELS[name]
  is_short_enough = length <= kernel.longest
  return is_short_enough and kernel.why_not(Use(jax.default_backend(), dtype, d_k, d_v)) is None


def measure(
  d_model: int,
  all_cases: Sequence[Case],
  lengths: Sequence[int],
  kernels: Sequence[str],
  *,
  batch_tokens: int,
  rounds: int,
  dtype: str = "float32",
  log: Callable[[str], None] = lambda message: None,
) -> list[dict[str, Any]]:
  """Measures all cases.

  The full and the d_k column are measured with projections only, by the kernel that `auto` chooses.

  Args:
    d_model: width of the sub-layer.
    all_cases: see `cases`.
    lengths: sentence lengths n.
    kernels: names in KERNELS.
    batch_tokens: positions at once: a batch has batch_tokens / n sentences.
    rounds: timed rounds.
    dtype: dtype of activations.
    log: called with a message about progress.

  Returns:
    A dict for each length, case, subject, kernel and pass: measurements beside the formula's
    figures.
  """
  records = []
  for length in lengths:
    probes = list(_probes(all_cases, kernels, dtype, length))
    batch = Batch(d_model, max(1, batch_tokens // length), length, dtype)
    log(f"n={length}: compiling {len(probes)} functions")
    subjects = [_subject(batch, probe) for probe in probes]
    log(f"n={length}: timing {rounds} rounds")
    timings = interleaved_timings(subjects, rounds)
    for probe, subject, timing in zip(probes, subjects, timings, strict=True):
      records.append(_record(batch, probe, subject, timing))
  return records


def _probes(
  all_cases: Sequence[Case], kernels: Sequence[str], dtype: str, length: int
) -> Iterator[Probe]:
  """Yields the Probes of a length; a kernel is left out where it cannot serve the heads' width."""
  for case in all_cases:
    is_narrow = case.column == NARROW
    names = kernels if is_narrow else ["auto"]
    for kernel in (name for name in names if can_run(name, dtype, case.d_k, case.d_v, length)):
      for subject in (SUBLAYER, CORE) if is_narrow else (SUBLAYER,):
        for which in PASSES:
          yield Probe(case, subject, kernel, which)


def _subject(batch: Batch, probe: Probe) -> Subject:
  """Compiles the function of a probe."""
  make = _core if probe.subject == CORE else _sublayer
  forward, arguments = make(batch, probe)
  if probe.which == FORWARD:
    return compiled(forward, *arguments)

  # The gradient of a sum of squares reaches every output with a different weight, so XLA can leave
  # nothing out.
  def summed_squares(*args):
    return jnp.sum(jnp.square(forward(*args).astype(jnp.float32)))

  gradient = jax.grad(summed_squares, argnums=tuple(range(len(arguments))))
  return compiled(gradient, *arguments)


def _core(batch: Batch, probe: Probe) -> tuple[Callable, tuple]:
  """Returns (scores, softmax and weighted sum of all heads; their arguments)."""
  case = probe.case
  query_BTHK = batch.arrays(case.num_heads, case.d_k)
  key_BSHK = batch.arrays(case.num_heads, case.d_k)
  value_BSHV = batch.arrays(case.num_heads, case.d_v)
  attend = KERNELS[probe.kernel].attend
  forward = lambda query, key, value: attend(query, key, value, Mask(), None)
  return forward, (query_BTHK, key_BSHK, value_BSHV)


def _sublayer(batch: Batch, probe: Probe) -> tuple[Callable, tuple]:
  """Returns (the sub-layer as a function of parameters and inputs; its arguments)."""
  model = probe.case.model(batch.d_model, probe.kernel, batch.dtype)
  module = MultiHeadAttention(model, jnp.dtype(batch.dtype))
  x_BTD = batch.arrays(batch.d_model)
  params = jax.jit(module.init)(jax.random.key(0), x_BTD, x_BTD, Mask())
  forward = lambda variables, x: module.apply(variables, x, x, Mask())[0]
  return forward, (params, x_BTD)


def _record(batch: Batch, probe: Probe, subject: Subject, timing: Timing) -> dict[str, Any]:
  """Returns the measurements of a probe beside the formula's figures, for JSON."""
  case = probe.case
  model = case.model(batch.d_model, probe.kernel)
  if probe.subject == SUBLAYER:
    parameters = attention_parameters(model)
    formula = attention_flops(model, batch.length, batch.length)
  else:
    parameters = 0
    formula = core_flops(model, batch.length)
  if probe.which == FORWARD:
    softmax = softmax_flops(batch.sentences, case.num_heads, batch.length)
  else:
    formula *= 3  # each product has two in the backward pass
    softmax = None
  return dict(
    column=case.column,
    num_heads=case.num_heads,
    d_k=case.d_k,
    d_v=case.d_v,
    subject=probe.subject,
    kernel=probe.kernel,
    length=batch.length,
    sentences=batch.sentences,
    which=probe.which,
    parameters=parameters,
    formula_flops=batch.sentences * formula,
    xla_flops=subject.flops,
    xla_softmax_flops=softmax,
    seconds=dataclasses.asdict(timing),
    peak_bytes=subject.peak_bytes,
  )


@functools.cache
def softmax_flops(sentences: int, num_heads: int, length: int) -> float | None:
  """Returns XLA's count for scaling the scores and for their softmax.

  That part of XLA's count is not a matrix product.
  """
  scores_BHTS = jax.ShapeDtypeStruct((sentences, num_heads, length, length), jnp.float32)
  return compiled(lambda scores: jax.nn.softmax(scores / 3, axis=-1), scores_BHTS).flops


def core_flops(model: ModelConfig, length: int) -> int:
  """Returns the FLOP of a sentence's scores and weighted sum, forward: 2 n^2 h (d_k + d_v)."""
  return 2 * length * length * model.num_heads * (model.d_k + model.d_v)


def ratios_to_one_head(
  records: Sequence[dict[str, Any]],
) -> dict[tuple[str, str, int], dict[int, float]]:
  """Returns the times of the narrow column relative to one head's, forward and backward together.

  Returns:
    (subject, kernel, length) -> number of heads -> ratio.
  """
  times: dict[tuple[str, str, int], dict[int, float]] = {}
  for record in records:
    if record["column"] == NARROW and record["which"] == FORWARD_BACKWARD:
      key = (record["subject"], record["kernel"], record["length"])
      times.setdefault(key, {})[record["num_heads"]] = record["seconds"]["median"]
  return {
    key: {h: seconds / by_heads[1] for h, seconds in by_heads.items()}
    for key, by_heads in times.items()
    if 1 in by_heads
  }
