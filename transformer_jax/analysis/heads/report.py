"""`heads`: measures every head of a run, prunes them one after another, and writes table, JSON and figures."""

import math
import pathlib

import numpy as np

from transformer_jax.analysis import plots
from transformer_jax.analysis.heads.importance import HeadStudy, rank_correlation, within_layer
from transformer_jax.analysis.markdown import table
from transformer_jax.config import split_list
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.errors import DataError
from transformer_jax.files import as_workdir_error, atomic_write
from transformer_jax.model.head_gates import ATTENTIONS
from transformer_jax.runs.trained_model import TrainedModel
from transformer_jax.strict_json import json_text
from transformer_jax.workdir.versions import git_revision, versions

_CURVE_POINTS = 10


def report(
  workdir,
  output,
  *,
  overrides,
  split="valid",
  sentences=1000,
  bleu_sentences=200,
  random_orders=3,
  data_root=".",
  checkpoint="last",
  log=lambda message: None,
):
  """Runs the study; writes heads.json, heads.md and figures to the folder `output`.

  Args:
    workdir: folder of the run.
    output: folder, made if missing.
    overrides: decoding settings that replace the run's.
    split, sentences: the text that everything is measured on.
    bleu_sentences: how many of them are translated.
    random_orders: orders that the pruning by importance is compared with.
    data_root: folder that relative data paths start from.
    checkpoint: "best", "last" or a step, as `TrainedModel.load` takes it.
    log: function that hears of progress.

  Returns:
    The page, a list of lines.

  Raises:
    DataError: the split has no sentences.
  """
  with as_workdir_error(output):  # told before the study, not after it
    pathlib.Path(output).mkdir(parents=True, exist_ok=True)
  translator = TrainedModel.load(workdir, checkpoint, **overrides)
  data = translator.config.data
  pairs = [pair for pair, _ in zip(open_source(data, data_root).pairs(split), range(sentences))]
  if not pairs:
    raise DataError(f"--split={split}", "has no sentences", f"the run had no {split} data")
  study = HeadStudy(
    translator, pairs, split in split_list(data.preprocessed_splits), bleu_sentences
  )
  result = dict(
    run=pathlib.Path(workdir).name,
    steps=translator.steps,
    split=split,
    sentences=len(pairs),
    bleu_sentences=min(bleu_sentences, len(pairs)),
    score_name=translator.task.main_score,
    beam_size=translator.config.decode.beam_size,
    versions=versions(),
    git_revision=git_revision(),
  )
  result.update(_measured(study, log))
  result["pruning"] = _pruning(study, result["heads"], random_orders, log)
  atomic_write(f"{output}/heads.json", json_text(result, indent=1) + "\n")
  figures = _draw(result, translator.config.model, output)
  page = [
    *_lines(result),
    "",
    *(f"![{path.stem}]({path.name})" for path in figures if path.suffix == ".png"),
  ]
  atomic_write(f"{output}/heads.md", "\n".join(page) + "\n")
  return page


def _measured(study, log):
  """The whole model's figures, every head's, and how far the two rankings agree."""
  log("the whole model")
  perplexity, score = study.perplexity(study.open), study.score(study.open)
  log("importance by gradient, and what heads look at")
  importance, looks = study.importance(), study.looks()
  relative = within_layer(importance)
  rows = []
  for number, head in enumerate(study.heads, 1):
    log(f"head {number} of {len(study.heads)}: masked, and alone in its layer")
    masked, alone = study.without([head]), study.alone(head)
    rows.append(
      dict(
        attention=head[0],
        layer=head[1],
        head=head[2],
        importance=importance[head],
        importance_in_layer=relative[head],
        **looks[head],
        masked_perplexity=study.perplexity(masked),
        masked_score=study.score(masked),
        alone_perplexity=study.perplexity(alone),
        alone_score=study.score(alone),
      )
    )
  by_mask = [_rise(row["masked_perplexity"], perplexity) for row in rows]
  return dict(
    perplexity=perplexity,
    score=score,
    heads=rows,
    rank_correlation=rank_correlation([row["importance"] for row in rows], by_mask),
    rank_correlation_in_layer=rank_correlation(
      [row["importance_in_layer"] for row in rows], by_mask
    ),
  )


def _rise(masked: float, whole: float) -> float:
  """By how much the log-perplexity rises; NaN where that of the whole model is not finite."""
  return math.log(masked / whole) if math.isfinite(whole) else math.nan


def _pruning(study, rows, random_orders, log):
  """Perplexity and score with more and more heads closed: least important first, and in random orders."""
  heads = [(row["attention"], row["layer"], row["head"]) for row in rows]
  orders = {
    "least important first": [
      heads[i] for i in np.argsort([row["importance_in_layer"] for row in rows], kind="stable")
    ]
  }
  for seed in range(random_orders):
    orders[f"random order {seed + 1}"] = [
      heads[i] for i in np.random.default_rng(seed).permutation(len(heads))
    ]
  counts = sorted({round(len(heads) * share / _CURVE_POINTS) for share in range(_CURVE_POINTS)})
  curves = {}
  for name, order in orders.items():
    log(f"pruning: {name}")
    gates = [study.without(order[:count]) for count in counts]
    curves[name] = [
      dict(closed=count, perplexity=study.perplexity(g), score=study.score(g))
      for count, g in zip(counts, gates, strict=True)
    ]
  return curves


def _lines(result):
  """The page."""
  name, rows = result["score_name"].replace("_", " "), result["heads"]
  by_mask = sorted(rows, key=lambda row: row["masked_perplexity"])
  header = [
    "head",
    "importance",
    "in its layer",
    "confidence",
    "entropy",
    "most frequent offset",
    "role",
    "perplexity without",
    f"{name} without",
    "perplexity, alone",
    f"{name}, alone",
  ]
  cells = [
    [
      _name(row),
      f"{row['importance']:.3f}",
      f"{row['importance_in_layer']:.2f}",
      f"{row['confidence']:.2f}",
      f"{row['entropy']:.2f}",
      f"{row['offset']:+d} ({row['offset_share']:.0%})",
      row["role"],
      f"{row['masked_perplexity']:.3f}",
      f"{row['masked_score']:.2f}",
      f"{row['alone_perplexity']:.3f}",
      f"{row['alone_score']:.2f}",
    ]
    for row in rows
  ]
  curve = [
    [name, point["closed"], f"{point['perplexity']:.3f}", f"{point['score']:.2f}"]
    for name, points in result["pruning"].items()
    for point in points
  ]
  return [
    "## What each head is worth",
    "",
    f"{result['run']}, checkpoints {', '.join(map(str, result['steps']))}, revision {result['git_revision']}; {result['sentences']} sentences of "
    f"{result['split']}, {name} of the first {result['bleu_sentences']} with beam {result['beam_size']}. The whole model: perplexity "
    f"{result['perplexity']:.3f}, {name} {result['score']:.2f}.",
    "",
    f"By mask the most important head is {_name(by_mask[-1])} (perplexity {by_mask[-1]['masked_perplexity']:.3f} without it), the least "
    f"{_name(by_mask[0])} ({by_mask[0]['masked_perplexity']:.3f}). Rank correlation of the gradient's importance with the rise of the "
    f"log-perplexity under the mask: {result['rank_correlation']:.2f} ({result['rank_correlation_in_layer']:.2f} with importances "
    "normalised in their layer).",
    "",
    *table(header, cells),
    "",
    "## Pruning",
    "",
    *table(["order", "heads closed", "perplexity", name], curve),
  ]


def _name(row):
  return f"{row['attention']} {row['layer'] + 1}.{row['head'] + 1}"


def _draw(result, model, output):
  """Heat maps layer x head of each attention, and the pruning curves."""
  paths = []
  maps = {
    "importance": ("importance by gradient, nats", lambda row: row["importance"]),
    "masked": (
      "rise of log-perplexity without the head",
      lambda row: _rise(row["masked_perplexity"], result["perplexity"]),
    ),
    "confidence": ("confidence: mean of the largest weight", lambda row: row["confidence"]),
  }
  for name, (title, value) in maps.items():
    figure, panels = plots.axes(width=3.6, height=3.2, columns=3)
    values = [value(row) for row in result["heads"]]
    for panel, attention in zip(panels, ATTENTIONS, strict=True):
      grid = np.array(
        [v for v, row in zip(values, result["heads"], strict=True) if row["attention"] == attention]
      )
      image = panel.imshow(
        grid.reshape(model.num_layers, model.num_heads),
        cmap="viridis",
        vmin=min(0, min(values)),
        vmax=max(values),
        aspect="auto",
      )
      panel.grid(visible=False)
      panel.set_title(ATTENTIONS[attention])
      panel.set_xticks(range(model.num_heads), range(1, model.num_heads + 1))
      panel.set_yticks(range(model.num_layers), range(1, model.num_layers + 1))
      panel.set_xlabel("head")
    panels[0].set_ylabel("layer")
    figure.colorbar(image, ax=panels, label=title)
    paths += plots.save(figure, f"{output}/heads_{name}")
  figure, panels = plots.axes(columns=2)
  for panel, key, label in (
    (panels[0], "perplexity", "perplexity"),
    (panels[1], "score", result["score_name"].replace("_", " ")),
  ):
    for name, points in result["pruning"].items():
      is_random = name.startswith("random")
      panel.plot(
        [point["closed"] for point in points],
        [point[key] for point in points],
        marker="" if is_random else "o",
        color=plots.COLOURS[5] if is_random else plots.COLOURS[0],
        linewidth=1 if is_random else 2,
        label=name,
      )
    panel.set_xlabel("heads closed")
    panel.set_ylabel(label)
  panels[0].set_yscale("log")
  panels[1].legend(frameon=False, fontsize=8)
  return [*paths, *plots.save(figure, f"{output}/heads_pruning")]
