"""Tables of results as lines of Markdown: a long one for comparison, a short one to begin with."""

import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from transformer_jax.analysis.ablation.outcome import MAIN_SCORES
from transformer_jax.analysis.markdown import table
from transformer_jax.analysis.results.rows import Row, Run
from transformer_jax.errors import DataError

# What no run records. Experiment -> its "title", and "sets": name of a set -> its "words" and the
# "published" score ("score", "by"). Name of a speed -> its "title" and "speed": "file", "work",
# labels of "ours" and "theirs", "unit", "of".
About = Mapping[str, Mapping[str, Any]]

_REVISION = 7  # letters
_DIRTY = "-dirty"


def long_table(rows: Sequence[Row], about: About, folder: str) -> list[str]:
  """Returns the lines of a table with all that a reader needs to compare, and its signatures.

  Args:
    rows: the results.
    about: titles and published scores.
    folder: of the JSONs, as a link from the page.
  """
  header = [
    "experiment",
    "set",
    "published",
    "ours",
    "seeds",
    "score",
    "updates x target tokens",
    "time of training",
    "trained on",
    "revision",
  ]
  lines = table(header, [_long_cells(row, about, folder) for row in rows])
  of_bleu = [row.evaluation for row in rows if row.evaluation["main_score"] == "bleu"]
  if signatures := dict.fromkeys(evaluation["signature"] for evaluation in of_bleu):
    lines += ["", "Signatures of BLEU:", "", *(f"- `{signature}`" for signature in signatures)]
  return lines


def _tokens_of_an_update(run: Mapping[str, Any]) -> float:
  return run["training"]["target_tokens"] / max(run["training"]["updates"], 1)


def _long_cells(row: Row, about: About, folder: str) -> list[str]:
  size = f"{row.evaluation['sentences']:,} sentences"
  updates = sorted({run["training"]["updates"] for run in row.runs})
  updates_of_all = " to ".join(f"{count:,}" for count in dict.fromkeys((updates[0], updates[-1])))
  tokens, _ = row.mean_and_sd(_tokens_of_an_update)
  return [
    f"`{row.experiment}.flags`",
    f"{_set(row, about)}, {size}",
    _beside(row, about) or "-",
    f"**{_score(row)}**",
    ", ".join(f"[{run['seed']}]({folder}/{run['file']})" for run in row.runs),
    _how_scored(row),
    f"{updates_of_all} x {tokens:,.0f}",
    _time(row),
    _listed(_machine(start) for run in row.runs for start in run["training"]["starts"]),
    _listed(_revision(start) for run in row.runs for start in run["training"]["starts"]),
  ]


def _about_set(row: Row, about: About) -> Mapping[str, Any]:
  return about.get(row.experiment, {}).get("sets", {}).get(row.evaluation["set"], {})


def _set(row: Row, about: About) -> str:
  return _about_set(row, about).get("words", row.evaluation["set"])


def _listed(parts: Iterable[str]) -> str:
  """Returns the different parts, in their order."""
  return ", ".join(dict.fromkeys(parts))


def _main_score(run: Run) -> float | None:
  return run["evaluation"][run["evaluation"]["main_score"]]


def _score(row: Row) -> str:
  """Returns the main score, and its deviation over seeds."""
  mean, sd = row.mean_and_sd(_main_score)
  is_share = row.evaluation["main_score"] == "exact_match"
  if mean is None:
    return "not finite"
  scale, unit = (100, "%") if is_share else (1, "")
  spread = "" if sd is None else f" +- {scale * sd:.2f}"
  return f"{scale * mean:.2f}{spread}{unit}"


def _how_scored(row: Row) -> str:
  """Returns which score it is, how it was searched, and the mean of the further scores."""
  evaluation = row.evaluation
  beam = evaluation["beam_size"]
  parts = [_kind(row), f"beam {beam}" if beam > 1 else "greedy"]
  if evaluation["constrained"]:
    parts.append("constrained")
  if (count := len(evaluation["steps"])) > 1:
    parts.append(f"mean of the last {count} checkpoints")
  others = [f"{name} {text}" for name, text in _further_scores(row) if text]
  return ", ".join(parts) + (f" ({'; '.join(others)})" if others else "")


def _kind(row: Row) -> str:
  evaluation = row.evaluation
  if evaluation["main_score"] == "bleu" and evaluation.get("name") == "sacrebleu":
    settings = dict(part.split(":", 1) for part in evaluation["signature"].split("|"))
    return f"sacreBLEU {settings['tok']}"
  if evaluation["main_score"] == "bleu":
    return "BLEU on the set's tokens"
  return "labeled F1" if evaluation["main_score"] == "f1" else "exact match"


def _further_scores(row: Row) -> Iterable[tuple[str, str]]:
  def mean(*path: str, digits: int = 1, unit: str = "") -> str:
    found, _ = row.mean_and_sd(lambda run: _inside(run["evaluation"], path))
    return "" if found is None else f"{found:.{digits}f}{unit}"

  if row.evaluation["main_score"] == "bleu":
    yield "chrF", mean("chrf")
    yield "the paper's BLEU", mean("paper_bleu", "score", digits=2)
  yield "complete match", mean("complete_match", unit="%")
  yield "repaired", mean("repair_rate", unit="%")
  yield "perplexity", mean("perplexity", digits=3)


def _inside(content: Any, path: Sequence[str]) -> Any:
  """Returns what stands under these names; None if there is none."""
  for name in path:
    content = content.get(name) if isinstance(content, dict) else None
  return content


def _time(row: Row) -> str:
  """Returns the mean time of a training; "-" if a run did not record it."""
  return f"{wall}, {processor}" if (wall := _wall(row)) and (processor := _processor(row)) else "-"


def _wall(row: Row) -> str:
  mean, _ = row.mean_and_sd(lambda run: run["training"]["wall_seconds"])
  return "" if mean is None else f"{_minutes(mean)} by the clock"


def _processor(row: Row) -> str:
  mean, _ = row.mean_and_sd(lambda run: run["training"]["processor_seconds"])
  return "" if mean is None else f"{_minutes(mean)} of processor"


def _minutes(seconds: float) -> str:
  minutes = seconds / 60
  return f"{minutes:.1f} minutes" if minutes < 10 else f"{minutes:,.0f} minutes"


def _is_cpu(start: Mapping[str, Any]) -> bool:
  return bool(start["hardware"]) and start["hardware"]["device"].endswith(" cpu")


def _machine(start: Mapping[str, Any]) -> str:
  hardware = start["hardware"]
  if not hardware:
    return "not recorded"
  if not _is_cpu(start):
    return hardware["device"]
  cores = hardware["usable_cores"]
  return f"{cores} core{'s' if cores > 1 else ''} of {hardware['processor']}"


def _revision(start: Mapping[str, Any]) -> str:
  revision = start["git_revision"] or "not recorded"
  if len(revision.removesuffix(_DIRTY)) < 40:
    return revision
  return revision[:_REVISION] + (_DIRTY if revision.endswith(_DIRTY) else "")


def _beside(row: Row, about: About, unit: str = "") -> str:
  """Returns the score beside which ours stands, and whose it is; "" if there is none.

  Without a published one, trees have the right-branching tree of the same words.
  """
  if published := _about_set(row, about).get("published"):
    by = f"of {published['by']}" if unit else f"({published['by']})"
    return f"{published['score']}{unit} {by}"
  baseline = _inside(row.evaluation, ["right_branching_f1", "labelled"])
  if baseline is None:
    return ""
  by = "of the right-branching tree" if unit else "(right-branching tree)"
  return f"{baseline:.1f}{unit} {by}"


def short_table(
  items: Sequence[Row | str], about: About, folder: str, page: pathlib.Path
) -> list[str]:
  """Returns the lines of a table of a few results: what, ours, beside.

  Of an experiment that has been scored on test, what it reached on valid is left out.

  Args:
    items: the results, or names of speeds in `about`.
    about: the titles.
    folder: of the JSONs, as a link from the page.
    page: where the table stands, for the files of the speeds.

  Raises:
    DataError: a speed cannot be found.
  """
  tested = {each.experiment for each in items if isinstance(each, Row) and _is_test(each)}
  cells = []
  for item in items:
    if isinstance(item, Row):
      if item.experiment in tested and not _is_test(item):
        continue
      cells.append(_short_cells(item, about, folder))
    else:
      cells.append(_speed_cells(about[item], page.parent))
  return table(["what", "ours", "beside"], cells)


def _is_test(row: Row) -> bool:
  return row.evaluation["set"] == "test"


def _short_cells(row: Row, about: About, folder: str) -> list[str]:
  title = about.get(row.experiment, {}).get("title", f"`{row.experiment}.flags`")
  is_constrained = ", constrained search" if row.evaluation["constrained"] else ""
  unit = f" {MAIN_SCORES[row.evaluation['main_score']]}"
  count = len(row.runs)
  seeds = f", {count} seeds" if count > 1 else ""
  # On a CPU the clock runs on while other work has the cores.
  is_on_cpu = all(_is_cpu(start) for run in row.runs for start in run["training"]["starts"])
  time = _processor(row) if is_on_cpu else _wall(row)
  after = f" after {time}" if time else ""
  return [
    f"{title}, {_set(row, about)}{is_constrained}",
    f"[**{_score(row)}**]({folder}/{row.runs[0]['file']}){unit}{after}{seeds}",
    _beside(row, about, unit) or "-",
  ]


def _speed_cells(about: Mapping[str, Any], folder: pathlib.Path) -> list[str]:
  """Returns a row on a line of a benchmark, and another system's."""
  speed = about["speed"]
  ours, theirs = (
    _tokens_per_second(folder / speed["file"], speed["work"], speed[side])
    for side in ("ours", "theirs")
  )
  return [
    about["title"],
    f"[**{ours:,.0f}**]({speed['file']}) {speed['unit']}",
    f"{theirs:,.0f} of {speed['of']}: {ours / theirs:.2f} times as fast",
  ]


def _tokens_per_second(path: pathlib.Path, work: str, label: str) -> float:
  try:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
  except (OSError, ValueError) as error:
    raise DataError(path, f"cannot be read: {error}") from None
  found = [line for line in lines if (line.get("work"), line.get("label")) == (work, label)]
  if len(found) != 1:
    raise DataError(path, f"has {len(found)} lines of {work} by {label}", "there must be one")
  return found[0]["tokens_per_second"]
