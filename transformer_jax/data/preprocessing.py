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
  except ImportError:
    raise DataError(
      "--preprocessing", "needs the package sacremoses", "pip install sacremoses"
    ) from None
  code = moses_code(language)
  if code is None:
    rules = "Moses has no rules for it: abbreviations are those of English"
  else:
    rules = f"Moses' rules for '{code}' are used"
  if code != language:
    print(f"transformer-jax: language '{language}': {rules}", file=sys.stderr)
  return _Moses(
    sacremoses.MosesPunctNormalizer(lang=code or language),
    sacremoses.MosesTokenizer(lang=code or language),
    sacremoses.MosesDetokenizer(lang=code or language),
  )


def moses_code(language: str) -> str | None:
  """Returns the code whose rules Moses applies to a language; None if it has no rules for it.

  Example:
    moses_code("de-AT")  # "de"
  """
  try:
    from sacremoses.corpus import NonbreakingPrefixes  # noqa: PLC0415 (only Moses needs it)
  except ImportError:
    return None  # whoever needs its rules says that they are missing
  # By name or code: languages whose abbreviations Moses knows, and two of which it knows letters.
  codes = {**NonbreakingPrefixes().available_langs, "ja": "ja", "ko": "ko"}
  return codes.get(re.split("[-_]", language)[0].lower())


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
