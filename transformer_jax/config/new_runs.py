"""Checks for new runs only: a run that was trained with such settings stays readable."""

from collections.abc import Iterator

from transformer_jax.config.experiment import Config, fields
from transformer_jax.errors import ConfigError

# If nothing reads one of these, there is only a warning, as the run is the same without it.
_HARMLESS_UNREAD = (
  "source_language",
  "target_language",
  "numbers_limit",
  "numbers_train_size",
  "numbers_all_below",
  "vocab_size",
  "evaluation_beam_size",
)

_MOST_TOKENS = 2**31 - 1  # the largest int32


def refuse_unread(config: Config) -> None:
  """Refuses a setting that is given but that only another source, task or tokenizer reads.

  Raises:
    ConfigError: names the first such setting; or there is no text, which only an imported model can
      be without.
  """
  if config.data.has_no_text:
    raise ConfigError(
      "--train_source", "is empty, but --data_source=text reads it", "name one or more files"
    )
  for name, problem, remedy in _unread(config):
    if name not in _HARMLESS_UNREAD:
      raise ConfigError(f"--{name}={config.to_flat()[name]}", problem, remedy)


def unread_warnings(config: Config) -> list[str]:
  """Returns a line for each setting that is given but that nothing reads."""
  values = config.to_flat()
  return [f"warning: --{name}={values[name]}: {problem}" for name, problem, _ in _unread(config)]


def _unread(config: Config) -> Iterator[tuple[str, str, str]]:
  """Yields (name, problem, remedy) of each setting that is not its default and is not read."""
  values = config.to_flat()
  for name, field in fields().items():
    if values[name] == field.default:
      continue
    for other, required in field.metadata["only_for"].items():
      if values[other] not in required:
        choices = " or ".join(f"--{other}={value}" for value in required)
        yield (
          name,
          f"is read only with {choices}, but --{other} is {values[other]}",
          f"give {choices}, or leave --{name} out",
        )
        break
  data = config.data
  has_sections = data.train_sections or data.valid_sections or data.test_sections
  if data.treebank and not has_sections:
    yield (
      "treebank",
      "is read only for sections, but none are named",
      "give --train_sections, or leave it out",
    )
  train, model = config.train, config.model
  if not (model.dropout_rate or model.attention_dropout_rate or model.relu_dropout_rate):
    if train.dropout_warmup_steps:
      yield (
        "dropout_warmup_steps",
        "is read only with dropout, but all dropout rates are 0",
        "give --dropout_rate, or leave it out",
      )
  if train.evaluation_beam_size != 1 and not train.bleu_sentences:
    yield (
      "evaluation_beam_size",
      "is read only with --bleu_sentences, which is 0",
      "give --bleu_sentences, or leave it out",
    )
  evaluations = -(-train.train_steps // train.evaluate_every)
  if train.patience and train.patience + 1 >= evaluations:
    yield (
      "patience",
      f"cannot end the run early: --train_steps={train.train_steps} has {evaluations} evaluations, "
      f"with --evaluate_every={train.evaluate_every}",
      "lower --patience or --evaluate_every, or leave --patience out",
    )
  if values["init_checkpoint"] != "last" and not config.train.init_from:
    yield (
      "init_checkpoint",
      "is read only with --init_from, which is not given",
      "give --init_from, or leave it out",
    )


def check_sums(config: Config) -> None:
  """Checks that an int32 can count the tokens of an update, and of a line of metrics.

  Raises:
    ConfigError: there may be too many.
  """
  data = config.data
  log_every = config.train.log_every
  tokens = data.batch_tokens * data.accumulation_steps
  if tokens > _MOST_TOKENS:
    raise ConfigError(
      f"--accumulation_steps={data.accumulation_steps}",
      f"batches of --batch_tokens={data.batch_tokens} make an update of more than "
      f"{_MOST_TOKENS:,} tokens",
      f"at most {_MOST_TOKENS // data.batch_tokens}",
    )
  if log_every * tokens > _MOST_TOKENS:
    raise ConfigError(
      f"--log_every={log_every}",
      f"updates of up to {tokens:,} tokens (--batch_tokens x --accumulation_steps) "
      f"are more tokens than the {_MOST_TOKENS:,} that a line of metrics can count",
      f"at most {_MOST_TOKENS // tokens}",
    )
