"""The explorer: one HTML file that holds a sentence's attention, its numbers packed, and needs nothing else.

What the page's script reads (explorer/explorer.js) is a JSON object:
  source_text, target_text, layers, heads
  attentions: name -> queries, keys (words), weights (where its uint16 array [N, H, T, S] begins, in bytes; a weight is value / 65535), vectors: for each layer
    null or "query", "key", "value" -> values (where float32 [H, positions, width] begins), count, width
  packed: all arrays, little-endian, deflated, base64
  importance: null, or what `heads` wrote
"""

import base64
import pathlib
import re
import zlib

import numpy as np

from transformer_jax.strict_json import json_text

_FOLDER = pathlib.Path(__file__).parent / "explorer"
MAX_PACKED_BYTES = 2_700_000  # of a page; vectors of the first layers are left out beyond it


def page(attention, importance=None):
  """The page of a SentenceAttention, HTML text.

  Args:
    attention: the SentenceAttention.
    importance: what `heads` wrote for the same run (heads.json), or None.
  """
  cross = attention.maps["cross"]
  num_layers, num_heads = cross.weights_NHTS.shape[:2]
  for first_layer in range(num_layers + 1):
    attentions, packed = _packed(attention, first_layer)
    if len(packed) <= MAX_PACKED_BYTES:
      break
  kept = importance and {name: importance[name] for name in ("perplexity", "heads")}
  data = dict(
    source_text=attention.source_text,
    target_text=attention.target_text,
    layers=num_layers,
    heads=num_heads,
    attentions=attentions,
    packed=packed,
    importance=kept,
  )
  # "<" would end the script element, whatever stands around it; in a JSON string it may be written as its number.
  text = json_text(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
  parts = dict(STYLE=_read("style.css"), DATA=text, SCRIPT=_read("explorer.js"))
  return re.sub(r"/\*(STYLE|DATA|SCRIPT)\*/", lambda place: parts[place[1]], _read("page.html"))


def _packed(attention, first_layer):
  """(the page's "attentions", its "packed"), with the vectors of layers from `first_layer` on."""
  blocks, length = [], 0

  def put(array):
    nonlocal length
    content = array.tobytes()
    content += b"\0" * (-len(content) % 4)  # so that each array begins where its numbers may
    blocks.append(content)
    length += len(content)
    return length - len(content)

  attentions = {}
  for name, one in attention.maps.items():
    weights = put(np.round(one.weights_NHTS.astype(np.float64) * 65535).astype("<u2"))
    arrays = dict(query=one.query_NHTK, key=one.key_NHSK, value=one.value_NHSV)
    vectors = [
      None
      if layer < first_layer
      else {kind: _put_vectors(put, array[layer]) for kind, array in arrays.items()}
      for layer in range(len(one.weights_NHTS))
    ]
    attentions[name] = dict(queries=one.queries, keys=one.keys, weights=weights, vectors=vectors)
  return attentions, base64.b64encode(zlib.compress(b"".join(blocks), 9)).decode()


def _put_vectors(put, array_HPK):
  """All 32 bits: scores reach 80, and with 16 bits a weight that the page computes would be wrong in the fourth decimal."""
  return dict(
    values=put(array_HPK.astype("<f4")), count=array_HPK.shape[1], width=array_HPK.shape[2]
  )


def _read(name):
  return (_FOLDER / name).read_text(encoding="utf-8")
