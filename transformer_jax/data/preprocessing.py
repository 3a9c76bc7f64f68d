"""What is done to text before it is cut into sub-words, and how it is undone: Moses' scripts, through sacremoses; Penn words, through NLTK."""

import functools
import re
import sys
import unicodedata

from transformer_jax.errors import DataError


class Preprocessor:
  """A function text -> text for one language.

  Kind "moses" normalises punctuation and tokenises as the Moses scripts do, HTML escapes included (&apos;);
  "moses_lowercase" also lower-cases; "none" leaves text alone. A letter and its accent become one
  character first, or Moses would part them.
  """

  def __init__(self, kind, language):
    self.kind, self.language = kind, language

  def __call__(self, text):
    if self.kind == "none":
      return text
    normalizer, tokenizer, _ = _moses(self.language)
    text = _COMPOSABLE.sub(lambda match: unicodedata.normalize("NFC", match[0]), text)
    if self.kind == "moses_lowercase":
      text = text.lower()
    return tokenizer.tokenize(normalizer.normalize(text), return_str=True)

  def undo(self, text):
    """Tokenised text as one writes it; lost case stays lost."""
    return text if self.kind == "none" else _moses(self.language)[2].detokenize(text.split(" "))


_COMPOSABLE = re.compile("[^\u0300-\u036f][\u0300-\u036f]+")


@functools.cache
def _moses(language):
  try:
    import sacremoses
  except ImportError:
    raise DataError(
      "--preprocessing", "needs the package sacremoses", "pip install sacremoses"
    ) from None
  code = _moses_code(language, sacremoses.corpus.NonbreakingPrefixes().available_langs)
  return (
    sacremoses.MosesPunctNormalizer(lang=code),
    sacremoses.MosesTokenizer(lang=code),
    sacremoses.MosesDetokenizer(lang=code),
  )


def _moses_code(language, prefixes):
  """The code that Moses has rules for, or the language as it is; says which, unless they are one.

  `prefixes` is a dict of the languages whose abbreviations are known, by name or code, to codes.
  """
  codes = {**prefixes, "ja": "ja", "ko": "ko"}  # these have rules for their letters alone
  code = codes.get(re.split("[-_]", language)[0].lower())
  if code is None:
    print(
      f"transformer-jax: language '{language}' is not one that Moses has rules for: "
      "abbreviations are those of English",
      file=sys.stderr,
    )
    return language
  if code != language:
    print(
      f"transformer-jax: language '{language}': Moses' rules for '{code}' are taken",
      file=sys.stderr,
    )
  return code


# Typographic marks as a treebank writes them. NLTK makes a closing quote of the straight one.
_WIDE_MARKS = {
  chr(code + 0xFEE0): chr(code) for code in range(0x21, 0x7F) if not chr(code).isalnum()
}
_AS_TREEBANKS = str.maketrans(
  {
    **dict.fromkeys("“„‟«", "``"),
    **dict.fromkeys("”»", '"'),
    **dict.fromkeys("‘’‚‛ʼ", "'"),
    **dict.fromkeys("‒–—―", "--"),
    "…": "...",
    **_WIDE_MARKS,
  }
)


def penn_tokenize(text):
  """A sentence as words between spaces, cut and written as in the Penn Treebank.

  "can't (yet) 1/2." -> "ca n't -LRB- yet -RRB- 1\\/2 ."; typographic quotes are `` and ''.
  """
  text = text.translate(_AS_TREEBANKS)
  try:
    text = " ".join(_penn().tokenize(text, convert_parentheses=True))
  except TimeoutError:  # NLTK gives a pattern five seconds; a line of millions of characters is cut at its spaces alone
    pass
  return re.sub(r"(?<!\\)[/*]", r"\\\g<0>", text)


@functools.cache
def _penn():
  try:
    from nltk.tokenize import TreebankWordTokenizer
  except ImportError:
    raise DataError(
      "raw text", "needs the package nltk", "pip install nltk, or give --tokenized_input"
    ) from None
  return TreebankWordTokenizer()


def build_preprocessors(data):
  """The Preprocessors of source and target."""
  return tuple(
    Preprocessor(data.preprocessing, language)
    for language in (data.source_language, data.target_language)
  )
