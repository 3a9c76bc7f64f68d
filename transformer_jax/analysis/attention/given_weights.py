"""Reads the attention of any model from a file in the format of attention.json.

docs/other-models.md describes the format. Everything in it is checked here, so that the page never
shows what is no attention.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from transformer_jax.analysis.attention.maps import AttentionMap, SentenceAttention
from transformer_jax.data.text import read_problem
from transformer_jax.errors import DataError
from transformer_jax.files import StrPath
from transformer_jax.model.head_gates import ATTENTIONS

_TEXTS = ("source", "target")
_VECTORS = ("query", "key", "value")
_PARTS = ("queries", "keys", "weights")
# Rows that were rounded to 16 bits are off by less.
_TOLERANCE = 1e-2

Problem = Callable[..., DataError]  # (place, problem[, remedy]) -> the error


def read_attention(path: StrPath) -> SentenceAttention:
  """Returns the attention that a JSON file holds.

  Raises:
    DataError: the file is not of the format; names the place in it.
  """

  def problem(place: str, what: str, remedy: str = "") -> DataError:
    where = f"{path}, {place}" if place else path
    return DataError(where, what, remedy or "docs/other-models.md has the format")

  found = _read(path, problem)
  _check_names("", found, (*_TEXTS, *ATTENTIONS), problem)
  for name in _TEXTS:
    if not isinstance(found.get(name, ""), str):
      raise problem(name, "is not a text")
  maps = {
    name: _map(name, found[name], problem) for name in ATTENTIONS if found.get(name) is not None
  }
  if not maps:
    raise problem("", f"has no attention: it needs one of {', '.join(ATTENTIONS)}")
  sizes = {name: one.weights_NHTS.shape[:2] for name, one in maps.items()}
  first, *others = sizes
  for name in others:
    if sizes[name] != sizes[first]:
      raise problem(
        f"{name}.weights",
        f"has {_layers_and_heads(sizes[name])}, but {first} has {_layers_and_heads(sizes[first])}",
        "write a file for each",
      )
  return SentenceAttention(found.get("source", ""), found.get("target", ""), maps)


def _read(path: StrPath, problem: Problem) -> dict[str, Any]:
  """Returns the JSON object of a file; NaN and Infinity are no JSON."""

  def refuse(word: str) -> None:
    raise ValueError(f"{word} is no number")

  try:
    with open(path, encoding="utf-8") as file:
      found = json.load(file, parse_constant=refuse)
  except OSError as error:
    raise DataError(path, f"cannot be read: {read_problem(error)}") from None
  except (ValueError, RecursionError) as error:
    raise problem("", f"is not JSON: {error}") from None
  if not isinstance(found, dict):
    raise problem("", "is not a JSON object")
  return found


def _check_names(
  place: str, found: Mapping[str, Any], known: Sequence[str], problem: Problem
) -> None:
  for name in found:
    if name not in known:
      raise problem(place, f"has the unknown name {name!r}", f"the names are {', '.join(known)}")


def _map(name: str, found: Any, problem: Problem) -> AttentionMap:
  """Returns one attention."""
  if not isinstance(found, dict):
    raise problem(name, "is not a JSON object")
  _check_names(name, found, (*_PARTS, *_VECTORS), problem)
  for part in _PARTS:
    if part not in found:
      raise problem(name, f"has no {part!r}")
  queries, keys = (_words(f"{name}.{part}", found[part], problem) for part in ("queries", "keys"))
  if name != "cross" and len(queries) != len(keys):
    raise problem(
      name, f"has {len(queries)} queries and {len(keys)} keys, which look at each other"
    )
  place = f"{name}.weights"
  weights_NHTS = _array(
    place,
    found["weights"],
    (("layer", None), ("head", None), ("query", len(queries)), ("key", len(keys))),
    problem,
  )
  _check_weights(place, weights_NHTS, name == "decoder", problem)
  vectors = _vectors(name, found, weights_NHTS.shape, problem)
  return AttentionMap(queries, keys, weights_NHTS, **vectors)


def _words(place: str, found: Any, problem: Problem) -> list[str]:
  if not isinstance(found, list) or not found or not all(isinstance(word, str) for word in found):
    raise problem(place, "is not a list of texts, one for each sub-word")
  for word in found:
    if re.search("[\ud800-\udfff]", word):
      raise problem(place, f"has half a surrogate pair: {word!a}")
  return found


def _array(
  place: str,
  found: Any,
  axes: Sequence[tuple[str, int | None]],
  problem: Problem,
) -> Float32[np.ndarray, "..."]:
  """Returns nested lists as an array; each axis has a name, and a length unless it is free."""
  shape = []
  inner = found
  for _, length in axes:
    shape.append(len(inner) if length is None and isinstance(inner, list) else length)
    inner = inner[0] if isinstance(inner, list) and inner else None
  _check_lists(place, found, [name for name, _ in axes], shape, problem)
  return np.array(found, np.float32)


def _check_lists(
  place: str, found: Any, names: Sequence[str], shape: Sequence[int | None], problem: Problem
) -> None:
  """Refuses what is no list of a length, down to the numbers."""
  if not names:
    if isinstance(found, bool) or not isinstance(found, (int, float)) or abs(found) > 1e30:
      raise problem(place, f"is {json_type(found)}, not a number that 32 bits hold")
    return
  if not isinstance(found, list) or not found:
    raise problem(place, f"is {json_type(found)}, not a list with an item for each {names[0]}")
  if len(found) != shape[0]:
    raise problem(place, f"has {len(found)} items, one for each {names[0]}, but needs {shape[0]}")
  for number, item in enumerate(found):
    _check_lists(f"{place}[{number}]", item, names[1:], shape[1:], problem)


def json_type(found: Any) -> str:
  """Returns what a value of JSON is, in words."""
  if isinstance(found, list):
    return "a list" if found else "an empty list"
  if found is None or isinstance(found, bool):
    return json.JSONEncoder().encode(found)
  return dict(str="a text", dict="an object").get(type(found).__name__, "a number")


def _check_weights(
  place: str, weights_NHTS: Float32[np.ndarray, "N H T S"], is_decoder: bool, problem: Problem
) -> None:
  """Refuses weights that are no shares, and in the decoder those of later words."""
  outside = np.argwhere((weights_NHTS < -_TOLERANCE) | (weights_NHTS > 1 + _TOLERANCE))
  if len(outside):
    value = float(weights_NHTS[tuple(outside[0])])
    raise problem(_at(place, outside[0]), f"is {value:g}, not a share from 0 to 1")
  sums_NHT = weights_NHTS.sum(-1, dtype=np.float64)
  wrong = np.argwhere(abs(sums_NHT - 1) > _TOLERANCE)
  if len(wrong):
    total = float(sums_NHT[tuple(wrong[0])])
    raise problem(
      _at(place, wrong[0]), f"sums to {total:g}, not to 1", "give the weights after the softmax"
    )
  later = np.argwhere(np.triu(weights_NHTS, 1) > _TOLERANCE) if is_decoder else []
  if len(later):
    remedy = "a model that looks ahead is an encoder"
    raise problem(_at(place, later[0]), "is the weight of a later word", remedy)


def _vectors(
  name: str, found: Mapping[str, Any], shape: Sequence[int], problem: Problem
) -> dict[str, Float32[np.ndarray, "N H P K"]]:
  """Returns the queries, keys and values as fields of AttentionMap; none if the file has none."""
  given = [part for part in _VECTORS if part in found]
  if not given:
    return {}
  for part in _VECTORS:
    if part not in given:
      raise problem(name, f"has {given[0]!r} and no {part!r}", "give all three vectors, or none")
  num_layers, num_heads, num_queries, num_keys = shape
  arrays = {}
  for part, count in zip(_VECTORS, (num_queries, num_keys, num_keys), strict=True):
    axes = (("layer", num_layers), ("head", num_heads), ("word", count), ("column", None))
    arrays[part] = _array(f"{name}.{part}", found[part], axes, problem)
  widths = arrays["query"].shape[-1], arrays["key"].shape[-1]
  if widths[0] != widths[1]:
    raise problem(f"{name}.key", f"has {widths[1]} columns, but the queries have {widths[0]}")
  return dict(query_NHTK=arrays["query"], key_NHSK=arrays["key"], value_NHSV=arrays["value"])


def _at(place: str, index: np.ndarray) -> str:
  return place + "".join(f"[{number}]" for number in index)


def _layers_and_heads(sizes: tuple[int, ...]) -> str:
  return f"{sizes[0]} layers of {sizes[1]} heads"
