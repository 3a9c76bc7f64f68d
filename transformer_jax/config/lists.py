"""Reads numbers, and settings that are comma-separated lists."""

import re

from transformer_jax.errors import ConfigError

_MOST_DIGITS = 18  # of a 64-bit number; Python refuses to read thousands


def whole_number(text: str) -> int | None:
  """Returns the number that decimal digits are; None for any other text, or too many digits."""
  is_number = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
  return int(text) if is_number else None


def split_list(text: str) -> list[str]:
  """Returns the items of a comma-separated setting; a comma inside an item is written "\\\\,"."""
  items = (item.strip().replace("\\,", ",") for item in re.split(r"(?<!\\),", text))
  return [item for item in items if item]


def parse_sections(text: str, flag: str) -> list[int]:
  """Returns the numbers of a list of sections such as "2-21" or "0,2-4".

  Args:
    text: the list.
    flag: the flag that it was given with, for the error.

  Raises:
    ConfigError: an item is not a number or a range, or exceeds 99.
  """
  numbers = []
  for item in split_list(text):
    first, _, last = item.partition("-")
    begin, end = whole_number(first), whole_number(last or first)
    if begin is None or end is None or not begin <= end <= 99:
      raise ConfigError(
        f"{flag}={text}", f"'{item}' is not a section or a range of sections", "such as 2-21"
      )
    numbers += range(begin, end + 1)
  return numbers
