"""BLEU against sacreBLEU's published figures, multi-bleu's formula and multi-bleu.perl's output."""

import collections
import functools
import gzip
import json
import math
import sys

import pytest
from sacrebleu.metrics import BLEU

from transformer_jax.errors import ConfigError, DataError
from transformer_jax.metrics import bleu

SYSTEMS = ["C-3MA.4959", "LIUM-NMT.4900", "online-B.0", "online-G.0"]
TOKENIZERS = {
  "13a": ("13a", False),
  "13a_lc": ("13a", True),
  "intl": ("intl", False),
  "none": ("none", False),
  "char": ("char", False),
}


@functools.cache
def read(path):
  with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
    return [line.rstrip("\n") for line in file]


@pytest.fixture
def wmt17(shared_data):
  folder = shared_data / "bleu_reference"
  texts = {name: read(folder / f"newstest2017.{name}.de.gz") for name in SYSTEMS}
  expected = json.loads((folder / "expected_scores.json").read_text())["scores"]
  return texts, read(folder / "newstest2017.ref.de.gz"), expected


# Always run: one system with every tokenizer but `none`, which multi-bleu's tests have. The others
# are the same code over other text.
FIGURES = [
  pytest.param(
    system,
    name,
    marks=[] if system == "LIUM-NMT.4900" and name != "none" else pytest.mark.slow,
  )
  for system in SYSTEMS
  for name in TOKENIZERS
]


@pytest.mark.parametrize("system, name", FIGURES)
def test_every_published_figure_of_sacrebleu(wmt17, system, name):
  texts, references, expected = wmt17
  (tokenize, lowercase), figures = TOKENIZERS[name], expected[system][name]
  result = bleu.corpus_bleu(texts[system], references, tokenize, lowercase)
  assert result["name"] == "sacrebleu" and result["num_sentences"] == 3004
  assert round(result["score"], 4) == figures["bleu"]
  assert [round(p, 4) for p in result["precisions"]] == figures["precisions"]
  assert round(result["brevity_penalty"], 6) == figures["bp"]
  assert (result["hypothesis_length"], result["reference_length"]) == (
    figures["sys_len"],
    figures["ref_len"],
  )
  assert result["signature"].split("|version")[0] == figures["signature"].split("|version")[0]
  if not lowercase:
    assert round(result["chrf"], 4) == expected[system]["chrF2"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_published_sentence_scores(wmt17, system):
  texts, references, expected = wmt17
  statistics = bleu.sentence_statistics(texts[system][:10], references[:10])
  scores = bleu.bleu_of_statistics(statistics)
  assert [round(score, 4) for score in scores] == expected[system]["sentence_bleu_13a_first10"]


def multi_bleu_formula(hypotheses, references):
  """Returns BLEU by multi-bleu.perl's arithmetic, written out."""
  correct = [0] * 4  # of 1- to 4-grams
  total = [0] * 4
  hypothesis_length = 0
  reference_length = 0
  for hypothesis, reference in zip(hypotheses, references, strict=True):
    hypothesis_tokens = hypothesis.split()
    reference_tokens = reference.split()
    hypothesis_length += len(hypothesis_tokens)
    reference_length += len(reference_tokens)
    for n in range(1, 5):
      hypothesis_grams = count_grams(hypothesis_tokens, n)
      reference_grams = count_grams(reference_tokens, n)
      correct[n - 1] += (hypothesis_grams & reference_grams).total()
      total[n - 1] += hypothesis_grams.total()
  if 0 in correct:
    return 0.0
  brevity = min(1.0, math.exp(1 - reference_length / hypothesis_length))
  log_precisions = [math.log(c / t) for c, t in zip(correct, total, strict=True)]
  return 100 * brevity * math.exp(sum(log_precisions) / 4)


def count_grams(tokens, n):
  return collections.Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def test_tokenized_bleu_is_multi_bleu(wmt17):
  texts, references, _ = wmt17
  for system in SYSTEMS[:2]:
    score = bleu.tokenized_bleu(texts[system], references)["score"]
    expected = multi_bleu_formula(texts[system], references)
    assert score == pytest.approx(expected, rel=1e-12)


def test_no_smoothing_and_no_four_gram_match_is_zero():
  assert bleu.tokenized_bleu(["a b c d"], ["a b c e"])["score"] == 0
  assert bleu.corpus_bleu(["a b c d"], ["a b c e"])["score"] > 0


def test_brevity_penalty_known_answer():
  result = bleu.tokenized_bleu(["a b c d"], ["a b c d e"])
  assert result["score"] == pytest.approx(100 * math.exp(1 - 5 / 4))
  assert (result["hypothesis_length"], result["reference_length"]) == (4, 5)


def test_lowercase_option():
  assert bleu.tokenized_bleu(["Ä B c d"], ["ä b c d"])["score"] < 100
  lowercase = bleu.tokenized_bleu(["Ä B c d"], ["ä b c d"], lowercase=True)
  assert lowercase["score"] == pytest.approx(100)


def test_hyphens_split_as_the_perl_substitution_does():
  assert bleu.split_hyphens("rich-text format") == "rich ##AT##-##AT## text format"
  assert bleu.split_hyphens("Aix-en-Provence") == "Aix ##AT##-##AT## en ##AT##-##AT## Provence"
  # The first match consumes a one-letter middle part, so the second hyphen stays.
  assert bleu.split_hyphens("a-b-c - d") == "a ##AT##-##AT## b-c - d"


def test_paper_bleu_counts_compound_parts():
  result = bleu.paper_bleu(
    ["Das ist ein E-Mail-Test, heute."], ["Das ist ein E-Mail-Text, heute."], "de"
  )
  # Das ist ein E ##AT##-##AT## Mail ##AT##-##AT## Test , heute .
  assert result["hypothesis_length"] == 11
  assert result["precisions"][0] == pytest.approx(100 * 10 / 11)
  assert result["name"] == "paper_bleu"
  assert "moses-de" in result["signature"]


def test_paper_bleu_makes_unicode_punctuation_ascii():
  result = bleu.paper_bleu(["Er sagte „ja“ … heute’s"], ["Er sagte „ja\" ... heute's"], "de")
  assert result["score"] == pytest.approx(100)


def test_paper_bleu_of_wmt17(wmt17):
  """multi-bleu.perl printed these figures for the same text after sacremoses and hyphen splits."""
  texts, references, _ = wmt17
  result = bleu.paper_bleu(texts["online-B.0"], references, "de")
  assert f"{result['score']:.2f}" == "26.70"
  assert "/".join(f"{p:.1f}" for p in result["precisions"]) == "58.7/32.5/20.2/13.2"
  assert (result["hypothesis_length"], result["reference_length"]) == (64236, 62141)


def test_missing_sacremoses_is_an_expected_error(monkeypatch):
  monkeypatch.setitem(sys.modules, "sacremoses", None)
  with pytest.raises(DataError, match="sacremoses"):
    bleu.paper_bleu(["a"], ["a"], "de")
  assert bleu.corpus_bleu(["a b c d"], ["a b c d"])["score"] == pytest.approx(100)


@pytest.mark.parametrize("score", [bleu.corpus_bleu, bleu.tokenized_bleu])
def test_lines_must_pair_up(score):
  with pytest.raises(DataError, match="2 hypotheses but 1"):
    score(["a", "b"], ["a"])
  with pytest.raises(DataError, match="no sentences"):
    score([], [])


def test_set_sizes_are_named():
  assert "filtered" in bleu.test_set_note(2737)
  assert "full" in bleu.test_set_note(3003)
  assert bleu.test_set_note(17) == "17 sentences"


@pytest.mark.parametrize("tokenize", ["13a", "none"])
def test_sums_of_sentence_statistics_are_the_corpus(tokenize):
  hypotheses = ["the cat sat on the mat .", "a", "quite another thing altogether, I say", "x y"]
  references = ["the cat sat on a mat .", "a b", "quite another thing, I said", "y x z"]
  statistics = bleu.sentence_statistics(hypotheses, references, tokenize)
  for chosen in ([0, 1, 2, 3], [0, 0, 2], [1], [3, 3], [1, 2], [2]):
    sums = statistics[chosen].sum(0)
    for is_smoothed, method in ((True, "exp"), (False, "none")):
      metric = BLEU(tokenize=tokenize, smooth_method=method, force=True)
      corpus = metric.corpus_score(
        [hypotheses[i] for i in chosen], [[references[i] for i in chosen]]
      )
      score = bleu.bleu_of_statistics(sums, smooth=is_smoothed)
      assert score == pytest.approx(corpus.score, abs=1e-9)


JAPANESE = ["水の門と山。", "犬が川を見る。", "町の道に車があります。"]


@pytest.mark.parametrize(
  "language",
  ["ja", "ja-JP", "ja_XX", "JPN", "zh", "zh-Hant", "cmn", "th", "lo", "km", "mya", "yue"],
)
def test_text_without_spaces_has_a_tokenizer_by_its_language(language):
  tokenize = bleu.tokenizer_of(language)
  assert tokenize in ("zh", "char", "ja-mecab")
  result = bleu.corpus_bleu(JAPANESE, JAPANESE, tokenize)
  assert result["score"] == pytest.approx(100)
  assert "warning" not in result
  assert f"|tok:{tokenize}" in result["signature"]
  assert not bleu.has_spaces(language)
  with pytest.raises(DataError, match="means nothing for"):
    bleu.paper_bleu(JAPANESE, JAPANESE, language)


@pytest.mark.parametrize("language", ["en", "de", "fr", "de_DE", "ru", "", "xx"])
def test_other_languages_keep_the_default(language):
  assert bleu.tokenizer_of(language) == "13a"
  assert bleu.has_spaces(language)


def test_mecab_is_taken_where_it_is_installed(monkeypatch):
  languages = ["ja", "ko", "zh"]
  monkeypatch.setattr(bleu, "_why_not_tokenizer", lambda name: None)
  assert list(map(bleu.tokenizer_of, languages)) == ["ja-mecab", "ko-mecab", "zh"]
  why_not = lambda name: "no" if name.endswith("mecab") else None
  monkeypatch.setattr(bleu, "_why_not_tokenizer", why_not)
  assert list(map(bleu.tokenizer_of, languages)) == ["char", "char", "zh"]


@pytest.mark.parametrize("score", [bleu.corpus_bleu, bleu.tokenized_bleu])
def test_a_score_by_words_of_text_without_spaces_warns(score):
  assert "no spaces between words" in score(JAPANESE, JAPANESE)["warning"]
  for text in (
    ["水 の 門 と 山 。", "犬 が 川 を 見る 。"],
    ["das ist gut", "neunundneunzig"],
    ["einundzwanzigtausendelf"],
  ):
    assert "warning" not in score(text, text)


def test_tokenizers_that_are_not_installed(monkeypatch):
  with pytest.raises(ConfigError, match=r"--tokenize=x: .* choose one of none, zh, 13a, "):
    bleu.corpus_bleu(["a"], ["a"], "x")
  monkeypatch.setattr(
    bleu, "_why_not_tokenizer", lambda name: "needs packages that are not installed"
  )
  with pytest.raises(ConfigError, match=r"--tokenize=ja-mecab: needs packages .*sacrebleu\[ja\]"):
    bleu.sentence_statistics(["a"], ["a"], "ja-mecab")


def test_sums_of_japanese_statistics_are_the_corpus():
  references = JAPANESE[::-1]
  sums = bleu.sentence_statistics(JAPANESE, references, "char").sum(0)
  score = bleu.corpus_bleu(JAPANESE, references, "char")["score"]
  assert bleu.bleu_of_statistics(sums) == pytest.approx(score, abs=1e-9)
