"""Draws attention as the paper's appendix does: two columns of words, a color for each head.

The lines between the words are as strong as the weights.
"""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from transformer_jax.analysis import plots
from transformer_jax.analysis.attention.maps import AttentionMap, SentenceAttention
from transformer_jax.config import Config, ModelConfig
from transformer_jax.errors import ConfigError
from transformer_jax.model.positions import sinusoids
from transformer_jax.training.schedule import noam_schedule

_SMALLEST = 0.02  # weights below it are not drawn
_MOST_LABELS = 25  # a heat map of more words has no words beside it
MOST_WORDS = 40  # a sentence of more sub-words has no figures, unless they are asked for

_TITLES = dict(
  encoder="encoder self-attention",
  decoder="decoder self-attention",
  cross="cross attention",
)
_KINDS = ("all_heads", "one_head", "one_word", "maps")  # of the figures of one sentence

Folder = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Selection:
  """The layer, the head and the output word that are drawn by themselves, counted from 1.

  By default they are the last layer, its cross-attention head with the sharpest weights, and the
  first word.
  """

  layer: int | None = None
  head: int | None = None
  word: int | None = None

  def check(self, num_layers: int, num_heads: int) -> None:
    """Checks the numbers.

    Raises:
      ConfigError: the model has no such layer or head, or the word is below 1.
    """
    _check_number("layer", self.layer, num_layers)
    _check_number("head", self.head, num_heads)
    if self.word is not None and self.word < 1:
      raise ConfigError(f"--word={self.word}", "words are counted from 1")

  def check_word(self, attention: SentenceAttention) -> None:
    """Checks that the output has the word.

    Raises:
      ConfigError: it has fewer words.
    """
    count = len(attention.first.queries)
    if self.word is not None and self.word > count:
      raise ConfigError(f"--word={self.word}", f"the output has {count} sub-words", f"1 to {count}")

  def view(self) -> dict[str, int]:
    """Returns what the page shows first, counted from 0."""
    asked = dict(layer=self.layer, head=self.head, query=self.word)
    return {name: number - 1 for name, number in asked.items() if number is not None}


def words_shown(attention: SentenceAttention) -> int:
  """Returns the number of sub-words of the longer side."""
  return max(len(words) for one in attention.maps.values() for words in (one.queries, one.keys))


def _check_number(name: str, value: int | None, limit: int) -> None:
  if value is not None and not 1 <= value <= limit:
    raise ConfigError(f"--{name}={value}", f"the model has {limit}", f"1 to {limit}")


def missing_characters(attention: SentenceAttention) -> str:
  """Returns the characters of the words that no font of the figures has."""
  words = [word for one in attention.maps.values() for word in (*one.queries, *one.keys)]
  return plots.missing_characters(words)


def remove(folder: Folder) -> None:
  """Removes the figures of another sentence, which `draw` may not replace."""
  for name in itertools.product(_TITLES, _KINDS):
    for ending in ("png", "pdf"):
      (pathlib.Path(folder) / f"{'_'.join(name)}.{ending}").unlink(missing_ok=True)


def draw(
  attention: SentenceAttention, config: Config | None, folder: Folder, selection: Selection
) -> list[pathlib.Path]:
  """Writes all figures for a sentence as PNG and PDF; returns their paths.

  Those of positions and of the learning rate need the run's settings. Learned positions have none.
  """
  num_layers, num_heads = attention.first.weights_NHTS.shape[:2]
  layer = (selection.layer or num_layers) - 1
  head = _sharpest_head(attention.first, layer) if selection.head is None else selection.head - 1
  all_heads = range(num_heads)
  paths = []
  labels = attention.labels()
  for name, weights in attention.maps.items():
    one = dataclasses.replace(weights, queries=labels[name][0], keys=labels[name][1])
    where = f"{_TITLES[name]}, layer {layer + 1}"
    begin = f"{folder}/{name}"
    word = min(selection.word or 1, len(one.queries)) - 1
    lines = _Lines(one, layer)
    paths += lines.draw(all_heads, f"{where}, all heads", f"{begin}_all_heads")
    paths += lines.draw([head], f"{where}, head {head + 1}", f"{begin}_one_head")
    paths += lines.draw(all_heads, f"{where}, one word", f"{begin}_one_word", word)
    paths += _draw_maps(one, _TITLES[name], f"{begin}_maps")
  if config is None:
    return paths
  if config.model.positions in ("sinusoidal", "sinusoidal_concatenated"):
    paths += _draw_positions(config.model, folder)
  return [*paths, *_draw_learning_rate(config, folder)]


def _sharpest_head(one: AttentionMap, layer: int) -> int:
  """Returns the head with the largest mean, over queries, of the largest weight."""
  largest_HT = one.weights_NHTS[layer].max(axis=-1)
  return int(np.argmax(largest_HT.mean(axis=-1)))


class _Lines:
  """Draws two columns of words, and lines from each attending word to those it attends to."""

  def __init__(self, one: AttentionMap, layer: int) -> None:
    self._queries = one.queries
    self._keys = one.keys
    self._weights_HTS = one.weights_NHTS[layer]

  def draw(
    self, heads: Sequence[int], title: str, path: str, word: int | None = None
  ) -> list[pathlib.Path]:
    """Writes the figure of these heads, for all queries or for query `word` only."""
    rows = max(len(self._queries), len(self._keys))
    figure, (panel,) = plots.axes(width=4.5, height=max(2.5, 0.28 * rows + 1.0))
    panel.set_axis_off()
    panel.set_xlim(-1.4, 2.4)
    panel.set_ylim(rows - 0.4, -1)
    panel.set_title(title, fontsize=10)
    _write_words(panel, self._queries, -0.05, "right", bold=word)
    _write_words(panel, self._keys, 1.05, "left")
    queries = range(len(self._queries)) if word is None else [word]
    for head in heads:
      middle = (len(self._weights_HTS) - 1) / 2
      shift = 0.04 * (head - middle) if len(heads) > 1 else 0.0  # so that none hides another
      self._draw_head(panel, head, queries, shift)
    figure.legend(
      handles=_key(heads), loc="outside lower center", ncols=4, frameon=False, fontsize=7
    )
    return plots.save(figure, path)

  def _draw_head(self, panel: Axes, head: int, queries: Iterable[int], shift: float) -> None:
    weights_TS = self._weights_HTS[head]
    places = [(t, s) for t in queries for s in np.flatnonzero(weights_TS[t] >= _SMALLEST)]
    color = _color(head)
    panel.add_collection(
      LineCollection(
        [[(0, t + shift), (1, s + shift)] for t, s in places],
        colors=[(color, min(1.0, float(weights_TS[t, s]))) for t, s in places],
        linewidths=1.6,
        linestyles=_style(head),
        capstyle="round",
      )
    )


def _color(head: int) -> str:
  return plots.HEAD_COLORS[head % len(plots.HEAD_COLORS)]


def _style(head: int) -> Literal["solid", "dashed"]:
  """Returns how a head's lines are drawn: dashed where its color has been used before."""
  return "solid" if head < len(plots.HEAD_COLORS) else "dashed"


def _key(heads: Sequence[int]) -> list[Line2D]:
  """Returns the key of a figure of lines: each head's color, and how strong a weight is drawn."""
  lines = [
    Line2D([], [], color=_color(h), linestyle=_style(h), label=f"head {h + 1}") for h in heads
  ]
  weights = (0.1, 0.5, 1.0)
  return [
    *lines,
    *(Line2D([], [], color=plots.BLACK, alpha=w, label=f"weight {w:g}") for w in weights),
  ]


def _write_words(
  panel: Axes, words: Sequence[str], x: float, alignment: str, bold: int | None = None
) -> None:
  """Writes a column of words, the one with number `bold` in bold."""
  for place, word in enumerate(words):
    panel.text(
      x,
      place,
      plots.plain(word),
      ha=alignment,
      va="center",
      fontsize=9,
      weight="bold" if place == bold else None,
    )


def _draw_maps(one: AttentionMap, title: str, path: str) -> list[pathlib.Path]:
  """Draws a heat map for each layer (down) and head (across).

  The color scale ends at the largest weight of all, so that attention spread thin is seen too.
  """
  num_layers, num_heads, num_queries, num_keys = one.weights_NHTS.shape
  has_words = max(num_queries, num_keys) <= _MOST_LABELS
  size = max(1.3, 0.13 * max(num_queries, num_keys)) if has_words else 1.3
  height = size * num_queries / max(num_queries, num_keys) + 0.25
  figure, grid = plots.grid(num_layers, num_heads, width=size, height=height)
  largest = float(one.weights_NHTS.max())
  images = []
  for layer, head in np.ndindex(num_layers, num_heads):
    panel = grid[layer][head]
    weights_TS = one.weights_NHTS[layer, head]
    images.append(plots.heat_map(panel, weights_TS, "viridis", low=0, high=largest))
    panel.set_xticks([])
    panel.set_yticks([])
    if has_words and head == 0:
      panel.set_yticks(range(num_queries), list(map(plots.plain, one.queries)), fontsize=6)
    if has_words and layer == num_layers - 1:
      words = list(map(plots.plain, one.keys))
      panel.set_xticks(range(num_keys), words, fontsize=6, rotation=90)
    panel.set_title(f"{layer + 1}.{head + 1}", fontsize=8)
  figure.colorbar(images[-1], ax=np.array(grid).ravel().tolist(), label="weight")
  figure.suptitle(f"{title}: layer.head, a row for each word that attends", fontsize=10)
  return plots.save(figure, path)


def _draw_positions(model: ModelConfig, folder: Folder) -> list[pathlib.Path]:
  """Draws the positional encoding of the first 100 positions (Section 3.5)."""
  figure, (panel,) = plots.axes()
  table = sinusoids(100, model.d_model, model.positions)
  image = plots.heat_map(panel, table, "RdBu", low=-1, high=1)
  panel.grid(visible=False)
  panel.set_xlabel("column")
  panel.set_ylabel("position")
  figure.colorbar(image, ax=panel)
  return plots.save(figure, f"{folder}/positional_encoding")


def _draw_learning_rate(config: Config, folder: Folder) -> list[pathlib.Path]:
  """Draws the run's schedule (Section 5.3)."""
  train = config.train
  rate = noam_schedule(config.model.d_model, train.warmup_steps, train.learning_rate_scale)
  last_step = max(train.train_steps, 2 * train.warmup_steps)
  steps = np.unique(np.linspace(1, last_step, 400).astype(int))
  figure, (panel,) = plots.axes()
  panel.plot(steps, [float(rate(step)) for step in steps])
  panel.axvline(
    train.warmup_steps,
    color=plots.GRAY,
    linewidth=1,
    linestyle=":",
    label=f"end of warm-up, {train.warmup_steps:,}",
  )
  panel.set_xlabel("update")
  panel.set_ylabel("learning rate")
  panel.legend(frameon=False)
  return plots.save(figure, f"{folder}/learning_rate")
