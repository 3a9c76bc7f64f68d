"""The table of an ablation as a page of Markdown, as JSON and as a figure."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from transformer_jax.analysis import plots
from transformer_jax.analysis.ablation.outcome import MAIN_SCORES
from transformer_jax.analysis.ablation.significance import LEVEL
from transformer_jax.analysis.markdown import table, wrapped
from transformer_jax.files import as_workdir_error, atomic_write
from transformer_jax.strict_json import json_text

_DIGITS = {"perplexity": 3, "bleu": 2, "f1": 2, "exact_match": 4}

Entry = dict[str, Any]  # a row, from `table.entries`


def write(
  found: Sequence[Entry], results: str | os.PathLike[str], title: str, command: str
) -> list[str]:
  """Writes table.md, table.json and a figure to the folder `results`.

  Args:
    found: the rows, from `table.entries`.
    results: folder, created if missing.
    title, command: heading of the page, and the command that makes it again.

  Returns:
    The lines of the page.

  Raises:
    WorkdirError: a file cannot be written.
  """
  page = lines(found, title, command)
  with as_workdir_error(results):
    pathlib.Path(results).mkdir(parents=True, exist_ok=True)
  content = dict(title=title, command=command, rows=found)
  atomic_write(f"{results}/table.json", json_text(content, indent=1) + "\n")
  atomic_write(f"{results}/table.md", "\n".join(page) + "\n")
  if any(entry["seeds"] for entry in found):
    _draw(found, f"{results}/table")
  return page


def lines(found: Sequence[Entry], title: str, command: str) -> list[str]:
  """Returns the lines of the page; see `write`."""
  score = found[0]["score"]
  header = [
    "row",
    "differs from base in",
    "parameters",
    "paper: PPL, BLEU",
    "seeds",
    "PPL",
    _name(score),
    "PPL - base",
    f"{_name(score)} - base",
    "sign as the paper's: PPL, BLEU",
  ]
  page = [f"## {title}", "", f"`{command}`", "", _summary(found), ""]
  page += table(header, [_cells(entry, score) for entry in found])
  return wrapped([*page, "", *_remarks(found, score), *_in_words(found, score)])


def summary_table(found: Sequence[Entry]) -> list[str]:
  """Returns the lines of a narrower table of the rows that were run, by perplexity."""
  score = found[0]["score"]
  header = [
    "row",
    "differs from base in",
    "seeds",
    "perplexity",
    _name(score),
    "perplexity - base",
    "larger than the noise of seeds (Welch's t)",
    "sign as the paper's",
  ]
  return table(header, [_summary_cells(entry, score) for entry in found if entry["seeds"]])


def _summary_cells(entry: Entry, score: str) -> list[Any]:
  difference = entry["perplexity_difference"]
  spreads = [_spread(entry, name) for name in ("perplexity", score)]
  cells = [entry["name"], _differences(entry), entry["seeds"], *spreads]
  if not difference:
    return [*cells, "-", "-", "-"]
  noise = "-"
  if difference["seed_p"] is not None:
    noise = f"{'yes' if difference['beyond_seed_noise'] else 'no'} (p = {difference['seed_p']:.3f})"
  return [
    *cells,
    f"{difference['value']:+.{_DIGITS['perplexity']}f}",
    noise,
    _sign(entry, "perplexity"),
  ]


def _name(score: str) -> str:
  """Returns the name of a score on the page."""
  return "perplexity" if score == "perplexity" else MAIN_SCORES[score]


def _summary(found: Sequence[Entry]) -> str:
  """Returns the number of runs, the machines, and how to read the table."""
  done = [run for entry in found for run in entry["runs"]]
  hours = sum(entry["update_hours"] for entry in found)
  machines = sorted({_machine(run["hardware"]) for run in done})
  where = "; ".join(machines) or "no hardware yet"
  revisions = ", ".join(sorted({str(run["git_revision"]) for run in done})) or "-"
  return (
    f"{len(done)} runs, {hours:.2f} hours of updates; {where}; revisions {revisions}. "
    "Mean +- standard deviation over seeds; p: paired bootstrap over sentences; "
    f"* : beyond the noise of seeds (Welch's t test over seeds, p < {LEVEL})."
  )


def _machine(hardware: dict[str, Any]) -> str:
  return f"{hardware['device']}, {hardware['processor']}, {hardware['cores']} cores"


def _remarks(found: Sequence[Entry], score: str) -> list[str]:
  """Returns lines about failed and missing runs, missing p-values, and unknown texts."""
  remarks = []
  for entry in found:
    notes = [f"seed {seed} failed: {why}" for seed, why in entry["failed"].items()]
    notes += [f"seed {seed} is not run: {why}" for seed, why in entry["not_taken"].items()]
    for name in ("perplexity", score):
      difference = entry[f"{name}_difference"]
      if difference and difference["why_no_p"]:
        notes.append(f"no p of {_name(name)}: {difference['why_no_p']}")
    remarks += [f"- {entry['name']}: {note}" for note in notes]
  if unknown := sum(len(entry["of_unknown_text"]) for entry in found):
    remarks.append(
      f"- {unknown} of the runs do not say on which text they were made (older results do not "
      "record it): that was not compared."
    )
  return [*remarks, ""] if remarks else []


def _cells(entry: Entry, score: str) -> list[Any]:
  """Returns a row of the table."""
  paper = "-"
  if entry["paper"]:
    paper = f"{entry['paper']['perplexity']:.2f}, {entry['paper']['bleu']:.1f}"
  begin = [entry["name"], _differences(entry)]
  if not entry["seeds"]:
    return [*begin, "-", paper, 0, "not run", "not run", "-", "-", "-"]
  scores = ("perplexity", score)
  return [
    *begin,
    f"{entry['parameters']:,}",
    paper,
    entry["seeds"],
    *(_spread(entry, name) for name in scores),
    *(_difference(entry, name) for name in scores),
    ", ".join(_sign(entry, name) for name in scores),
  ]


def _differences(entry: Entry) -> str:
  """Returns the settings in which a row differs from base."""
  return ", ".join(f"{name}={value}" for name, value in entry["differences"].items()) or "-"


def _spread(entry: Entry, name: str) -> str:
  """Returns mean and standard deviation of a score."""
  mean = entry[name]["mean"]
  sd = entry[name]["sd"]
  digits = _DIGITS[name]
  if mean is None:
    return "not finite" if name == "perplexity" else "-"
  if sd is None:
    return f"{mean:.{digits}f}"
  return f"{mean:.{digits}f} +- {sd:.{digits}f}"


def _difference(entry: Entry, name: str) -> str:
  """Returns the difference to base in a score, with its mark and p-value."""
  found = entry[f"{name}_difference"]
  if not found:
    return "-"
  p = "-" if found["p"] is None else f"{found['p']:.3f}"
  mark = "*" if found["beyond_seed_noise"] else ""
  return f"{found['value']:+.{_DIGITS[name]}f}{mark} (p={p})"


def _sign(entry: Entry, name: str) -> str:
  """Returns whether a difference has the sign of the paper's."""
  found = entry[f"{name}_difference"]
  if not found or found["sign_agrees"] is None:
    return "-"
  return "yes" if found["sign_agrees"] else "no"


def _in_words(found: Sequence[Entry], score: str) -> list[str]:
  """Returns sentences on the differences that are larger than the noise of seeds."""
  sentences = [_noise_in_words(found, name) for name in ("perplexity", score)]
  if not any(sentences):
    return [
      "No row has two seeds yet to compare with two of base: nothing can be said of the noise of "
      "seeds."
    ]
  sentences += [_signs_in_words(found, name) for name in ("perplexity", score)]
  return [sentence for sentence in sentences if sentence]


def _noise_in_words(found: Sequence[Entry], name: str) -> str:
  """Returns the sentences on a score; "" if no row has enough seeds."""
  p_values = {}
  for entry in found:
    difference = entry[f"{name}_difference"]
    if difference and difference["seed_p"] is not None:
      p_values[entry["name"]] = difference["seed_p"]
  if not p_values:
    return ""
  count = len(p_values)
  larger = _joined([row for row, p in p_values.items() if p < LEVEL])
  smaller = _joined([row for row, p in p_values.items() if p >= LEVEL])
  certain = _joined([row for row, p in p_values.items() if p < LEVEL / count])
  title = _name(name)[0].upper() + _name(name)[1:]
  sentence = f"{title}: larger than the noise of seeds: {larger}; not larger: {smaller}."
  if count == 1:
    return sentence
  return (
    f"{sentence} Where no row differed, {LEVEL * count:.1f} of {count} would still be called "
    f"larger; held to p < {LEVEL} / {count} (Bonferroni) these remain: {certain}."
  )


def _signs_in_words(found: Sequence[Entry], name: str) -> str:
  """Returns in how many rows a score moves as the paper's does; "" if none can be compared."""
  differences = [entry[f"{name}_difference"] for entry in found]
  comparable = [one for one in differences if one and one["sign_agrees"] is not None]
  if not comparable:
    return ""
  agree = sum(one["sign_agrees"] for one in comparable)
  sentence = f"The sign of {_name(name)} - base is the paper's in {agree} of {len(comparable)} rows"
  larger = [one for one in comparable if one["beyond_seed_noise"]]
  if not larger:
    return f"{sentence}."
  agree_of_larger = sum(one["sign_agrees"] for one in larger)
  return (
    f"{sentence}, and in {agree_of_larger} of the {len(larger)} that are larger than the noise of "
    "seeds."
  )


def _joined(rows: Sequence[str]) -> str:
  return ", ".join(rows) or "none"


def _draw(found: Sequence[Entry], path: str) -> None:
  """Draws the perplexity and main score of each row with their spread.

  If the rows are the paper's, a third panel has the differences to base beside the paper's.
  """
  done = [entry for entry in found if entry["seeds"]]
  score = found[0]["score"]
  is_beside_paper = found[0]["perplexity"]["mean"] is not None and any(e["paper"] for e in done[1:])
  height = 1.2 + 0.32 * len(done)
  columns = 3 if is_beside_paper else 2
  figure, panels = plots.axes(columns=columns, height=height, width=4.5, sharey=True)
  for panel, name in zip(panels, ("perplexity", score), strict=False):
    for place, entry in enumerate(done):
      _draw_row(panel, entry, name, -place)
    base_mean = found[0][name]["mean"]
    if base_mean is not None:
      panel.axvline(base_mean, color=plots.BLACK, linewidth=1, linestyle=":")
    panel.set_xlabel(_name(name))
  if is_beside_paper:
    _draw_beside_paper(panels[2], done)
  heights = [-place for place in range(len(done))]
  panels[0].set_yticks(heights, [plots.plain(entry["name"]) for entry in done])
  plots.save(figure, path)


def _draw_row(panel: Axes, entry: Entry, name: str, height: float) -> None:
  """Draws a row's mean and its seeds in a score; what is not finite is left out."""
  if entry[name]["mean"] is not None:
    panel.errorbar(
      entry[name]["mean"],
      height,
      xerr=entry[name]["sd"] or 0,
      fmt="o",
      color=plots.COLORS[0],
      capsize=3,
    )
  seeds = [run[name] for run in entry["runs"] if run[name] is not None]
  panel.plot(seeds, [height] * len(seeds), "|", color=plots.GRAY)


def _draw_beside_paper(panel: Axes, done: Sequence[Entry]) -> None:
  """Draws how far perplexities are from base's, which is the first: ours, and the paper's.

  In percent of base's, as the paper's are of another set and of a far longer training.
  """
  our_base = done[0]["perplexity"]["mean"]
  papers_base = done[0]["paper"]["perplexity"]
  placed = [(-place, entry) for place, entry in enumerate(done) if entry["paper"]]
  ours = [(height, entry["perplexity"]) for height, entry in placed if entry["perplexity"]["mean"]]
  panel.errorbar(
    [100 * (of_row["mean"] / our_base - 1) for _, of_row in ours],
    [height for height, _ in ours],
    xerr=[100 * (of_row["sd"] or 0) / our_base for _, of_row in ours],
    fmt="o",
    color=plots.COLORS[0],
    capsize=3,
    label="ours",
  )
  panel.plot(
    [100 * (entry["paper"]["perplexity"] / papers_base - 1) for _, entry in placed],
    [height for height, _ in placed],
    "D",
    color=plots.COLORS[1],
    label="the paper's",
  )
  panel.axvline(0, color=plots.BLACK, linewidth=1, linestyle=":")
  panel.set_xlabel("perplexity - base, in % of base")
  panel.legend()
