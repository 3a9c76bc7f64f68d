"""Attention drawn as in the paper's appendix: words in two columns, lines as strong as the weights, a colour for each head."""

import numpy as np

from transformer_jax.analysis import plots
from transformer_jax.model.head_gates import ATTENTIONS
from transformer_jax.reference.positions import positional_encoding
from transformer_jax.training.schedule import noam_schedule

_SMALLEST = 0.02  # weights below are not drawn


def draw(attention, config, folder, layer=None, head=None, word=None):
  """Writes all figures of a sentence as PNG and PDF; returns their paths.

  Args:
    attention: a SentenceAttention.
    config: the run's Config.
    folder: where to.
    layer, head, word: which to show where one is shown (from 0; `word` is a position of the output); by default the last layer, and in
      it the head of the cross attention whose weights are the most concentrated, and the first word.
  """
  layer = config.model.num_layers - 1 if layer is None else layer
  head = _sharpest_head(attention.maps["cross"], layer) if head is None else head
  paths = []
  for name, one in attention.maps.items():
    heads = range(config.model.num_heads)
    paths += _lines(
      one,
      layer,
      heads,
      None,
      f"{ATTENTIONS[name]}, layer {layer + 1}, all heads",
      f"{folder}/{name}_all_heads",
    )
    paths += _lines(
      one,
      layer,
      [head],
      None,
      f"{ATTENTIONS[name]}, layer {layer + 1}, head {head + 1}",
      f"{folder}/{name}_one_head",
    )
    place = min(word or 0, len(one.queries) - 1)
    paths += _lines(
      one,
      layer,
      heads,
      place,
      f"{ATTENTIONS[name]}, layer {layer + 1}, one word",
      f"{folder}/{name}_one_word",
    )
    paths += _maps(one, ATTENTIONS[name], f"{folder}/{name}_maps")
  return [*paths, *_positions(config.model.d_model, folder), *_learning_rate(config, folder)]


def _sharpest_head(one, layer):
  """The head whose largest weight is the largest in the mean over positions."""
  return int(np.argmax(one.weights_NHTS[layer].max(axis=-1).mean(axis=-1)))


def _lines(one, layer, heads, word, title, path):
  """Two columns of words; lines from each that looks to each looked at, or from one word alone."""
  rows = max(len(one.queries), len(one.keys))
  figure, (panel,) = plots.axes(width=4.5, height=max(2.5, 0.28 * rows + 0.6))
  panel.set_axis_off()
  panel.set_xlim(-1.4, 2.4)
  panel.set_ylim(rows - 0.4, -1)
  panel.set_title(title, fontsize=10)
  for words, x, side in ((one.queries, 0, "right"), (one.keys, 1, "left")):
    for place, text in enumerate(words):
      is_bold = x == 0 and place == word
      panel.text(
        x - 0.05 if side == "right" else x + 0.05,
        place,
        plots.plain(text),
        ha=side,
        va="center",
        fontsize=9,
        weight="bold" if is_bold else None,
      )
  for number in heads:
    weights_TS = one.weights_NHTS[layer, number]
    shift = (
      0.04 * (number - (len(one.weights_NHTS[layer]) - 1) / 2) if len(heads) > 1 else 0.0
    )  # so that none hides another
    for query, key in np.argwhere(weights_TS >= _SMALLEST):
      if word in (None, query):
        panel.plot(
          [0, 1],
          [query + shift, key + shift],
          color=plots.COLORS[number % len(plots.COLORS)],
          alpha=min(1.0, float(weights_TS[query, key])),
          linewidth=1.6,
          solid_capstyle="round",
        )
  return plots.save(figure, path)


def _maps(one, title, path):
  """A heat map for each layer (down) and head (across)."""
  num_layers, num_heads = one.weights_NHTS.shape[:2]
  figure, grid = plots.grid(
    num_layers,
    num_heads,
    width=1.3,
    height=1.3 * len(one.queries) / max(len(one.queries), len(one.keys)) + 0.25,
  )
  for layer in range(num_layers):
    for head in range(num_heads):
      panel = grid[layer][head]
      panel.imshow(
        one.weights_NHTS[layer, head],
        cmap="viridis",
        vmin=0,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
      )
      panel.set_xticks([])
      panel.set_yticks([])
      panel.set_title(f"{layer + 1}.{head + 1}", fontsize=8)
  figure.suptitle(f"{title}: layer.head, a row for each word that looks", fontsize=10)
  return plots.save(figure, path)


def _positions(d_model, folder):
  """The positional encoding (Section 3.5) of the first 100 positions."""
  figure, (panel,) = plots.axes()
  image = panel.imshow(
    positional_encoding(100, d_model),
    cmap="RdBu",
    vmin=-1,
    vmax=1,
    aspect="auto",
    interpolation="nearest",
  )
  panel.grid(visible=False)
  panel.set_xlabel("column")
  panel.set_ylabel("position")
  figure.colorbar(image, ax=panel)
  return plots.save(figure, f"{folder}/positional_encoding")


def _learning_rate(config, folder):
  """The run's schedule (Section 5.3)."""
  train = config.train
  rate = noam_schedule(config.model.d_model, train.warmup_steps, train.learning_rate_scale)
  steps = np.unique(np.linspace(1, max(train.train_steps, 2 * train.warmup_steps), 400).astype(int))
  figure, (panel,) = plots.axes()
  panel.plot(steps, [float(rate(step)) for step in steps])
  panel.axvline(
    train.warmup_steps,
    color="#6b7280",
    linewidth=1,
    linestyle=":",
    label=f"end of warm-up, {train.warmup_steps:,}",
  )
  panel.set_xlabel("update")
  panel.set_ylabel("learning rate")
  panel.legend(frameon=False)
  return plots.save(figure, f"{folder}/learning_rate")
