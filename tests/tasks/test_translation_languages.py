"""Scores of translations into languages with and without spaces between words."""

import pytest

from transformer_jax.config import Config
from transformer_jax.data.preprocessing import build_preprocessors
from transformer_jax.tasks.task import Output
from transformer_jax.tasks.translation import TranslationTask

JAPANESE = ["水の門と山。", "犬が川を見る。"]


def task_of(**settings):
  files = dict(train_source="a", train_target="b", valid_source="c", valid_target="d")
  data = Config().replace(data_source="text", **files, **settings).data
  return TranslationTask(data, None, *build_preprocessors(data))


@pytest.mark.parametrize("language", ["ja", "zh", "th"])
def test_exact_answers_without_spaces_score_100(language):
  task = task_of(target_language=language)
  result = task.report([Output(text) for text in JAPANESE], JAPANESE)
  assert result["bleu"] == pytest.approx(100)
  assert result["exact_match"] == 1.0
  assert f"|tok:{task.bleu_tokenizer()}|" in result["signature"]
  assert "means nothing" in result["paper_bleu"]["error"]
  assert task.headline(result).endswith("sacrebleu 100.00")


@pytest.mark.parametrize("code", ["de-AT", "de_DE", "DE"])
def test_the_papers_bleu_has_the_rules_of_the_language_whatever_its_code(code):
  outputs = [Output("Er kam z. B. um 12 Uhr, d. h. am 3. Mai.")]
  references = ["Er kam z. B. um 11 Uhr, d. h. am 3. Mai."]
  expected = task_of(target_language="de").report(outputs, references)["paper_bleu"]
  assert "|tok:moses-de|" in expected["signature"]
  assert task_of(target_language=code).report(outputs, references)["paper_bleu"] == expected


def test_a_wrong_language_is_named_in_the_headline():
  task = task_of(target_language="de")
  result = task.report([Output(text) for text in JAPANESE], JAPANESE)
  assert "no spaces between words" in task.headline(result)


def test_german_is_scored_as_ever():
  task = task_of()
  result = task.score([Output("Das ist ein gutes Haus.")], ["Das ist ein gutes Haus."])
  assert "|tok:13a|" in result["signature"]
  assert task.bleu_tokenizer() == "13a"
  assert task_of(preprocessing="moses").bleu_tokenizer() == "none"


def test_moses_cuts_no_words_without_spaces_but_a_preprocessed_file_has_them():
  task = task_of(target_language="ja", preprocessing="moses")
  outputs = [Output(task.target_preprocessor(text)) for text in JAPANESE]
  assert task.score(outputs, JAPANESE)["bleu"] == pytest.approx(100)
  words = ["水 の 門 と 山 。", "犬 が 川 を 見る 。"]
  result = task.score([Output(text) for text in words], words, references_are_preprocessed=True)
  assert result["bleu"] == pytest.approx(100)
  assert result["name"] == "tokenized_bleu"
  assert "warning" not in result
