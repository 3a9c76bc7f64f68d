"""`score`: log-probability of given translations, and perplexity."""

from transformer_jax.data.text import read_parallel
from transformer_jax.errors import DataError
from transformer_jax.files import output_file
from transformer_jax.runs.cut_sources import CutSources
from transformer_jax.runs.trained_model import TrainedModel
from transformer_jax.runs.validation import perplexity_of


def score(
  workdir,
  source_path,
  target_path,
  *,
  overrides,
  output_path=None,
  tokenized_input=False,
  step=None,
):
  """Writes one log-probability (nats, EOS included) a line; returns totals.

  Returns:
    dict with "pairs", "log_prob", "tokens" (EOS included), "perplexity" per token, and "cut_sources", how many were cut.

  Raises:
    DataError: no lines, files of different lengths, or a target that is too long to be scored; names its line.
  """
  translator = TrainedModel.load(workdir, step=step, **overrides)
  sources, targets = read_parallel(source_path, target_path)
  if not sources:
    raise DataError(source_path, "has no lines")
  total, tokens = 0.0, 0
  cut_sources = CutSources(translator.config)
  encoded = translator.encoded_pairs(
    zip(sources, targets), tokenized_input, cut_sources, target_path, ":"
  )
  with output_file(output_path) as output:
    for log_prob, length in translator.log_probs_of(encoded):
      output.write(f"{log_prob:.6f}\n")
      total, tokens = total + log_prob, tokens + length
  cut_sources.say(source_path)
  return dict(
    pairs=len(sources),
    log_prob=total,
    tokens=tokens,
    perplexity=perplexity_of(-total / tokens),
    cut_sources=cut_sources.count,
  )
