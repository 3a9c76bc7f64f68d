"""A translation's statistics give the scores that are reported, whatever text they come from."""

import numpy as np
import pytest

from transformer_jax.config import Config
from transformer_jax.metrics.bleu import bleu_of_statistics
from transformer_jax.runs.build import build_task
from transformer_jax.tasks.task import Output

FILES = dict(
  data_source="text", train_source="s", train_target="t", valid_source="s", valid_target="t"
)
RAW = ["A man, running.", "Two dogs don't play in the snow.", 'He says: "no".']
TOKENS = [
  "a man , running .",
  "two dogs don &apos;t play in snow .",
  "he says : &quot; no &quot; .",
]


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
  task = build_task(Config().replace(**FILES, **settings).data, None)
  outputs = [Output(text) for text in hypotheses]
  score = task.score(outputs, references, is_preprocessed)
  statistics = task.statistics(outputs, references, is_preprocessed)
  assert statistics.shape == (3, 10) and score["bleu"] > 5
  given = bleu_of_statistics(statistics.sum(0), score["name"] == "sacrebleu")
  assert given == pytest.approx(score["bleu"], abs=1e-9)


def test_those_of_numbers_are_of_exact_match():
  task = build_task(Config().data, None)
  outputs, references = [Output("eins"), Output("zwei"), Output("drei")], ["eins", "drei", "drei"]
  statistics = task.statistics(outputs, references)
  np.testing.assert_array_equal(statistics, [[1, 1], [0, 1], [1, 1]])
  assert statistics[:, 0].sum() / 3 == task.score(outputs, references)["exact_match"]
