"""All attention of a model for one sentence: the weights of every head, and the queries, keys and values they come from."""

import dataclasses

import numpy as np

from transformer_jax.model.head_gates import ATTENTIONS

START = "<start>"  # what stands before the first word of the output


@dataclasses.dataclass(frozen=True)
class AttentionMap:
  """One of the three attentions, over N layers and H heads, float32.

  Row t of the decoder's maps belongs to the position that says target word t; what it looks at are the words before, `START` first.
  """

  queries: list[str]  # the sub-words that look, T
  keys: list[str]  # the sub-words looked at, S
  weights_NHTS: np.ndarray
  query_NHTK: np.ndarray
  key_NHSK: np.ndarray
  value_NHSV: np.ndarray


@dataclasses.dataclass(frozen=True)
class SentenceAttention:
  """A sentence, its output, and how it came about."""

  source_text: str
  target_text: str
  maps: dict[str, AttentionMap]  # by the names in ATTENTIONS


def sentence_attention(translator, source, target=None, is_preprocessed=False):
  """The SentenceAttention of a sentence and its output, or a given one.

  Args:
    translator: a TrainedModel.
    source: the sentence (for a parser: words between spaces).
    target: the output to look at (for a parser: a tree in brackets); None: the model's own.
    is_preprocessed: whether source and target have been through the run's preprocessing.

  Raises:
    ValueError: there is nothing to look at, or too much.
  """
  found = translator.attention(source, target, is_preprocessed)
  words = dict(
    encoder=(found["source"], found["source"]),
    decoder=(found["target"], [START, *found["target"][:-1]]),
    cross=(found["target"], found["source"]),
  )
  maps = {
    name: AttentionMap(
      *words[name],
      found[name],
      *(found["vectors"][name][kind] for kind in ("query", "key", "value")),
    )
    for name in ATTENTIONS
  }
  return SentenceAttention(source, found["target_text"], maps)


def to_json(attention):
  """The sentence's attention as lists and numbers: the format of attention.json.

  Returns:
    dict: "source", "target" (texts), and for each of "encoder", "decoder", "cross" a dict of "queries" and "keys" (sub-words) and "weights"
    [layer][head][query][key], to 8 decimals.
  """
  rounded = lambda array: np.round(array.astype(np.float64), 8).tolist()
  return dict(
    source=attention.source_text,
    target=attention.target_text,
    **{
      name: dict(queries=one.queries, keys=one.keys, weights=rounded(one.weights_NHTS))
      for name, one in attention.maps.items()
    },
  )
