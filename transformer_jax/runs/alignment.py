"""Word alignment by attention: which words of a sentence its translation's words come from.

A second pass over the finished output gives cross-attention weights for each of its tokens: those
of the position that predicts the token, or of the next one, which reads it. Some heads' mean is
summed over the tokens of a source word and of an output word. An output word is linked to the
source word with the largest sum; to none, if the end sign has more. BUILD_NOTES.md has the
measurements behind this.
"""

import collections
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float32

from transformer_jax.config import EOS_ID, ModelConfig, split_list
from transformer_jax.errors import ConfigError, DataError
from transformer_jax.files import StrPath
from transformer_jax.runs.cut_sources import cut, longest_source
from transformer_jax.runs.measured_heads import read_heads
from transformer_jax.runs.search import Answer
from transformer_jax.runs.trained_model import TrainedModel
from transformer_jax.tasks.translation import TranslationTask

POSITIONS = ("predicts", "reads")
Heads = list[tuple[int, int]]  # (layer, head) of the cross-attention, from 0
Links = list[tuple[int, int]]  # (source word, output word), from 0
_GROUP = 32  # sentences whose outputs are aligned together

# An output of a sentence: (the sentence, the output's tokens without EOS, its text).
_Output = tuple[str, Sequence[int], str]


class Aligner:
  """Links the words of sentences and outputs.

  Args:
    translator: a translation run.
    heads: the heads that are asked; see `heads_of_run`.
    is_preprocessed: the sentences have been through the run's preprocessing.
    position: one of POSITIONS, which speaks for a token.

  Raises:
    TypeError: the run is no translation.

  Example:
    aligner = Aligner(model, heads_of_run(model, "runs/tatoeba"))
    ((answer,),) = model.n_best([sentence], 1)
    (links,) = aligner.links([(sentence, answer.tokens, answer.text)])
    print(answer.text, pharaoh(links))
  """

  def __init__(
    self,
    translator: TrainedModel,
    heads: Heads,
    is_preprocessed: bool = False,
    position: str = "predicts",
  ) -> None:
    if not isinstance(translator.task, TranslationTask):
      raise TypeError("only the outputs of a translation are aligned")
    self._translator = translator
    self._task = translator.task
    self._heads = heads
    self._is_preprocessed = is_preprocessed
    self._reads = position == "reads"
    self._limit = longest_source(translator.config)

  def links(self, outputs: Iterable[_Output]) -> Iterator[Links]:
    """Yields the links of each (sentence, the output's tokens without EOS, its text)."""
    outputs = list(outputs)
    sources = [self._task.encode_source(text, self._is_preprocessed) for text, _, _ in outputs]
    pairs = [
      (cut(source, self._limit), self._forced(tokens))
      for source, (_, tokens, _) in zip(sources, outputs, strict=True)
      if tokens
    ]
    weights = self._translator.cross_attention(pairs, self._heads)
    for text, tokens, output in outputs:
      if tokens:
        rows_TS = next(weights)[1 if self._reads else 0 :]
        yield self.links_of_weights(text, tokens, output, rows_TS)
      else:
        yield []

  def _forced(self, tokens: Sequence[int]) -> list[int]:
    """Returns the tokens to be predicted: to read the last one takes another position."""
    if not self._reads:
      return list(tokens)
    model = self._translator.config.model
    room = model.max_positions if model.positions == "learned" else len(tokens) + 1
    return [*tokens, EOS_ID][:room]

  def links_of_weights(
    self,
    text: str,
    tokens: Sequence[int],
    output: str,
    weights_TS: Float32[np.ndarray, "T S"],
  ) -> Links:
    """Returns the links of an output, by given weights of its tokens T on those of the sentence."""
    source_words = self._task.source_words(text, self._is_preprocessed)
    by_word = _by_word(source_words, self._task.target_words(tokens, output), weights_TS)
    links = []
    for output_word, shares in sorted(by_word.items()):
      # Of equal ones the first; None is the end sign.
      best = max(shares, key=lambda word: shares[word])
      if best is not None:
        links.append((best, output_word))
    return links

  def links_of_answers(
    self,
    sentences: "collections.deque[str]",
    n_best_lists: Iterable[list[Answer]],
    is_at_hand: Callable[[], bool] = lambda: True,
  ) -> Iterator[tuple[list[Answer], list[Links]]]:
    """Yields (the answers to a sentence, the links of each), a group of sentences at a time.

    Args:
      sentences: gets the sentences that `n_best_lists` answer, no later than their answers; those
        that are aligned are taken out.
      n_best_lists: the answers.
      is_at_hand: returns whether the next sentence can be read without waiting; if not, what was
        answered is aligned first.
    """
    group = []
    for n_best in n_best_lists:
      group.append((sentences.popleft(), n_best))
      if len(group) == _GROUP or not is_at_hand():
        yield from self._group(group)
        group = []
    yield from self._group(group)

  def _group(
    self, group: list[tuple[str, list[Answer]]]
  ) -> Iterator[tuple[list[Answer], list[Links]]]:
    """Yields the answers and links of a group."""
    outputs = ((text, answer.tokens, answer.text) for text, n_best in group for answer in n_best)
    links = self.links(outputs)
    for _, n_best in group:
      yield n_best, [next(links) for _ in n_best]


def _by_word(
  source_words: Sequence[int | None],
  output_words: Sequence[int | None],
  weights_TS: Float32[np.ndarray, "T S"],
) -> dict[int, dict[int | None, float]]:
  """Returns output word -> source word -> the sum of the weights of their tokens."""
  cut_words = [*source_words[: weights_TS.shape[1] - 1], None]
  by_word: dict[int, dict[int | None, float]] = {}
  # A table of positions may have no row that reads the last token.
  for output_word, weights_S in zip(output_words, weights_TS, strict=False):
    if output_word is None:
      continue
    shares = by_word.setdefault(output_word, {})
    for source_word, weight in zip(cut_words, weights_S.tolist(), strict=True):
      shares[source_word] = shares.get(source_word, 0.0) + weight
  return by_word


def heads_of_run(translator: TrainedModel, workdir: StrPath) -> Heads:
  """Returns the heads that align words in a run: all cross-attention heads of one layer.

  If `heads` was run, it is the layer that follows the order of the sentence most closely: whose
  heads have the highest mean "alignment" in heads.json. Else it is that of `default_heads`.

  Raises:
    DataError: heads.json was not written by `heads`, or is that of another model.
  """
  model = translator.config.model
  measured = read_heads(workdir, translator.steps)
  if measured is None:
    return default_heads(model)
  closeness_NH = np.full((model.num_layers, model.num_heads), np.nan)
  try:
    for row in measured["heads"]:
      if row["attention"] == "cross":
        closeness_NH[row["layer"], row["head"]] = row["alignment"]
  except (IndexError, KeyError, TypeError, ValueError):
    closeness_NH[:] = np.nan
  if np.isnan(closeness_NH).any():
    path = f"{workdir}/heads/heads.json"
    raise DataError(path, "does not have each cross-attention head", "run heads again")
  return _heads_of_layer(model, int(closeness_NH.mean(axis=1).argmax()))


def named_heads(names: str, model: ModelConfig) -> Heads:
  """Returns the heads of a list such as "1.2,2.4": layer and head, counted from 1.

  Raises:
    ConfigError: it is no such list, or the model has no such head.
  """
  heads = []
  for name in split_list(names):
    match = re.fullmatch(r"(\d+)\.(\d+)", name, re.ASCII)
    layer, head = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (1 <= layer <= model.num_layers and 1 <= head <= model.num_heads):
      last = f"{model.num_layers}.{model.num_heads}"
      raise ConfigError(
        "--alignment_heads", f"'{name}' is no head", f"name heads from 1.1 to {last}"
      )
    heads.append((layer - 1, head - 1))
  if not heads:
    raise ConfigError("--alignment_heads", "names no head", "name heads such as 1.1,1.2")
  return heads


def default_heads(model: ModelConfig) -> Heads:
  """Returns the cross-attention heads of the last layer, in deep models of the last but one.

  Up to three layers the last one made the fewest errors here. In six layers it is the fifth (Garg
  et al. 2019, "Jointly Learning to Align and Translate with Transformer Models").
  """
  is_deep = model.num_layers > 3
  return _heads_of_layer(model, model.num_layers - (2 if is_deep else 1))


def _heads_of_layer(model: ModelConfig, layer: int) -> Heads:
  return [(layer, head) for head in range(model.num_heads)]


def pharaoh(links: Links) -> str:
  """Returns links in Pharaoh's format, such as "0-0 2-1"."""
  return " ".join(f"{source}-{output}" for source, output in links)
