"""Reads settings that are comma-separated lists."""

import re

from transformer_jax.errors import ConfigError


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
    last = last or first
    is_range = first.isdecimal() and last.isdecimal()
    if not is_range or not int(first) <= int(last) <= 99:
      raise ConfigError(
        f"{flag}={text}", f"'{item}' is not a section or a range of sections", "such as 2-21"
      )
    numbers += range(int(first), int(last) + 1)
  return numbers
