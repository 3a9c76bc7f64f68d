"""Tests of `cost`: counts equal XLA's, layers equal loops, the page says what was measured."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import pyplot

from transformer_jax.analysis import plots, timing
from transformer_jax.analysis.cost import figures as cost_figures
from transformer_jax.analysis.cost import heads, layers, report
from transformer_jax.analysis.cost.formulas import attention_terms
from transformer_jax.analysis.cost.heads import CORE, FULL, NARROW, SUBLAYER, Case
from transformer_jax.attention import KERNELS, Mask, Use, fastest_kernel
from transformer_jax.cli.main import run as command_line


def record(
  num_heads,
  length,
  seconds,
  subject=SUBLAYER,
  kernel="xla",
  column=NARROW,
  which="forward+backward",
):
  return dict(
    column=column,
    num_heads=num_heads,
    subject=subject,
    kernel=kernel,
    length=length,
    which=which,
    seconds=dict(median=seconds, low=seconds, high=seconds),
  )


def test_only_the_softmax_contains_h():
  terms = []
  for h in (1, 2, 16):
    model = Case(NARROW, h, 64 // h, 64 // h).model(64, "xla")
    terms.append(attention_terms(model, 10, 10))
  for name in terms[0]:
    counts = [by_name[name].count for by_name in terms]
    expected = [100, 200, 1600] if name == "softmax" else [counts[0]] * 3
    assert counts == expected, name


def test_full_heads_cost_h_times_as_much():
  one, full = (attention_terms(Case(FULL, h, 64, 64).model(64, "xla"), 10, 10) for h in (1, 8))
  assert all(full[name].count == 8 * one[name].count for name in one)
  cases = heads.cases(64, [1, 8], [4, 8], 16)
  assert [(c.column, c.num_heads, c.d_k, c.d_v) for c in cases] == [
    ("narrow", 1, 64, 64),
    ("narrow", 8, 8, 8),
    ("full", 8, 64, 64),
    ("d_k", 16, 4, 4),
    ("d_k", 16, 8, 4),
  ]


def test_xla_counts_what_the_formula_says():
  """Compares the two without the softmax, which the formula leaves out.

  The library's kernel needs d_k = d_v, so it computes scores of the wider width.
  """
  cases = heads.cases(32, [1, 4], [4], 4)
  records = heads.measure(32, cases, [16], ["reference", "xla"], batch_tokens=64, rounds=1)
  assert len(records) == 2 * 2 * 2 * 2 + 2 + 2
  for found in records:
    if found["which"] == "forward":
      counted = found["xla_flops"] - found["xla_softmax_flops"] - padding_flops(found)
      assert counted / found["formula_flops"] == pytest.approx(1, abs=0.01), found
    assert 0 < found["seconds"]["low"] <= found["seconds"]["median"] <= found["seconds"]["high"]
    assert found["peak_bytes"] > 0
    assert found["sentences"] == 4
  key = dict(column=NARROW, subject=SUBLAYER, kernel="xla", which="forward", num_heads=4)
  (narrow,) = (found for found in records if key.items() <= found.items())
  assert narrow["parameters"] == 4 * 32 * 32
  times = report.time_lines(records, FULL)
  page = "\n".join([*report.xla_lines(records), *times, *report.flatness_lines(records)])
  assert "| sub-layer | auto | 16 | full | 4 |" in page


def padding_flops(found):
  """Returns the products that the kernel of a record spends on padding d_k to d_v."""
  kernel = found["kernel"]
  if kernel == "auto":
    use = Use("cpu", "float32", found["d_k"], found["d_v"])
    kernel = fastest_kernel(use, found["num_heads"], 16, 16)
  if kernel != "xla":
    return 0
  return 4 * 2 * 16 * 16 * found["num_heads"] * (found["d_v"] - found["d_k"])


def test_rounds_take_the_subjects_in_turn(monkeypatch):
  order = []
  subjects = [timing.Subject(lambda name=name: order.append(name), None, None) for name in "ab"]
  ticks = iter(range(100))
  monkeypatch.setattr(timing.time, "perf_counter", lambda: next(ticks))
  found = timing.interleaved_timings(subjects, 3)
  assert "".join(order) == "ab" + "ab" + "ba" + "ab"
  assert found == [timing.Timing(1, 1, 1)] * 2


def test_flatness_is_given_in_numbers():
  times = {(1, 32): 1.0, (8, 32): 1.1, (32, 32): 1.2, (1, 128): 1.0, (8, 128): 1.1, (32, 128): 2.5}
  lines = report.flatness_lines([record(h, n, seconds) for (h, n), seconds in times.items()])
  assert lines[-1] == (
    "- sub-layer, kernel `xla`: not flat. More than 1.15 times one head's time: "
    "h=32 from n=32 (at n=128 2.50 times)."
  )
  assert "| sub-layer | xla | 128 | 1.00 | 1.10 | 2.50 |" in lines
  lines = report.flatness_lines([record(h, 32, 1.0, CORE) for h in (1, 8)])
  assert (
    lines[-1] == "- attention alone, kernel `xla`: flat, every h within 1.15 times one head's time."
  )
  # A kernel that cannot serve narrow heads, as cuDNN's, whose widths are multiples of 8.
  lines = report.flatness_lines([record(h, 32, 1.0) for h in (1, 8)] + [record(1, 32, 1.0, CORE)])
  assert "| attention alone | xla | 32 | 1.00 | - |" in lines


@pytest.fixture
def sequence():
  return jnp.asarray(np.random.default_rng(0).standard_normal((2, 9, 4)), jnp.float32)


def test_restricted_attention_is_attention_under_a_band(sequence):
  offset = np.arange(9) - np.arange(9)[:, None]
  x_BNHD = sequence[:, :, None]
  for r in (1, 2, 3, 6):
    band = (-(r // 2) <= offset) & (offset < r - r // 2)
    mask = Mask(allowed_BTS=jnp.asarray(np.broadcast_to(band, (2, 9, 9))))
    expected = KERNELS["reference"].attend(x_BNHD, x_BNHD, x_BNHD, mask)[:, :, 0]
    found = layers.restricted_self_attention(sequence, r)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_recurrence_and_convolution_are_their_loops(sequence):
  matrices = np.random.default_rng(1).standard_normal((3, 4, 4)).astype(np.float32)
  recurrent = np.asarray(layers.recurrent(sequence, jnp.asarray(matrices)))
  convolutional = np.asarray(layers.convolutional(sequence, jnp.asarray(matrices)))
  x = np.asarray(sequence)
  hidden = np.zeros((2, 4))
  for t in range(9):
    hidden = np.tanh(x[:, t] + hidden @ matrices[0])
    np.testing.assert_allclose(recurrent[:, t], hidden, atol=1e-5)
    seen = sum(x[:, t + k - 1] @ matrices[k] for k in range(3) if 0 <= t + k - 1 < 9)
    np.testing.assert_allclose(convolutional[:, t], seen, atol=1e-5)


def test_where_lines_cross():
  times = {"self-attention": [1, 2, 9, 20], "recurrent": [4, 5, 6, 7]}
  records = [
    dict(layer=layer, length=n, d_model=8, seconds=dict(median=s))
    for layer, row in times.items()
    for n, s in zip((1, 2, 4, 8), row, strict=True)
  ]
  assert layers.crossing(records) == 4
  assert layers.crossing([r for r in records if r["length"] < 4]) is None


def test_full_heads_are_divided_by_the_head_of_the_kernel_that_auto_takes(monkeypatch):
  """`auto` takes the fastest: the full column is measured by it, and beside it in the figure."""
  records = [
    record(1, 8, 2.0, kernel="reference"),
    record(4, 8, 9.0, kernel="reference"),
    record(1, 8, 1.0, kernel="blocked"),
    record(4, 8, 1.2, kernel="blocked"),
    record(4, 8, 4.0, kernel="auto", column=FULL),
  ]
  records = [one | dict(formula_flops=one["num_heads"]) for one in records]
  saved = []
  monkeypatch.setattr(plots, "save", lambda figure, path: saved.append(figure) or [])
  cost_figures._draw_columns(records, "", 16)
  narrow, full = saved[0].axes[1].get_lines()[:2]
  assert narrow.get_ydata().tolist() == [1.0, 1.2]
  assert full.get_ydata().tolist() == [1.0, 4.0]
  pyplot.close(saved[0])


@pytest.mark.slow
def test_the_command_writes_page_data_and_figures(tmp_path, capsys):
  flags = dict(
    d_model=16,
    num_heads="1,2,8",
    d_k="2",
    fixed_heads=4,
    lengths="8,16",
    kernels="xla,cudnn",
    batch_tokens=32,
    rounds=1,
    table_1_width=8,
    table_1_lengths="8,16",
    output=tmp_path / "cost",
  )
  assert command_line(["cost", *(f"--{name}={value}" for name, value in flags.items())]) == 0
  page = capsys.readouterr().out
  assert page == (tmp_path / "cost/cost.md").read_text()
  assert "h=1, d_k=d_v=16 | h=8, d_k=d_v=2 | h=8, d_k=d_v=16" in page
  assert "| the paper's base | 3.28e+18 | 9.53e+17 | 29% |" in page
  if jax.default_backend() != "gpu":
    assert "Kernel `cudnn` was not measured: cuDNN's attention runs on NVIDIA GPUs" in page
  data = json.loads((tmp_path / "cost/cost.json").read_text())
  assert {r["length"] for r in data["records"]} == {8, 16}
  assert len(data["table_1"]) == 8
  for name in ("heads_time", "narrow_and_full_heads", "table_1_time"):
    assert (tmp_path / f"cost/{name}.png").stat().st_size > 5000
    assert (tmp_path / f"cost/{name}.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
  "flag, problem",
  [
    ("--num_heads=1,x", "is not a list"),
    ("--num_heads=0", "is not a list"),
    ("--lengths=", "is not a list"),
    ("--num_heads=1,3", "3 heads do not divide --d_model=512"),
    ("--num_heads=2,4", "does not name 1"),
    ("--fixed_heads=3", "--fixed_heads: 3 heads do not divide"),
    ("--kernels=flash", "'flash' is not known"),
    ("--rounds=0", "too small"),
  ],
)
def test_wrong_flags_are_named(flag, problem, tmp_path, capsys):
  assert command_line(["cost", f"--output={tmp_path}/cost", flag]) == 2
  error = capsys.readouterr().err
  assert len(error.splitlines()) == 1
  assert problem in error
  assert not (tmp_path / "cost").exists()


def test_a_kernel_is_left_out_where_the_heads_are_too_wide_for_it(monkeypatch):
  """As cuDNN's, which serves no head of 512."""
  too_wide = lambda use: "too wide" if use.d_k > 16 else None
  monkeypatch.setitem(KERNELS, "xla", dataclasses.replace(KERNELS["xla"], why_not=too_wide))
  measured = heads.measure(
    32, heads.cases(32, [1, 2], [16], 2), [8], ["reference", "xla"], batch_tokens=16, rounds=1
  )
  by_kernel = {
    name: {record["num_heads"] for record in measured if record["kernel"] == name}
    for name in ("reference", "xla")
  }
  assert by_kernel == {"reference": {1, 2}, "xla": {2}}


def test_kernels_that_cannot_serve_one_head_are_refused_before_anything_is_timed(
  monkeypatch, tmp_path, capsys
):
  too_wide = lambda use: "too wide" if use.d_k > 64 else None
  monkeypatch.setitem(KERNELS, "xla", dataclasses.replace(KERNELS["xla"], why_not=too_wide))
  assert command_line(["cost", "--kernels=xla", f"--output={tmp_path}/cost"]) == 2
  error = capsys.readouterr().err
  assert "--kernels: xla: one head of width 512" in error and len(error.splitlines()) == 1
  assert not (tmp_path / "cost").exists()
