"""The expected errors, each with the exit code it ends a command with (floor 0).

An expected error is one line on stderr, without a traceback:
`transformer-jax: WHERE: PROBLEM; REMEDY`, where WHERE is a `file:line` or a `--flag`.
Any other exception is a bug: exit code 1, with its traceback.
"""

import os


class TransformerJaxError(Exception):
  """Base of all expected errors.

  Attributes:
    where: the file, line or flag.
    problem: what is wrong with it.
    remedy: what the user can do about it, or "".
    exit_code: the exit code of a command that ends with this error.
  """

  exit_code = 1

  def __init__(self, where: str | os.PathLike[str], problem: str, remedy: str = "") -> None:
    self.where = str(where)
    self.problem = problem
    self.remedy = remedy
    message = f"{where}: {problem}"
    if remedy:
      message += f"; {remedy}"
    super().__init__(" ".join(message.splitlines()))


class ConfigError(TransformerJaxError):
  """A flag or a combination of settings that cannot work."""

  exit_code = 2


class DataError(TransformerJaxError):
  """Text, trees or a tokenizer that cannot be used."""

  exit_code = 3


class MissingDataError(DataError):
  """Data that is missing: files that have another name, or that are still to be put there."""


class CheckpointError(TransformerJaxError):
  """A checkpoint that is missing, damaged, or does not fit the model."""

  exit_code = 4


class NonFiniteError(TransformerJaxError):
  """Too many updates in a row with NaN or infinite numbers."""

  exit_code = 5


class WorkdirError(TransformerJaxError):
  """A workdir that is locked, unwritable, or on a full disk."""

  exit_code = 6


class Interrupted(TransformerJaxError):
  """SIGINT (130), SIGTERM (143) or SIGHUP (129): the state is saved; the same command resumes."""

  def __init__(self, signal_number: int, step: int) -> None:
    self.exit_code = 128 + signal_number
    super().__init__(
      f"signal {signal_number}",
      f"stopped after step {step}, state saved",
      "run the same command again to resume",
    )
