"""The statistics of translations sum to the reported scores, for every kind of text."""

import numpy as np
import pytest

from transformer_jax.config import Config
from transformer_jax.data.preprocessing import build_preprocessors
from transformer_jax.metrics.bleu import bleu_of_statistics
from transformer_jax.tasks.task import Output
from transformer_jax.tasks.translation import TranslationTask

FILES = dict(
  data_source="text", train_source="s", train_target="t", valid_source="s", valid_target="t"
)
RAW = ["A man, running.", "Two dogs don't play in the snow.", 'He says: "no".']
TOKENS = [
  "a man , running .",
  "two dogs don &apos;t play in snow .",
  "he says : &quot; no &quot; .",
]


def make_task(**settings):
  data = Config().replace(**settings).data
  return TranslationTask(data, None, *build_preprocessors(data))


@pytest.mark.parametrize(
  "settings, hypotheses, references, is_preprocessed",
  [
    (dict(), ["A man, running.", "Two dogs don't play in snow.", ""], RAW, False),
    (dict(tokenizer="segmented"), ["A man , running .", "Two dogs", "He"], RAW, True),
    (dict(preprocessing="moses_lowercase"), TOKENS, RAW, False),
    (dict(preprocessing="moses_lowercase"), TOKENS, [*TOKENS[:2], "he said no"], True),
    (dict(preprocessing="moses"), [text.capitalize() for text in TOKENS], RAW, False),
  ],
)
def test_sums_of_statistics_are_the_score(settings, hypotheses, references, is_preprocessed):
  task = make_task(**FILES, **settings)
  outputs = [Output(text) for text in hypotheses]
  score = task.score(outputs, references, is_preprocessed)
  statistics = task.statistics(outputs, references, is_preprocessed)
  assert statistics.shape == (3, 10)
  assert score["bleu"] > 5
  is_smoothed = score["name"] == "sacrebleu"
  from_sums = bleu_of_statistics(statistics.sum(0), is_smoothed)
  assert from_sums == pytest.approx(score["bleu"], abs=1e-9)


def test_statistics_of_numbers_are_of_exact_match():
  task = make_task()
  outputs = [Output("eins"), Output("zwei"), Output("drei")]
  references = ["eins", "drei", "drei"]
  statistics = task.statistics(outputs, references)
  np.testing.assert_array_equal(statistics, [[1, 1], [0, 1], [1, 1]])
  assert statistics[:, 0].sum() / 3 == task.score(outputs, references)["exact_match"]
