"""`bleu`: scores a file of translations against a file of references, without a model."""

from transformer_jax.data.text import read_lines
from transformer_jax.errors import DataError
from transformer_jax.metrics.bleu import corpus_bleu, paper_bleu, test_set_note, tokenized_bleu


def bleu(hypothesis_path, reference_path, language, tokenize="13a", lowercase=False):
  """All scores of a file, each with its signature.

  Args:
    hypothesis_path, reference_path: text files, one sentence a line, .gz by name.
    language: for the paper's tokenisation.
    tokenize: sacreBLEU's tokenisation.
    lowercase: lower-case both sides before sacreBLEU and tokenized BLEU; the paper's score is of cased text always.

  Returns:
    dict: "test_set" (how many sentences, and the WMT set of that size), "sacrebleu" (with chrF), "tokenized_bleu" (of the
    text's own tokens, as multi-bleu.perl) and "paper_bleu" (or its "error", where sacremoses is missing).

  Raises:
    DataError: a file cannot be read, or they are not parallel.
  """
  hypotheses, references = list(read_lines(hypothesis_path)), list(read_lines(reference_path))
  if len(hypotheses) != len(references):
    raise DataError(hypothesis_path, f"has {len(hypotheses)} lines, and {reference_path} has {len(references)}", "give parallel files")
  scores = dict(test_set=test_set_note(len(references)), sacrebleu=corpus_bleu(hypotheses, references, tokenize, lowercase),
                tokenized_bleu=tokenized_bleu(hypotheses, references, lowercase))
  try:
    scores["paper_bleu"] = paper_bleu(hypotheses, references, language)
  except DataError as error:  # a missing package must not cost the other scores
    scores["paper_bleu"] = dict(error=str(error))
  return scores
