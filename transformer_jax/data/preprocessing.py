"""Preprocessing of text before it is split into sub-words, and its reverse.

Moses' scripts come from sacremoses, words of the Penn Treebank from NLTK.
"""

import functools
import re
import sys
import unicodedata
from typing import Any, NamedTuple

from transformer_jax.config import DataConfig
from transformer_jax.errors import DataError

_COMPOSABLE = re.compile("[^\u0300-\u036f][\u0300-\u036f]+")  # a letter and its accents

# Full-width ASCII without letters and digits -> ASCII.
_WIDE_MARKS = {
  chr(code + 0xFEE0): chr(code) for code in range(0x21, 0x7F) if not chr(code).isalnum()
}
# Typographic marks -> as a treebank writes them. NLTK makes a closing quote of the straight one.
_AS_IN_TREEBANK = str.maketrans(
  {
    **dict.fromkeys("“„‟«", "``"),
    **dict.fromkeys("”»", '"'),
    **dict.fromkeys("‘’‚‛ʼ", "'"),
    **dict.fromkeys("‒–—―", "--"),
    "…": "...",
    **_WIDE_MARKS,
  }
)


class Preprocessor:
  """A function text -> text for one language, and its reverse.

  Kind "moses" normalizes punctuation and tokenizes as the Moses scripts do, HTML escapes included
  (&apos;); "moses_lowercase" also lower-cases; "none" leaves text unchanged. A letter and its
  accent become one character first, as Moses would separate them.
  """

  def __init__(self, kind: str, language: str) -> None:
    self.kind = kind
    self.language = language

  def __call__(self, text: str) -> str:
    """Returns the preprocessed text."""
    if self.kind == "none":
      return text
    moses = _moses(self.language)
    text = _COMPOSABLE.sub(lambda match: unicodedata.normalize("NFC", match[0]), text)
    if self.kind == "moses_lowercase":
      text = text.lower()
    return moses.tokenizer.tokenize(moses.normalizer.normalize(text), return_str=True)

  def undo(self, text: str) -> str:
    """Returns tokenized text as people write it; it stays lower-cased."""
    if self.kind == "none":
      return text
    return _moses(self.language).detokenizer.detokenize(text.split(" "))


def build_preprocessors(data: DataConfig) -> tuple[Preprocessor, Preprocessor]:
  """Returns the Preprocessors of source and target."""
  source = Preprocessor(data.preprocessing, data.source_language)
  target = Preprocessor(data.preprocessing, data.target_language)
  return source, target


class _Moses(NamedTuple):
  """sacremoses' classes for one language."""

  normalizer: Any
  tokenizer: Any
  detokenizer: Any


@functools.cache
def _moses(language: str) -> _Moses:
  try:
    import sacremoses  # noqa: PLC0415 (only this kind needs it)
    from sacremoses.corpus import NonbreakingPrefixes  # noqa: PLC0415
  except ImportError:
    raise DataError(
      "--preprocessing", "needs the package sacremoses", "pip install sacremoses"
    ) from None
  code = _moses_code(language, NonbreakingPrefixes().available_langs)
  return _Moses(
    sacremoses.MosesPunctNormalizer(lang=code),
    sacremoses.MosesTokenizer(lang=code),
    sacremoses.MosesDetokenizer(lang=code),
  )


def _moses_code(language: str, known: dict[str, str]) -> str:
  """Returns the code whose rules Moses applies; reports it if it is not `language`.

  `known` is language name or code -> code, of the languages whose abbreviations Moses knows.
  """
  codes = {**known, "ja": "ja", "ko": "ko"}  # Moses has rules only for the letters of these two
  code = codes.get(re.split("[-_]", language)[0].lower())
  if code is None:
    print(
      f"transformer-jax: language '{language}': Moses has no rules for it: "
      "abbreviations are those of English",
      file=sys.stderr,
    )
    return language
  if code != language:
    print(
      f"transformer-jax: language '{language}': Moses' rules for '{code}' are used",
      file=sys.stderr,
    )
  return code


def penn_tokenize(text: str) -> str:
  """Returns a sentence as space-separated words, split and written as in the Penn Treebank.

  Typographic quotes become `` and ''.

  Example:
    penn_tokenize("can't (yet) 1/2.")  # "ca n't -LRB- yet -RRB- 1\\/2 ."
  """
  text = text.translate(_AS_IN_TREEBANK)
  try:
    text = " ".join(_penn_tokenizer().tokenize(text, convert_parentheses=True))
  except TimeoutError:
    pass  # NLTK allows a pattern five seconds; then only the spaces of a very long line split it
  return re.sub(r"(?<!\\)[/*]", r"\\\g<0>", text)


@functools.cache
def _penn_tokenizer() -> Any:
  try:
    from nltk.tokenize import TreebankWordTokenizer  # noqa: PLC0415 (only raw text needs it)
  except ImportError:
    raise DataError(
      "raw text", "needs the package nltk", "pip install nltk, or give --tokenized_input"
    ) from None
  return TreebankWordTokenizer()
