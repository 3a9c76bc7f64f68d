"""A sample of a stream whose length is not known."""

import collections
import itertools
import math
import random
from collections.abc import Iterable, Iterator
from typing import TypeVar

_BELOW_ONE = math.nextafter(1.0, 0.0)
_SEED = 0  # one sample for all runs on a text: a run's seed changes the model, not its sub-words

Item = TypeVar("Item")


def sample(items: Iterable[Item], size: int) -> Iterator[Item]:
  """Yields `size` items drawn at random in their order, or all of them if there are no more.

  Each set of items is equally likely (reservoir sampling, Li's algorithm L). The items that are
  kept are held in memory, and given up as they are yielded. The draw depends only on the number of
  items.
  """
  items = iter(items)
  rng = random.Random(_SEED)
  kept = list(enumerate(itertools.islice(items, size)))
  number = len(kept)
  weight = 1.0
  while True:
    weight = min(weight * _uniform(rng) ** (1 / size), _BELOW_ONE)
    skipped = int(math.log(_uniform(rng)) / math.log1p(-weight))
    collections.deque(itertools.islice(items, skipped), maxlen=0)
    following = next(items, None)
    if following is None:
      break
    number += skipped + 1
    kept[rng.randrange(size)] = (number, following)
  kept.sort(key=lambda numbered: numbered[0], reverse=True)
  while kept:
    yield kept.pop()[1]


def _uniform(rng: random.Random) -> float:
  """Returns a number above 0 and below 1."""
  return rng.random() or 0.5
