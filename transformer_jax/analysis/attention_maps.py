"""All attention of a model for one sentence: the weights of every head, and the queries, keys and values they come from."""

import dataclasses

import numpy as np

from transformer_jax.runs.build import longest_source

ATTENTIONS = ("encoder", "decoder", "cross")
START = "<start>"  # what stands before the first word of the output

_MODULES = dict(encoder=("encoder", "self_attention"), decoder=("decoder", "self_attention"), cross=("decoder", "cross_attention"))


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
    translator: a Translator.
    source: the sentence (for a parser: words between spaces).
    target: the output to look at (for a parser: a tree in brackets); None: the model's own.
    is_preprocessed: whether source and target have been through the run's preprocessing.

  Raises:
    ValueError: there is nothing to look at, or too much.
  """
  task = translator.task
  text = translator.translate([source], is_preprocessed)[0] if target is None else target
  limit = longest_source(translator.config)
  source_S = task.encode_source(source, is_preprocessed)
  target_T = task.encode_target(text, is_preprocessed or target is None) if text else []
  if not text or len(source_S) == 1:
    raise ValueError("there is nothing to look at: the sentence or its output is empty")
  for name, tokens in (("sentence", source_S), ("output", target_T)):
    if len(tokens) > limit:
      raise ValueError(f"the {name} has {len(tokens)} tokens, and the model takes {limit} (--max_source_length)")
  weights, state = translator.model.apply(
      {"params": translator.params}, np.array([source_S], np.int32), np.array([target_T], np.int32), method="attention_weights",
      capture_intermediates=lambda module, _: module.name in ("query", "key", "value"), mutable=["intermediates"])
  source_pieces, target_pieces = task.source_pieces(source_S), task.target_pieces(target_T)
  words = dict(encoder=(source_pieces, source_pieces), decoder=(target_pieces, [START, *target_pieces[:-1]]), cross=(target_pieces, source_pieces))
  maps = {name: AttentionMap(*words[name], np.asarray(weights[name][:, 0], np.float32), *_vectors(state["intermediates"], name)) for name in ATTENTIONS}
  return SentenceAttention(source, text, maps)


def _vectors(intermediates, name):
  """(queries, keys, values) of an attention, [N, H, positions, width]."""
  stack, module = _MODULES[name]
  layers = [intermediates[stack][f"layer_{number}"][module] for number in range(len(intermediates[stack]))]
  return tuple(np.stack([np.asarray(layer[kind]["__call__"][0][0], np.float32).swapaxes(0, 1) for layer in layers]) for kind in ("query", "key", "value"))


def to_json(attention):
  """The sentence's attention as lists and numbers: the format of attention.json.

  Returns:
    dict: "source", "target" (texts), and for each of "encoder", "decoder", "cross" a dict of "queries" and "keys" (sub-words) and "weights"
    [layer][head][query][key], to 8 decimals.
  """
  rounded = lambda array: np.round(array.astype(np.float64), 8).tolist()
  return dict(source=attention.source_text, target=attention.target_text,
              **{name: dict(queries=one.queries, keys=one.keys, weights=rounded(one.weights_NHTS)) for name, one in attention.maps.items()})
