"""What is done to text before it is cut into sub-words, and how it is undone: Moses' scripts, through sacremoses; Penn words, through NLTK."""

import functools

from transformer_jax.errors import DataError


class Preprocessor:
  """A function text -> text for one language.

  Kind "moses" normalises punctuation and tokenises as the Moses scripts do, HTML escapes included (&apos;);
  "moses_lowercase" also lower-cases; "none" leaves text alone.
  """

  def __init__(self, kind, language):
    self.kind, self.language = kind, language

  def __call__(self, text):
    if self.kind == "none":
      return text
    normalizer, tokenizer, _ = _moses(self.language)
    if self.kind == "moses_lowercase":
      text = text.lower()
    return tokenizer.tokenize(normalizer.normalize(text), return_str=True)

  def undo(self, text):
    """Tokenised text as one writes it; lost case stays lost."""
    return text if self.kind == "none" else _moses(self.language)[2].detokenize(text.split(" "))


@functools.cache
def _moses(language):
  try:
    import sacremoses  # pylint: disable=import-outside-toplevel
  except ImportError:
    raise DataError("--preprocessing", "needs the package sacremoses", "pip install sacremoses") from None
  return (sacremoses.MosesPunctNormalizer(lang=language), sacremoses.MosesTokenizer(lang=language),
          sacremoses.MosesDetokenizer(lang=language))


def penn_tokenize(text):
  """A sentence as words between spaces, cut as the Penn Treebank does: "can't (yet)." -> "ca n't -LRB- yet -RRB- ."."""
  try:
    return " ".join(_penn().tokenize(text, convert_parentheses=True))
  except TimeoutError:  # NLTK gives a pattern five seconds; a line of millions of characters is cut at its spaces alone
    return text


@functools.cache
def _penn():
  try:
    from nltk.tokenize import TreebankWordTokenizer  # pylint: disable=import-outside-toplevel
  except ImportError:
    raise DataError("raw text", "needs the package nltk", "pip install nltk, or give --tokenized_input") from None
  return TreebankWordTokenizer()
