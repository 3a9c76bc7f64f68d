"""What a task makes of a model's tokens."""

from typing import NamedTuple


class Output(NamedTuple):
  """Text, and whether the tokens were no such text until they were repaired (trees)."""

  text: str
  is_repaired: bool = False
