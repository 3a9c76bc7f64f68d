"""`bleu`: scores a file of translations against a file of references, without a model."""

from typing import Any

from transformer_jax.data.preprocessing import moses_code
from transformer_jax.data.text import read_parallel
from transformer_jax.errors import DataError
from transformer_jax.files import StrPath
from transformer_jax.metrics.bleu import (
  check_tokenizer,
  corpus_bleu,
  paper_bleu_or_why_not,
  test_set_note,
  tokenized_bleu,
  tokenizer_of,
)


def bleu(
  hypothesis_path: StrPath,
  reference_path: StrPath,
  language: str,
  tokenize: str = "",
  lowercase: bool = False,
) -> dict[str, Any]:
  """Returns all scores of a file, each with its signature.

  Args:
    hypothesis_path, reference_path: text files with one sentence a line; *.gz is unpacked.
    language: selects the paper's tokenization, and sacreBLEU's if `tokenize` is empty.
    tokenize: sacreBLEU's tokenization.
    lowercase: lower-case both sides before sacreBLEU and tokenized BLEU. The paper's score is
      always of cased text.

  Returns:
    dict: "test_set" (the number of sentences, and the WMT set of that size), "sacrebleu" (with
    chrF), "tokenized_bleu" (of the text's own tokens, as multi-bleu.perl) and "paper_bleu" (or its
    "error": no sacremoses, no spaces).

  Raises:
    ConfigError: sacreBLEU does not have this tokenization here.
    DataError: a file cannot be read, or the files are empty or not parallel.
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
    paper_bleu=paper_bleu_or_why_not(hypotheses, references, moses_code(language) or language),
  )
