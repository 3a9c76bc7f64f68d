"""BLEU three ways: sacreBLEU, the paper's tokenised BLEU, and multi-bleu on text that is tokenised already.

The three are not comparable with one another, so every result carries its `name` and its `signature`:
`sacrebleu` is what to report today, `paper_bleu` is the convention of Table 2, `tokenized_bleu` is for benchmarks
that publish tokenised references. All take one reference per sentence. Nothing here normalises case unless asked.
"""

import functools
import importlib.metadata
import re

import numpy as np
import sacrebleu
from sacrebleu.metrics import BLEU, CHRF

from transformer_jax.errors import ConfigError, DataError

# In-word hyphens become tokens of their own, as in the data of GNMT and ConvS2S, which Table 2 compares with.
_HYPHEN = re.compile(r"(\S)-(\S)")
_SPLIT_HYPHEN = r"\1 ##AT##-##AT## \2"

# Of languages that are written without spaces between words, and of Korean, whose words carry their
# particles: sacreBLEU's tokenizers, best first. Those of MeCab need packages of their own.
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
_BY_WORDS = ("13a", "intl", "none")  # tokenizers that leave such text whole
_UNSPACED = re.compile(
  "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
  "\uf900-\ufaff\U00020000-\U0003ffff]"
)

_TEST_SETS = {
  2737: "newstest2014 filtered (sacreBLEU wmt14)",
  3000: "newstest2013 (Table 3's development set)",
  3003: "newstest2014 full (sacreBLEU wmt14/full)",
}


def corpus_bleu(hypotheses, references, tokenize="13a", lowercase=False):
  """Returns sacreBLEU and chrF of detokenised text, each with its signature.

  Args:
    hypotheses: sequence of str, one translation per sentence.
    references: sequence of str, as many.
    tokenize: sacreBLEU's tokeniser: 13a, or what `tokenizer_of` says of the language.
    lowercase: whether both sides are lower-cased first; the signature then says case:lc.

  Returns:
    A dict: name, score (0 to 100), signature, precisions (per cent, of 1- to 4-grams), brevity_penalty,
    hypothesis_length and reference_length (tokens), num_sentences, chrf, chrf_signature; and "warning", where the tokeniser
    leaves the references' sentences whole.

  Raises:
    ConfigError: a tokeniser that is not known or not installed.
    DataError: no sentences, or not as many hypotheses as references.
  """
  hypotheses, references = _paired(hypotheses, references)
  metric = _metric(
    tokenize, lowercase=lowercase
  )  # not `force`: it warns of text that looks tokenised
  result = _result("sacrebleu", metric, hypotheses, references, tokenize)
  result["signature"] = str(metric.get_signature())
  chrf = CHRF(lowercase=lowercase)
  result["chrf"] = chrf.corpus_score(hypotheses, [references]).score
  result["chrf_signature"] = str(chrf.get_signature())
  return result


def tokenizer_of(language):
  """The sacreBLEU tokeniser to report for a language: 13a, or one for text without spaces.

  `language` is a code of two or three letters, alone or with a script or region: zh, zh-Hant, tha.
  """
  for name in _TOKENIZERS.get(_short_code(language), ()):
    if _why_not_tokenizer(name) is None:
      return name
  return "13a"


def has_spaces(language):
  """Whether a language has spaces between words, so that tokenisers such as Moses' find them."""
  return _short_code(language) not in _TOKENIZERS or _short_code(language) == "ko"


def check_tokenizer(name):
  """Refuses a sacreBLEU tokeniser that cannot be used here.

  Raises:
    ConfigError: it is not known, or something it needs is missing.
  """
  if name not in BLEU.TOKENIZERS:
    known = [
      other
      for other in BLEU.TOKENIZERS
      if not other.endswith("-mecab") or _why_not_tokenizer(other) is None
    ]
    raise ConfigError(
      f"--tokenize={name}",
      "is no tokenizer of sacreBLEU that is installed here",
      f"choose one of {', '.join(known)}",
    )
  if reason := _why_not_tokenizer(name):
    is_mecab = name.endswith("-mecab")
    remedy = f"pip install 'sacrebleu[{name[:2]}]'" if is_mecab else "or choose another"
    raise ConfigError(f"--tokenize={name}", reason, remedy)


def paper_bleu(hypotheses, references, language):
  """Returns the paper's BLEU: Moses-tokenised, hyphen-split, case-sensitive multi-bleu (Section 6.1, Table 2).

  Both sides go through what the authors' `get_ende_bleu.sh` does to the translations: Unicode punctuation to
  ASCII, the Moses tokeniser of `language`, X-Y to `X ##AT##-##AT## Y`. The script took the reference as it was
  published, tokenised; here it is detokenised text, so that its quotes become ASCII too. Splitting hyphens raises
  the score by 0.7 to 1.0 on newstest2014. The result has the keys of `corpus_bleu` without chrF.

  Raises:
    DataError: sacremoses is not installed, the language has no spaces between words, no sentences, or not as many hypotheses as
      references.
  """
  hypotheses, references = _paired(hypotheses, references)
  if not has_spaces(language):
    raise DataError(
      "paper_bleu",
      f"means nothing for '{language}': Moses' tokenizer needs spaces",
      "report sacreBLEU and chrF",
    )
  prepare = _paper_preparation(language)
  result = _multi_bleu(
    "paper_bleu", map(prepare, hypotheses), map(prepare, references), lowercase=False
  )
  result["signature"] = (
    f"nrefs:1|case:mixed|punct:ascii|tok:moses-{language}|hyphens:split|smooth:none|"
    f"sacremoses:{importlib.metadata.version('sacremoses')}|version:{sacrebleu.__version__}"
  )
  return result


def paper_bleu_or_why_not(hypotheses, references, language):
  """Returns `paper_bleu`, or its error as a dict: what it lacks must not cost the other scores."""
  try:
    return paper_bleu(hypotheses, references, language)
  except DataError as error:
    return dict(error=str(error))


def tokenized_bleu(hypotheses, references, lowercase=False):
  """Returns multi-bleu of text whose tokens are separated by spaces already; nothing else is done to it.

  With `lowercase` both sides are lower-cased (multi-bleu's -lc, but of every letter, not of ASCII alone).
  The result has the keys of `corpus_bleu` without chrF.

  Raises:
    DataError: no sentences, or not as many hypotheses as references.
  """
  hypotheses, references = _paired(hypotheses, references)
  result = _multi_bleu("tokenized_bleu", hypotheses, references, lowercase)
  result["signature"] = (
    f"nrefs:1|case:{'lc' if lowercase else 'mixed'}|tok:as-given|smooth:none|"
    f"version:{sacrebleu.__version__}"
  )
  return result


def sentence_bleu(hypothesis, reference, tokenize="13a"):
  """Returns the BLEU of one sentence, 0 to 100, with sacreBLEU's smoothing and effective order.

  It ranks sentences for inspection; the mean over a corpus is not the corpus BLEU.
  """
  metric = _metric(tokenize, force=True, effective_order=True)
  return metric.sentence_score(hypothesis, [reference]).score


def sentence_statistics(hypotheses, references, tokenize="13a"):
  """Returns what corpus BLEU is made of, sentence by sentence: int array [sentences, 10].

  The columns are the matches of 1- to 4-grams, their totals in the hypothesis, the tokens of the hypothesis and of the
  reference. Sums over any sentences are those sentences' corpus BLEU (`bleu_of_statistics`), so bootstraps need no text.
  """
  hypotheses, references = _paired(hypotheses, references)
  metric = _metric(tokenize, force=True, effective_order=True)
  scores = [
    metric.sentence_score(hypothesis, [reference])
    for hypothesis, reference in zip(hypotheses, references, strict=True)
  ]
  return np.array(
    [[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in scores],
    dtype=np.int64,
  )


def bleu_of_statistics(sums, smooth=True):
  """Returns the BLEU, 0 to 100, of sums of `sentence_statistics`: an array [..., 10] gives [...].

  With `smooth`, an order without a match counts as 1/2, 1/4, ... of a match, as sacreBLEU has it; else it makes the score 0.
  """
  sums = np.asarray(sums, np.float64)
  matches, totals, hypothesis, reference = sums[..., :4], sums[..., 4:8], sums[..., 8], sums[..., 9]
  none = matches == 0
  halves = np.where(none, 0.5 ** np.cumsum(none, axis=-1), matches) if smooth else matches
  with np.errstate(divide="ignore", invalid="ignore"):
    log_precision = np.mean(np.log(halves / totals), axis=-1)
    log_brevity = np.minimum(0.0, 1 - reference / hypothesis)
    score = 100 * np.exp(log_precision + log_brevity)
  return np.where((totals[..., 3] > 0) & np.any(~none, axis=-1) & np.isfinite(score), score, 0.0)


def split_hyphens(tokenized_text):
  """Splits in-word hyphens: `rich-text` becomes `rich ##AT##-##AT## text` (the authors' get_ende_bleu.sh)."""
  return _HYPHEN.sub(_SPLIT_HYPHEN, tokenized_text)


def test_set_note(num_sentences):
  """Returns the sentence count, with the WMT test set of that size: newstest2014 circulates in two sizes."""
  known = _TEST_SETS.get(num_sentences)
  return (
    f"{num_sentences} sentences, the size of {known}" if known else f"{num_sentences} sentences"
  )


# pytest collects module-level names that begin with `test_`.
test_set_note.__test__ = False


def _short_code(language) -> str:
  """ "zh" of "zh", "zho", "ZH-Hant" and "zh_CN"."""
  code = re.split("[-_]", language.strip().lower())[0]
  return _SHORT_CODES.get(code, code)


def _metric(tokenize, **settings):
  check_tokenizer(tokenize)
  return BLEU(tokenize=tokenize, **settings)


@functools.cache
def _why_not_tokenizer(name) -> str | None:
  """Why one of sacreBLEU's tokenisers cannot be used here; None if it can."""
  try:
    BLEU(tokenize=name)
  except (ImportError, RuntimeError):
    return "needs packages that are not installed"
  except OSError as error:  # some have a model that is downloaded once
    return f"its model is not here, and cannot be downloaded: {error}"
  return None


def _why_meaningless(references, tokenize) -> str:
  """What to say of a score by words of text without spaces; an empty string where all is well."""
  words = " ".join(references).split()
  letters = len(_UNSPACED.findall("".join(words)))
  has_words = len(words) >= 2 * len(references) and letters <= 8 * len(words)
  if tokenize not in _BY_WORDS or has_words or 2 * letters <= len("".join(words)):
    return ""
  return (
    "the text has no spaces between words, and BLEU by words says nothing of it: set its language, "
    "or a tokenizer such as zh or char"
  )


def _paired(hypotheses, references):
  """Both sides as lists of equal, non-zero length; zip would cut the longer one in silence."""
  hypotheses, references = list(hypotheses), list(references)
  if len(hypotheses) != len(references):
    raise DataError(
      "BLEU",
      f"{len(hypotheses)} hypotheses beside {len(references)} references",
      "give one line for each sentence on both sides",
    )
  if not hypotheses:
    raise DataError("BLEU", "there are no sentences to score", "give at least one line")
  return hypotheses, references


def _multi_bleu(name, hypotheses, references, lowercase):
  """multi-bleu.perl's formula: clipped 4-gram precisions without smoothing, so that no 4-gram match scores 0."""
  metric = BLEU(tokenize="none", smooth_method="none", lowercase=lowercase, force=True)
  return _result(name, metric, list(hypotheses), list(references), "none")


def _result(name, metric, hypotheses, references, tokenize):
  """The figures of a sacreBLEU metric as plain numbers; the signature is the caller's to add."""
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


def _paper_preparation(language):
  """text -> text as `paper_bleu` scores it."""
  try:
    import sacremoses  # only this score needs it
  except ImportError as error:
    raise DataError(
      "paper_bleu", "the package sacremoses is not installed", "pip install sacremoses"
    ) from error
  normalizer, tokenizer = (
    sacremoses.MosesPunctNormalizer(lang=language),
    sacremoses.MosesTokenizer(lang=language),
  )

  def prepare(text):
    text = normalizer.replace_unicode_punct(text)
    return split_hyphens(tokenizer.tokenize(text, return_str=True))

  return prepare
