"""The explorer: one HTML file that holds a sentence's attention and needs nothing else.

The page's script is one after another the files that `_SCRIPTS` names. It reads a JSON object:
  source_text, target_text, layers, heads
  attentions: name -> an object of
    queries, keys: words
    weights: the byte at which its uint16 array [N, H, T, S] begins; a weight is value / 65535
    vectors: for each layer null, or "query", "key", "value" -> values (the byte at which its
      float32 array [H, positions, width] begins), count, width
  packed: all arrays, little-endian, deflated, base64
  importance: null, or from heads.json, which `heads` writes
  view: what it shows first, counted from 0: layer, head, query (each may be absent)
  unknown: the words of both texts that the vocabulary lacks
  tree: null, or the nodes of a parser's output (`Parse.nodes`)
  model: null, or the object of model_in_page.py, or server: facts of the model that the page's
    server has (explorer/model/server.js)
  examples: sentences to choose from
  credit: null, or where the model comes from: a sentence in each language, en and ja, and url
Without a sentence, source_text is the one to begin with, and attentions is null: the page computes
them.
"""

import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from transformer_jax.analysis.attention.maps import AttentionMap, SentenceAttention
from transformer_jax.analysis.attention.packed_arrays import PackedArrays
from transformer_jax.strict_json import json_text

# What computes with the model that is in the page.
ENGINE_SCRIPTS = (
  "model/arithmetic.js",
  "model/transformer.js",
  "model/heap.js",
  "model/sentencepiece.js",
  "model/words.js",
  "model/weights.js",
  "model/engine.js",
)
# Each defines functions for those after it; start.js, the last, calls them.
_SCRIPTS = (
  *ENGINE_SCRIPTS,
  "model/server.js",
  "state.js",
  "numbers.js",
  "elements.js",
  "colors.js",
  "pens.js",
  "words.js",
  "lines.js",
  "map.js",
  "overview.js",
  "steps.js",
  "importance.js",
  "cost.js",
  "address.js",
  "picture.js",
  "tree.js",
  "controls.js",
  "model/ask.js",
  "model/tokens.js",
  "model/lost.js",
  "model/switches.js",
  "model/tour.js",
  "start.js",
)
_FOLDER = pathlib.Path(__file__).parent / "explorer"
_CLOSED = "script-src 'unsafe-inline'"  # the end of the page's own policy
MAX_PACKED_BYTES = 2_700_000  # beyond it the vectors of the first layers are left out


def page(
  attention: SentenceAttention,
  importance: dict[str, Any] | None = None,
  view: dict[str, int] | None = None,
  model: dict[str, Any] | None = None,
  examples: Sequence[str] = (),
) -> str:
  """Returns the page for a sentence, HTML text.

  Args:
    attention: the attention for the sentence.
    importance: the content of heads.json for the same run, or None.
    view: the layer, head and query it shows first, counted from 0; each may be absent.
    model: the model in the page, by `model_in_page`, or None.
    examples: sentences that a reader may choose from.
  """
  num_layers, num_heads = attention.first.weights_NHTS.shape[:2]
  sentence = sentence_data(attention)
  for first_layer in range(1, num_layers + 1):
    if len(sentence["packed"]) <= MAX_PACKED_BYTES:
      break
    sentence = sentence_data(attention, first_layer)
  if importance:
    kept = ("perplexity", "heads", "rank_correlation")
    importance = {name: importance[name] for name in kept if name in importance}
  return _html(
    **sentence,
    layers=num_layers,
    heads=num_heads,
    importance=importance,
    view=view or {},
    tree=attention.parse.nodes() if attention.parse else None,
    model=model,
    examples=list(examples),
    credit=None,
  )


def page_of_model(
  model: dict[str, Any], examples: Sequence[str], credit: dict[str, str] | None = None
) -> str:
  """Returns a page that computes all that it shows, HTML text.

  Args:
    model: the model in the page, by `model_in_page`.
    examples: sentences that a reader may choose from; the page begins with the first.
    credit: where the model comes from: a sentence "en" and "ja", and "url".
  """
  settings = model["settings"]
  return _html_of_model(settings["num_layers"], settings["num_heads"], model, examples, credit)


def page_of_server(facts: dict[str, Any], examples: Sequence[str]) -> str:
  """Returns a page that asks the server it comes from, HTML text.

  Args:
    facts: "layers", "heads", "d_k" and "max_source" of the server's model.
    examples: sentences that a reader may choose from; the page begins with the first.
  """
  html = _html_of_model(facts["layers"], facts["heads"], dict(server=facts), examples)
  return html.replace(_CLOSED, f"{_CLOSED}; connect-src 'self'", 1)


def _html_of_model(
  layers: int,
  heads: int,
  model: dict[str, Any],
  examples: Sequence[str],
  credit: dict[str, str] | None = None,
) -> str:
  """Returns a page without a sentence: its model computes all that it shows."""
  return _html(
    source_text=examples[0],
    target_text="",
    layers=layers,
    heads=heads,
    attentions=None,
    packed="",
    importance=None,
    view={},
    unknown=[],
    tree=None,
    model=model,
    examples=list(examples),
    credit=credit,
  )


def _html(**data: Any) -> str:
  """Returns the page for an object as it is described above."""
  # "<" could end the script element, so it is written as its number, as JSON allows.
  text = json_text(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
  parts = dict(
    STYLE=_read("style.css") + _read("model/panel.css"),
    PANEL=_read("model/panel.html"),
    DATA=text,
    SCRIPT="\n".join(['"use strict";', *map(_read, _SCRIPTS)]),
  )
  places = re.compile(r"/\*(STYLE|PANEL|DATA|SCRIPT)\*/")
  return places.sub(lambda place: parts[place[1]], _read("page.html"))


def sentence_data(attention: SentenceAttention, first_layer: int = 0) -> dict[str, Any]:
  """Returns what the page's object has of a sentence.

  It is "source_text", "target_text", "unknown", "attentions" and "packed". Only the layers from
  `first_layer` on have vectors.
  """
  arrays = PackedArrays()
  attentions = {}
  labels = attention.labels()
  for name, one in attention.maps.items():
    weights_NHTS = np.round(one.weights_NHTS.astype(np.float64) * 65535)
    begin = arrays.add(weights_NHTS.astype("<u2"))
    vectors = []
    for layer in range(len(one.weights_NHTS)):
      vectors.append(None if layer < first_layer else _layer_vectors(arrays, one, layer))
    queries, keys = labels[name]
    attentions[name] = dict(queries=queries, keys=keys, weights=begin, vectors=vectors)
  return dict(
    source_text=attention.source_text,
    target_text=attention.target_text,
    unknown=attention.unknown_words(),
    attentions=attentions,
    packed=arrays.packed(),
  )


def _layer_vectors(arrays: PackedArrays, one: AttentionMap, layer: int) -> dict[str, Any] | None:
  """Adds the vectors of a layer; returns where they are, None if there are none."""
  if one.query_NHTK is None or one.key_NHSK is None or one.value_NHSV is None:
    return None
  return dict(
    query=_vectors(arrays, one.query_NHTK[layer]),
    key=_vectors(arrays, one.key_NHSK[layer]),
    value=_vectors(arrays, one.value_NHSV[layer]),
  )


def _vectors(arrays: PackedArrays, array_HPK: Float32[np.ndarray, "H P K"]) -> dict[str, int]:
  """Adds vectors of P positions with all 32 bits; returns where they are.

  Scores reach 80. With 16 bits a weight that the page computes from them would be wrong in the
  fourth decimal.
  """
  _, count, width = array_HPK.shape
  return dict(values=arrays.add(array_HPK.astype("<f4")), count=count, width=width)


def _read(name: str) -> str:
  return (_FOLDER / name).read_text(encoding="utf-8")
