"""`bleu`: scores a file of translations against a file of references, without a model."""

from transformer_jax.data.text import read_parallel
from transformer_jax.errors import DataError
from transformer_jax.metrics.bleu import (
  check_tokenizer,
  corpus_bleu,
  paper_bleu_or_why_not,
  test_set_note,
  tokenized_bleu,
  tokenizer_of,
)


def bleu(hypothesis_path, reference_path, language, tokenize="", lowercase=False):
  """All scores of a file, each with its signature.

  Args:
    hypothesis_path, reference_path: text files, one sentence a line, .gz by name.
    language: for the paper's tokenisation, and sacreBLEU's where `tokenize` is empty.
    tokenize: sacreBLEU's tokenisation.
    lowercase: lower-case both sides before sacreBLEU and tokenized BLEU; the paper's score is of cased text always.

  Returns:
    dict: "test_set" (how many sentences, and the WMT set of that size), "sacrebleu" (with chrF), "tokenized_bleu" (of the
    text's own tokens, as multi-bleu.perl) and "paper_bleu" (or its "error": no sacremoses, no spaces).

  Raises:
    ConfigError: a tokenisation that sacreBLEU does not have here.
    DataError: a file cannot be read, they are not parallel, or empty.
  """
  tokenize = tokenize or tokenizer_of(language)
  check_tokenizer(tokenize)
  references, hypotheses = read_parallel(reference_path, hypothesis_path)
  if not references:
    raise DataError(reference_path, "has no lines", "name files with text")
  return dict(
    test_set=test_set_note(len(references)),
    sacrebleu=corpus_bleu(hypotheses, references, tokenize, lowercase),
    tokenized_bleu=tokenized_bleu(hypotheses, references, lowercase),
    paper_bleu=paper_bleu_or_why_not(hypotheses, references, language),
  )
