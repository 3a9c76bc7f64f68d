"""`score`: log-probability of given translations, and perplexity."""

from typing import Any

from transformer_jax.data.text import read_parallel
from transformer_jax.errors import DataError
from transformer_jax.files import StrPath, output_file
from transformer_jax.runs.cut_sources import CutSources
from transformer_jax.runs.ensemble import load_together
from transformer_jax.runs.validation import perplexity_of


def score(
  workdir: StrPath,
  source_path: StrPath,
  target_path: StrPath,
  *,
  overrides: dict[str, Any],
  output_path: StrPath | None = None,
  tokenized_input: bool = False,
  checkpoint: int | str = "last",
  ensemble: str = "",
) -> dict[str, Any]:
  """Writes one log-probability (nats, EOS included) a line; returns totals.

  Args:
    workdir: folder of the run.
    source_path, target_path: files with a sentence on each line.
    overrides: settings that replace the run's (None keeps it).
    output_path: file to write; None or "-" is standard output.
    tokenized_input: the text has been through the run's preprocessing.
    checkpoint: "best", "last" or a step, as `TrainedModel.load` takes it.
    ensemble: workdirs of other runs to score with, as `load_together` takes them.

  Returns:
    dict with "pairs", "log_prob", "tokens" (EOS included), "perplexity" per token, and
    "cut_sources", how many sources were cut.

  Raises:
    DataError: no lines, files of different lengths, or a target that is too long to be scored; the
      message names its line.
  """
  translator = load_together(workdir, ensemble, checkpoint, **overrides)
  sources, targets = read_parallel(source_path, target_path)
  if not sources:
    raise DataError(source_path, "has no lines")
  pairs = zip(sources, targets, strict=True)
  cut_sources = CutSources(translator.config)
  encoded = translator.encoded_pairs(pairs, tokenized_input, cut_sources, f"{target_path}:")
  log_probs, lengths = 0.0, 0
  with output_file(output_path) as output:
    for log_prob, length in translator.encoded_log_probs(encoded):
      output.write(f"{log_prob:.6f}\n")
      log_probs += log_prob
      lengths += length
  cut_sources.report(source_path)
  return dict(
    pairs=len(sources),
    log_prob=log_probs,
    tokens=lengths,
    perplexity=perplexity_of(-log_probs / lengths),
    cut_sources=cut_sources.count,
  )
