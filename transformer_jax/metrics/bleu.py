"""BLEU three ways: sacreBLEU, the paper's tokenized BLEU, and multi-bleu on text that is tokenized.

The three are not comparable, so every result has its `name` and `signature`: `sacrebleu` is the one
to report today, `paper_bleu` is the convention of Table 2, `tokenized_bleu` is for benchmarks that
publish tokenized references. All take one reference per sentence. None changes case unless asked.
"""

import functools
import importlib.metadata
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import sacrebleu
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from transformer_jax.errors import ConfigError, DataError

# In-word hyphens become tokens, as in the data of GNMT and ConvS2S, which Table 2 compares with.
_HYPHEN = re.compile(r"(\S)-(\S)")
_SPLIT_HYPHEN = r"\1 ##AT##-##AT## \2"

# sacreBLEU's tokenizers, best first, for languages that are written without spaces between words,
# and for Korean, whose words carry their particles. Those of MeCab need packages of their own.
_TOKENIZERS = {
  "zh": ("zh",),
  "yue": ("zh",),
  "ja": ("ja-mecab", "char"),
  "ko": ("ko-mecab", "char"),
  **dict.fromkeys(("th", "lo", "km", "my", "bo", "dz"), ("char",)),
}
_SHORT_CODES = dict(
  zho="zh",
  chi="zh",
  cmn="zh",
  jpn="ja",
  kor="ko",
  tha="th",
  lao="lo",
  khm="km",
  mya="my",
  bur="my",
  bod="bo",
  tib="bo",
  dzo="dz",
)
_BY_WORDS = ("13a", "intl", "none")  # tokenizers that do not split such text
_UNSPACED = re.compile(
  "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
  "\uf900-\ufaff\U00020000-\U0003ffff]"
)

_TEST_SETS = {
  2737: "newstest2014 filtered (sacreBLEU wmt14)",
  3000: "newstest2013 (Table 3's development set)",
  3003: "newstest2014 full (sacreBLEU wmt14/full)",
}


def corpus_bleu(
  hypotheses: Iterable[str],
  references: Iterable[str],
  tokenize: str = "13a",
  lowercase: bool = False,
) -> dict[str, Any]:
  """Returns sacreBLEU and chrF of detokenized text, each with its signature.

  Args:
    hypotheses: one translation per sentence.
    references: one reference per sentence.
    tokenize: sacreBLEU's tokenizer: 13a, or the result of `tokenizer_of` for the language.
    lowercase: lower-case both sides first; the signature then has case:lc.

  Returns:
    A dict: name, score (0 to 100), signature, precisions (percent, of 1- to 4-grams),
    brevity_penalty, hypothesis_length and reference_length (tokens), num_sentences, chrf,
    chrf_signature; and "warning" if the tokenizer does not cut the references' sentences.

  Example:
    result = corpus_bleu(["The cat sat on the mat."], ["The cat sat on a mat."])
    result["score"]  # 48.89...
    result["signature"]  # "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:..."

  Raises:
    ConfigError: the tokenizer is unknown or not installed.
    DataError: there are no sentences, or the two sides have different numbers of them.
  """
  hypotheses, references = _paired(hypotheses, references)
  metric = _metric(tokenize, lowercase=lowercase)  # no `force`, so it warns of tokenized text
  result = _result("sacrebleu", metric, hypotheses, references, tokenize)
  result["signature"] = str(metric.get_signature())
  chrf = CHRF(lowercase=lowercase)
  result["chrf"] = chrf.corpus_score(hypotheses, [references]).score
  result["chrf_signature"] = str(chrf.get_signature())
  return result


def tokenizer_of(language: str) -> str:
  """Returns the sacreBLEU tokenizer to report for a language: 13a, or one for text without spaces.

  `language` is a code of two or three letters, with or without script and region: zh, zh-Hant, tha.
  """
  for name in _TOKENIZERS.get(short_code(language), ()):
    if _why_not_tokenizer(name) is None:
      return name
  return "13a"


def has_spaces(language: str) -> bool:
  """Returns True if a language has spaces between words, which tokenizers such as Moses' need."""
  code = short_code(language)
  return code not in _TOKENIZERS or code == "ko"


def check_tokenizer(name: str) -> None:
  """Refuses a sacreBLEU tokenizer that cannot be used here.

  Raises:
    ConfigError: it is unknown, or a package or model that it needs is missing.
  """
  if name not in BLEU.TOKENIZERS:
    raise ConfigError(
      f"--tokenize={name}",
      "is not a tokenizer of sacreBLEU that is installed here",
      f"choose one of {', '.join(_usable_tokenizers())}",
    )
  if reason := _why_not_tokenizer(name):
    remedy = "or choose another"
    if name.endswith("-mecab"):
      remedy = f"pip install 'sacrebleu[{name[:2]}]'"
    raise ConfigError(f"--tokenize={name}", reason, remedy)


def _usable_tokenizers() -> list[str]:
  """Returns the names of sacreBLEU's tokenizers without those of a MeCab that is not installed."""
  names = []
  for name in BLEU.TOKENIZERS:
    if not name.endswith("-mecab") or _why_not_tokenizer(name) is None:
      names.append(name)
  return names


def paper_bleu(
  hypotheses: Iterable[str], references: Iterable[str], language: str
) -> dict[str, Any]:
  """Returns the paper's BLEU (Section 6.1, Table 2).

  That is multi-bleu on Moses tokens with split hyphens, case-sensitive. Both sides go through the
  steps that the authors' `get_ende_bleu.sh` applies to the translations: Unicode punctuation to
  ASCII, the Moses tokenizer of `language`, X-Y to `X ##AT##-##AT## Y`. The script's reference was
  the published, tokenized one; here it is detokenized text, so its quotes become ASCII too.
  Splitting hyphens raises the score by 0.7 to 1.0 on newstest2014. The result has the keys of
  `corpus_bleu` without chrF.

  Raises:
    DataError: sacremoses is not installed, the language has no spaces between words, there are no
      sentences, or the two sides have different numbers of them.
  """
  hypotheses, references = _paired(hypotheses, references)
  if not has_spaces(language):
    raise DataError(
      "paper_bleu",
      f"means nothing for '{language}': Moses' tokenizer needs spaces",
      "report sacreBLEU and chrF",
    )
  prepare = _paper_preparation(language)
  hypotheses = [prepare(text) for text in hypotheses]
  references = [prepare(text) for text in references]
  result = _multi_bleu("paper_bleu", hypotheses, references, lowercase=False)
  result["signature"] = (
    f"nrefs:1|case:mixed|punct:ascii|tok:moses-{language}|hyphens:split|smooth:none|"
    f"sacremoses:{importlib.metadata.version('sacremoses')}|version:{sacrebleu.__version__}"
  )
  return result


def paper_bleu_or_why_not(
  hypotheses: Iterable[str], references: Iterable[str], language: str
) -> dict[str, Any]:
  """Returns `paper_bleu`, or dict(error=...) if it cannot be computed, so other scores remain."""
  try:
    return paper_bleu(hypotheses, references, language)
  except DataError as error:
    return dict(error=str(error))


def tokenized_bleu(
  hypotheses: Iterable[str], references: Iterable[str], lowercase: bool = False
) -> dict[str, Any]:
  """Returns multi-bleu of text whose tokens are separated by spaces, without any preparation.

  With `lowercase` both sides are lower-cased (multi-bleu's -lc, but every letter, not only ASCII).
  The result has the keys of `corpus_bleu` without chrF.

  Raises:
    DataError: there are no sentences, or the two sides have different numbers of them.
  """
  hypotheses, references = _paired(hypotheses, references)
  result = _multi_bleu("tokenized_bleu", hypotheses, references, lowercase)
  case = "lc" if lowercase else "mixed"
  result["signature"] = (
    f"nrefs:1|case:{case}|tok:as-given|smooth:none|version:{sacrebleu.__version__}"
  )
  return result


def sentence_statistics(
  hypotheses: Iterable[str], references: Iterable[str], tokenize: str = "13a"
) -> np.ndarray:
  """Returns the counts that corpus BLEU is computed from, int64 [sentences, 10].

  The columns are the matches of 1- to 4-grams, the number of 1- to 4-grams in the hypothesis, and
  the tokens of the hypothesis and of the reference. Sums over any sentences give the corpus BLEU of
  these sentences (`bleu_of_statistics`), so bootstraps need no text.
  """
  hypotheses, references = _paired(hypotheses, references)
  metric = _metric(tokenize, force=True, effective_order=True)
  rows = []
  for hypothesis, reference in zip(hypotheses, references, strict=True):
    score = metric.sentence_score(hypothesis, [reference])
    rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])
  return np.array(rows, dtype=np.int64)


def bleu_of_statistics(sums: np.ndarray, smooth: bool = True) -> np.ndarray:
  """Returns the BLEU, 0 to 100, of sums of `sentence_statistics`: [..., 10] gives [...].

  With `smooth`, an order without a match counts as 1/2, 1/4, ... of a match, as in sacreBLEU.
  Without it, such an order makes the score 0.
  """
  sums = np.asarray(sums, np.float64)
  matches = sums[..., :4]
  totals = sums[..., 4:8]
  hypothesis_length = sums[..., 8]
  reference_length = sums[..., 9]
  has_none = matches == 0
  if smooth:
    matches = np.where(has_none, 0.5 ** np.cumsum(has_none, axis=-1), matches)
  with np.errstate(divide="ignore", invalid="ignore"):
    log_precision = np.mean(np.log(matches / totals), axis=-1)
    log_brevity = np.minimum(0.0, 1 - reference_length / hypothesis_length)
    score = 100 * np.exp(log_precision + log_brevity)
  has_four_grams = totals[..., 3] > 0
  has_match = np.any(~has_none, axis=-1)
  return np.where(has_four_grams & has_match & np.isfinite(score), score, 0.0)


def split_hyphens(tokenized_text: str) -> str:
  """Returns text with in-word hyphens split as the authors' get_ende_bleu.sh does.

  `rich-text` becomes `rich ##AT##-##AT## text`.
  """
  return _HYPHEN.sub(_SPLIT_HYPHEN, tokenized_text)


def test_set_note(num_sentences: int) -> str:
  """Returns the number of sentences and the WMT test set of that size; newstest2014 has two."""
  known = _TEST_SETS.get(num_sentences)
  if known is None:
    return f"{num_sentences} sentences"
  return f"{num_sentences} sentences, the size of {known}"


# pytest collects module-level names that begin with `test_`.
test_set_note.__test__ = False  # pyright: ignore[reportFunctionMemberAccess]


def short_code(language: str) -> str:
  """Returns "zh" for "zh", "zho", "ZH-Hant" and "zh_CN"."""
  code = re.split("[-_]", language.strip().lower())[0]
  return _SHORT_CODES.get(code, code)


def _metric(tokenize: str, **settings: Any) -> BLEU:
  check_tokenizer(tokenize)
  return BLEU(tokenize=tokenize, **settings)


@functools.cache
def _why_not_tokenizer(name: str) -> str | None:
  """Returns why one of sacreBLEU's tokenizers cannot be used here; None if it can."""
  try:
    BLEU(tokenize=name)
  except (ImportError, RuntimeError):
    return "needs packages that are not installed"
  except OSError as error:  # some have a model that is downloaded once
    return f"its model is not here, and cannot be downloaded: {error}"
  return None


def _why_meaningless(references: list[str], tokenize: str) -> str:
  """Returns a warning if BLEU by words is computed on text without spaces, or ""."""
  words = " ".join(references).split()
  num_characters = len("".join(words))
  num_unspaced = len(_UNSPACED.findall("".join(words)))
  has_words = len(words) >= 2 * len(references) and num_unspaced <= 8 * len(words)
  if tokenize not in _BY_WORDS or has_words or 2 * num_unspaced <= num_characters:
    return ""
  return (
    "the text has no spaces between words, so BLEU by words is meaningless: set its language, "
    "or a tokenizer such as zh or char"
  )


def _paired(hypotheses: Iterable[str], references: Iterable[str]) -> tuple[list[str], list[str]]:
  """Returns both sides as lists of equal, non-zero length."""
  hypotheses = list(hypotheses)
  references = list(references)
  if len(hypotheses) != len(references):
    raise DataError(
      "BLEU",
      f"{len(hypotheses)} hypotheses but {len(references)} references",
      "give one line for each sentence on both sides",
    )
  if not hypotheses:
    raise DataError("BLEU", "there are no sentences to score", "give at least one line")
  return hypotheses, references


def _multi_bleu(
  name: str, hypotheses: list[str], references: list[str], lowercase: bool
) -> dict[str, Any]:
  """Returns multi-bleu.perl's figures: clipped precisions without smoothing.

  Without a 4-gram match the score is 0.
  """
  metric = BLEU(tokenize="none", smooth_method="none", lowercase=lowercase, force=True)
  return _result(name, metric, hypotheses, references, "none")


def _result(
  name: str, metric: BLEU, hypotheses: list[str], references: list[str], tokenize: str
) -> dict[str, Any]:
  """Returns a sacreBLEU metric's figures as plain numbers. The caller adds the signature."""
  bleu = metric.corpus_score(hypotheses, [references])
  result = dict(
    name=name,
    score=bleu.score,
    signature="",
    precisions=list(bleu.precisions),
    brevity_penalty=bleu.bp,
    hypothesis_length=int(bleu.sys_len),
    reference_length=int(bleu.ref_len),
    num_sentences=len(hypotheses),
  )
  warning = _why_meaningless(references, tokenize)
  return dict(result, warning=warning) if warning else result


def _paper_preparation(language: str) -> Callable[[str], str]:
  """Returns the function text -> text that `paper_bleu` applies to both sides."""
  try:
    import sacremoses  # noqa: PLC0415  only this score needs it
  except ImportError as error:
    raise DataError(
      "paper_bleu", "the package sacremoses is not installed", "pip install sacremoses"
    ) from error
  normalizer = sacremoses.MosesPunctNormalizer(lang=language)
  tokenizer = sacremoses.MosesTokenizer(lang=language)

  def prepare(text: str) -> str:
    tokens = tokenizer.tokenize(normalizer.replace_unicode_punct(text), return_str=True)
    return split_hyphens(str(tokens))

  return prepare
