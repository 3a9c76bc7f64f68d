"""Hyperparameters of training."""

import dataclasses

from transformer_jax.config.setting import setting


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """Optimizer, schedule, regularization (Sections 5.2 to 5.4), and what a run writes when."""

  seed: int = setting(
    1, "seed of initialization, dropout and the order of the data", low=0, high=2**31 - 1
  )

  train_steps: int = setting(100_000, "number of updates", low=1, high=1_000_000_000)

  warmup_steps: int = setting(
    4000, "updates over which the learning rate rises (Section 5.3)", low=1, high=1_000_000_000
  )

  learning_rate_scale: float = setting(
    1.0, "factor on the paper's learning rate schedule", low=0.0, high=1e30
  )

  adam_beta1: float = setting(0.9, "Adam's decay of the mean gradient", low=0.0, high=0.999999)

  adam_beta2: float = setting(
    0.98, "Adam's decay of the mean squared gradient", low=0.0, high=0.999999
  )

  adam_epsilon: float = setting(1e-9, "Adam's epsilon", low=0.0, high=1.0)

  dropout_warmup_steps: int = setting(
    0,
    "updates over which all dropout rates rise linearly from 0; 0: they are constant",
    low=0,
    high=1_000_000_000,
    added_later=True,
  )

  word_dropout_rate: float = setting(
    0.0,
    "share of the source's tokens that are replaced by UNK at random in training; not in the "
    "paper's text",
    low=0.0,
    high=0.99,
    added_later=True,
  )

  ema_decay: float = setting(
    0.0,
    "decay per update of an exponential moving average of the parameters, which is evaluated and "
    "decoded with instead of them, such as 0.999; 0: none; not in the paper's text",
    low=0.0,
    high=0.999999,
    added_later=True,
  )

  label_smoothing: float = setting(
    0.1, "eps_ls, probability spread over the wrong classes (Section 5.4)", low=0.0, high=0.99
  )

  log_every: int = setting(100, "updates between lines of metrics.jsonl", low=1, high=10_000)

  evaluate_every: int = setting(1500, "updates between evaluations on the validation split", low=1)

  bleu_sentences: int = setting(
    1000, "validation sentences translated at each evaluation; 0: none", low=0
  )

  evaluation_beam_size: int = setting(
    1, "beam size of these translations; 1 is greedy search", low=1, high=1000
  )

  checkpoint_every: int = setting(1500, "updates between checkpoints (paper: 10 minutes)", low=1)

  keep_checkpoints: int = setting(5, "number of latest checkpoints kept", low=1)

  keep_best: int = setting(
    1, "number of checkpoints also kept because their validation scores are the best", low=0
  )

  patience: int = setting(
    0,
    "training ends after this many evaluations in a row without a better validation score (the one "
    "of keep_best); 0: never",
    low=0,
    added_later=True,
  )

  max_nonfinite_updates: int = setting(
    10, "the run ends after this many non-finite updates in a row", low=1
  )

  deterministic: bool = setting(
    False, "on a GPU, use only kernels that give the same bits each time"
  )

  init_from: str = setting(
    "",
    "workdir of a run whose tokenizer and parameters this run begins with; optimizer, step and "
    "data begin anew",
    is_path=True,
    added_later=True,
  )

  init_checkpoint: str = setting(
    "last", "checkpoint of init_from to take: last, best or a step", added_later=True
  )
