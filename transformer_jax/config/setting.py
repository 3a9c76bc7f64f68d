"""Declares one hyperparameter: its default, its help, its range, and when it is read."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

Value = bool | int | float | str


def setting(
  default: Value,
  help_text: str,
  low: float | None = None,
  high: float | None = None,
  *,
  choices: Sequence[str] | None = None,
  is_path: bool = False,
  added_later: bool = False,
  only_for: Mapping[str, Sequence[Value]] | None = None,
) -> Any:
  """Returns the dataclass field of a hyperparameter; its metadata holds the other arguments.

  Args:
    default: the paper's value, wherever the paper says.
    help_text: one line for `--help`.
    low: the smallest value allowed.
    high: the largest value allowed.
    choices: the values allowed; the default is one of them.
    is_path: it names files or folders, so a flag may begin with "~".
    added_later: older runs lack it; a config.json without it gets the default.
    only_for: other setting -> its values for which this one is read.
  """
  metadata = dict(
    help=help_text,
    low=low,
    high=high,
    choices=choices,
    is_path=is_path,
    added_later=added_later,
    only_for=only_for or {},
  )
  return dataclasses.field(default=default, metadata=metadata)
