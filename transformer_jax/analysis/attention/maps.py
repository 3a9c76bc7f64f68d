"""Collects a model's attention for one sentence: each head's weights, queries, keys and values."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from transformer_jax.analysis.attention.parse import Parse, parse_of
from transformer_jax.model.head_gates import ATTENTIONS
from transformer_jax.runs.trained_model import TrainedModel

UNKNOWN = "<unk>"  # the piece that stands for what the vocabulary lacks
START = "<start>"  # shown in place of a word before the first word of the output


@dataclasses.dataclass(frozen=True)
class AttentionMap:
  """One of the three attentions, over N layers and H heads.

  Row t of the decoder's maps belongs to the position that predicts target word t. Its keys are the
  words before that one, `START` first.
  """

  queries: list[str]  # sub-words that attend, T
  keys: list[str]  # sub-words that are attended to, S
  weights_NHTS: Float32[np.ndarray, "N H T S"]
  # What the weights follow from; None where a file of another model has none.
  query_NHTK: Float32[np.ndarray, "N H T K"] | None = None
  key_NHSK: Float32[np.ndarray, "N H S K"] | None = None
  value_NHSV: Float32[np.ndarray, "N H S V"] | None = None


@dataclasses.dataclass(frozen=True)
class SentenceAttention:
  """A sentence, its output, and the attention between them.

  A model of ours has all three attentions; another may have one or two.
  """

  source_text: str
  target_text: str
  maps: dict[str, AttentionMap]  # by the names in ATTENTIONS
  parse: Parse | None = None  # of a parser's output

  @property
  def first(self) -> AttentionMap:
    """The attention that is shown first: the cross-attention, if there is one."""
    return self.maps.get("cross") or next(iter(self.maps.values()))

  def labels(self) -> dict[str, tuple[list[str], list[str]]]:
    """Returns each attention's (queries, keys) for display.

    An unknown one is shown as "彼 <unk>", a symbol of a tree with its words, "NP the dog".
    """
    labels = {}
    for name, one in self.maps.items():
      queries_text, keys_text = self._texts(name)
      queries, keys = _labels(one.queries, queries_text), _labels(one.keys, keys_text)
      if self.parse and name != "encoder":
        queries = _with_words(one.queries, self.parse)
      if self.parse and name == "decoder":
        keys = [keys[0], *queries[:-1]]
      labels[name] = queries, keys
    return labels

  def _texts(self, name: str) -> tuple[str, str]:
    """Returns the texts that an attention's queries and keys are from."""
    queries = self.source_text if name == "encoder" else self.target_text
    keys = self.target_text if name == "decoder" else self.source_text
    return queries, keys

  def unknown_words(self) -> list[str]:
    """Returns the words of both texts that the vocabulary lacks, as far as they can be found."""
    found = []
    by_text = {}  # text -> its pieces
    for name, one in self.maps.items():
      queries_text, keys_text = self._texts(name)
      by_text.update({queries_text: one.queries, keys_text: one.keys})
    for text, pieces in by_text.items():
      found += [word for word, _ in with_unknown(pieces, text) if word]
    return found


def _with_words(symbols: Sequence[str], parse: Parse) -> list[str]:
  pairs = zip(symbols, parse.words_beside(), strict=True)
  return [f"{symbol} {words}".strip() for symbol, words in pairs]


def _labels(pieces: Sequence[str], text: str) -> list[str]:
  return [f"{word} {piece}".strip() for word, piece in with_unknown(pieces, text)]


def with_unknown(pieces: Sequence[str], text: str) -> list[tuple[str, str]]:
  """Returns (text, piece) of each piece: of an unknown one the text it stands for, else "".

  The text is what stands between the pieces before and after, found one after another. It stays ""
  where the tokenizer has changed the text so much that these are not found.
  """
  found = [("", piece) for piece in pieces]
  end = 0  # of what has been found
  waiting = None  # the place of an unknown piece
  for place, piece in enumerate(pieces):
    if piece == UNKNOWN:
      waiting = place if waiting is None else waiting
      continue
    known = piece.removesuffix("@@").replace("▁", " ").strip()
    begin = len(text) if piece == "</s>" else text.find(known, end)
    if begin < 0 or not known:
      continue
    if waiting is not None:
      found[waiting] = (text[end:begin].strip(), UNKNOWN)
      waiting = None
    end = begin + len(known)
  if waiting is not None and "</s>" not in pieces:
    found[waiting] = (text[end:].strip(), UNKNOWN)
  return found


def sentence_attention(
  translator: TrainedModel, source: str, target: str | None = None, is_preprocessed: bool = False
) -> SentenceAttention:
  """Returns the attention for a sentence and its output, or for a given output.

  Args:
    translator: the trained model.
    source: the sentence (for a parser: space-separated words).
    target: the given output (for a parser: a tree in brackets); None: the model's own.
    is_preprocessed: whether source and target have been through the run's preprocessing.

  Raises:
    ValueError: a side is empty, or longer than the model takes.

  Example:
    model = transformer_jax.load("runs/quickstart")
    cross = sentence_attention(model, "forty two").maps["cross"]
    cross.weights_NHTS[-1, 0]  # the last layer's first head: a row for each of cross.queries
  """
  found = translator.attention(source, target, is_preprocessed)
  words = queries_and_keys(found["source"], found["target"])
  maps = {}
  for name in ATTENTIONS:
    queries, keys = words[name]
    vectors = found["vectors"][name]
    maps[name] = AttentionMap(
      queries=queries,
      keys=keys,
      weights_NHTS=found[name],
      query_NHTK=vectors["query"],
      key_NHSK=vectors["key"],
      value_NHSV=vectors["value"],
    )
  parse = parse_of(translator.task, found["target_text"])
  return SentenceAttention(source, found["target_text"], maps, parse)


def queries_and_keys(
  source: list[str], target: list[str]
) -> dict[str, tuple[list[str], list[str]]]:
  """Returns what attends and what is attended to in each of the three attentions.

  Args:
    source, target: the sub-words of the sentence and of its output.
  """
  return dict(
    encoder=(source, source), decoder=(target, [START, *target[:-1]]), cross=(target, source)
  )


def map_to_json(
  queries: list[str], keys: list[str], weights_NHTS: Float32[np.ndarray, "N H T S"]
) -> dict[str, Any]:
  """Returns one of the three maps of attention.json."""
  rounded_NHTS = np.round(weights_NHTS.astype(np.float64), 8)
  return dict(queries=queries, keys=keys, weights=rounded_NHTS.tolist())


def to_json(attention: SentenceAttention) -> dict[str, Any]:
  """Returns the sentence's attention as lists and numbers, the format of attention.json.

  docs/other-models.md describes it; `given_weights` reads it.

  Returns:
    dict: "source", "target" (texts), and for each of "encoder", "decoder", "cross" a dict of
    "queries" and "keys" (sub-words) and "weights", lists by layer, head, query, key, to 8 decimals.
  """
  result: dict[str, Any] = dict(source=attention.source_text, target=attention.target_text)
  for name, one in attention.maps.items():
    result[name] = map_to_json(one.queries, one.keys, one.weights_NHTS)
  return result
