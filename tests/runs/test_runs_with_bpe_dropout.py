"""`--bpe_dropout` in runs: resumed to the bit; validation and its cache as without it."""

from typing import Any

import numpy as np
import pytest
from tiny_run import metrics_of, tiny_config

from transformer_jax.errors import ConfigError
from transformer_jax.runs.digest import digest_of
from transformer_jax.runs.prepare import prepare
from transformer_jax.runs.train import train

SETTINGS = dict(bpe_dropout=0.2, train_steps=12, evaluate_every=12, log_every=6, checkpoint_every=3)
SETTINGS |= dict(bleu_sentences=0, numbers_train_size=200)


@pytest.mark.slow
def test_a_resumed_run_is_the_same_to_the_bit(tmp_path):
  """Epochs have about 6 updates: stopped within the first and within the second one."""
  train(tiny_config(**SETTINGS), tmp_path / "whole", ".")
  for steps in (3, 9, 12):
    train(tiny_config(**{**SETTINGS, "train_steps": steps}), tmp_path / "parts", ".")
  assert digest_of(tmp_path / "parts") == digest_of(tmp_path / "whole")
  train(tiny_config(**{**SETTINGS, "bpe_dropout": 0.0}), tmp_path / "without", ".")
  with_dropout, without = metrics_of(tmp_path / "whole"), metrics_of(tmp_path / "without")
  assert with_dropout[-1]["target_tokens"] == without[-1]["target_tokens"]  # of validation
  assert with_dropout[0]["target_tokens"] != without[0]["target_tokens"]
  with pytest.raises(ConfigError, match="bpe_dropout"):
    train(tiny_config(**{**SETTINGS, "bpe_dropout": 0.1}), tmp_path / "whole", ".")


def test_only_training_batches_differ():
  plain, dropped = (prepare(tiny_config(bpe_dropout=rate), ".") for rate in (0.0, 0.3))
  assert dropped.fingerprint == plain.fingerprint
  for split in ("train", "valid"):
    pairs: Any = plain.encoded[split], dropped.encoded[split]
    assert pairs[0].folder == pairs[1].folder
  for one, other in zip(plain.valid_batches(), dropped.valid_batches(), strict=True):
    np.testing.assert_array_equal(one.source_BS, other.source_BS)
  stream = dropped.stream_from()
  tokens = dropped.tokens_per_update(stream)
  assert tokens[0] * stream.batches_in_epoch > plain.encoded["train"].source_lengths.sum()


def test_text_without_merges_refuses_it(tmp_path):
  files = dict(train_source="a", train_target="b", valid_source="c", valid_target="d")
  config = tiny_config(data_source="text", tokenizer="segmented", bpe_dropout=0.1, **files)
  with pytest.raises(ConfigError, match="--bpe_dropout"):
    prepare(config, tmp_path)
