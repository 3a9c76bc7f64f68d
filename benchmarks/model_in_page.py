"""Compares the model in the explorer's page with Python's, in Chromium, and times it.

    python benchmarks/model_in_page.py --workdir=DIR --data_root=DATA [--lines=500] [--heads=50]

DIR is a run, or a folder that `export --format=safetensors` wrote; the lines are the first of its
test split. For each quantization of the
page the reference is Python's greedy search with the same rounded parameters: the same tokens, and
the largest difference of a translation's log-probability. For the first --heads lines the same with
each head closed alone, and without the division by the square root of d_k. Milliseconds are those
of a translation, by itself in the page, and with a processor that is four times slower
(Chromium's own throttling). Needs what the tests marked `browser` need.
"""

import argparse
import itertools
import json
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import explorer_page
from model_page import ModelPage, rounded_model, undivided
from random_models import hypotheses, is_as_good

import transformer_jax
from transformer_jax.config import EOS_ID
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.model.head_gates import ATTENTIONS

CLOSE = 1e-4  # nats; two tokens that are closer are equally probable


def main():
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--workdir", required=True)
  parser.add_argument("--data_root", default=".")
  parser.add_argument("--lines", type=int, default=500)
  parser.add_argument("--heads", type=int, default=50)
  parser.add_argument("--quantizations", default="int8,float16")
  arguments = parser.parse_args()
  model = transformer_jax.load(arguments.workdir, beam_size=1)
  pairs = open_source(model.config.data, arguments.data_root).pairs("test")
  lines = [source for source, _ in itertools.islice(pairs, arguments.lines)]
  with explorer_page.started() as browser, tempfile.TemporaryDirectory() as folder:
    for quantization in arguments.quantizations.split(","):
      page = ModelPage(browser, pathlib.Path(folder), model, quantization)
      reference = rounded_model(model, quantization)
      few = lines[: arguments.heads]
      result = dict(quantization=quantization, bytes=page.size)
      result["as trained"] = compared(page, reference, lines)
      result["each head closed"] = heads_closed(page, reference, few)
      result["undivided"] = compared(page, undivided(reference), few, is_scaled=False)
      result["milliseconds"] = timed(page, browser, lines[:100])
      print(json.dumps(result, indent=1), flush=True)


def heads_closed(page, model, lines):
  """Returns `compared` over all heads, each closed alone."""
  config = model.config.model
  heads = itertools.product(ATTENTIONS, range(config.num_layers), range(config.num_heads))
  found = [compared(page, model.with_heads_closed([head]), lines, closed=[head]) for head in heads]
  worst = max(one["largest difference"] for one in found)
  counts = {name: sum(one[name] for one in found) for name in ("lines", "equal", "ties")}
  return {**counts, "largest difference": worst}


def compared(page, model, lines, **switches):
  """Returns how many translations have the same tokens, and how far log-probabilities are apart.

  "ties" are among the rest: where the two first differ, both tokens are equally probable.
  """
  equal, ties, worst = 0, 0, 0.0
  theirs = page.translations(lines, **switches)
  for line, one, ours in zip(lines, theirs, hypotheses(model, lines), strict=True):
    tokens = [token for token in one["ids"] if token != EOS_ID]
    if tokens == ours.tokens:
      equal += 1
      worst = max(worst, abs(one["log_prob"] - ours.log_prob))
    elif is_as_good(model, line, ours.tokens, tokens, CLOSE):
      ties += 1
  return {"lines": len(lines), "equal": equal, "ties": ties, "largest difference": worst}


def timed(page, browser, lines):
  """Returns the median and the longest milliseconds of a translation, by slowdown."""
  times = {}
  for slowdown in (1, 4):
    browser.execute_cdp_cmd("Emulation.setCPUThrottlingRate", dict(rate=slowdown))
    page.translations(lines[:10])  # until then it is compiled
    found = sorted(one["ms"] for one in page.translations(lines))
    times[slowdown] = dict(median=round(found[len(found) // 2], 1), longest=round(found[-1], 1))
  browser.execute_cdp_cmd("Emulation.setCPUThrottlingRate", dict(rate=1))
  return times


if __name__ == "__main__":
  main()
