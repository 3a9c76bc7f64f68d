"""Leaves of a state by name, and whether a saved state fits the one that is expected."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from transformer_jax.checkpoints.checksums import Damaged
from transformer_jax.errors import CheckpointError

_Leaf = tuple[tuple[int, ...], np.dtype]


def named_leaves(tree: Any) -> Iterator[tuple[str, Any]]:
  """Yields (keys joined by "/", leaf) of each leaf.

  A state has the same names as the dicts and lists that orbax reads back.
  """
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    yield jax.tree_util.keystr(path, simple=True, separator="/"), leaf


def rebuild(like: Any, arrays: Mapping[str, np.ndarray]) -> Any:
  """Returns `arrays` (by name) in the structure of the pytree `like`."""
  leaves = [arrays[name] for name, _ in named_leaves(like)]
  return jax.tree.unflatten(jax.tree.structure(like), leaves)


def check_fit(
  like: Any,
  found: Any,
  where: pathlib.Path,
  remedy: str = "use the settings of the run, which are in its config.json",
) -> None:
  """Compares the names, shapes and dtypes of the leaves of two pytrees.

  Raises:
    CheckpointError: names the first leaf (by name) that differs.
  """
  expected_leaves = _shapes(like)
  found_leaves = _shapes(found)
  for name in [*expected_leaves, *found_leaves]:
    here = expected_leaves.get(name)
    there = found_leaves.get(name)
    if here != there:
      raise CheckpointError(
        where,
        f"{name} is {_show(there)} in the checkpoint, and {_show(here)} in this model",
        remedy,
      )


def check_finite(arrays: Mapping[str, np.ndarray], where: pathlib.Path) -> None:
  """Refuses parameters, or their mean, with NaN or infinity as damaged: no result would be usable.

  Raises:
    Damaged: names the first such array.
  """
  for name, array in arrays.items():
    if name.startswith(("params/", "ema/")) and not np.all(np.isfinite(array)):
      raise Damaged(where, f"{name} holds numbers that are not finite")


def _shapes(tree: Any) -> dict[str, _Leaf]:
  return {name: (tuple(leaf.shape), np.dtype(leaf.dtype)) for name, leaf in named_leaves(tree)}


def _show(leaf: _Leaf | None) -> str:
  if leaf is None:
    return "missing"
  shape, dtype = leaf
  return f"{dtype}{list(shape)}"
