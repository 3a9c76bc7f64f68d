"""The table of an ablation: the paper beside ours, with the seeds' spread and what a bootstrap says of each difference."""

import math
import pathlib

import numpy as np
from scipy.special import stdtr

from transformer_jax.analysis import plots
from transformer_jax.analysis.ablation.results import MAIN_SCORES, Text, load_outcome, why_not_taken
from transformer_jax.analysis.markdown import table
from transformer_jax.analysis.table3 import ROWS
from transformer_jax.files import atomic_write
from transformer_jax.runs.build import build_task
from transformer_jax.strict_json import json_text

_RESAMPLES = 2000
_LEVEL = 0.05
_DIGITS = {"perplexity": 3, "bleu": 2, "f1": 2, "exact_match": 4}
_PAPER = {row.file: row for row in ROWS}


def entries(rows, seeds, results, failures, text=Text()):
  """A dict a row, base first: the paper's figures and ours over the seeds that are done.

  Differences are to the base row, of means over seeds; p-values are of a paired bootstrap over
  sentences (Koehn 2004), and a difference is beyond the noise of seeds where Welch's t test over
  seeds says so at 5%. `text` is what the results must be of.
  """
  outcomes = {
    row.name: [outcome for seed in seeds if (outcome := load_outcome(results, row, seed, text))]
    for row in rows
  }
  base, score = outcomes[rows[0].name], build_task(rows[0].config.data, None).main_score
  found = [_entry(row, rows[0], outcomes[row.name], base, score) for row in rows]
  for row, entry in zip(rows, found, strict=True):
    done = [run["seed"] for run in entry["runs"]]
    entry["failed"] = {seed: why for seed in seeds if (why := failures.get((row.name, seed)))}
    entry["not_taken"] = {
      seed: why
      for seed in seeds
      if seed not in done and (why := why_not_taken(results, row, seed, text))
    }
  return found


def _entry(row, base_row, ours, base, score):
  paper, paper_base = _PAPER.get(row.name), _PAPER["base"]
  entry = dict(
    row=row.name,
    name=paper.name if paper else row.name,
    differences=row.differences(base_row),
    seeds=len(ours),
    score=score,
    parameters=ours[0].summary["parameters"] if ours else None,
    update_hours=sum(o.summary["update_hours"] for o in ours),
    runs=[
      {key: o.summary.get(key) for key in ("seed", "perplexity", score, "git_revision", "hardware")}
      for o in ours
    ],
    of_unknown_text=[o.summary["seed"] for o in ours if not o.summary.get("text")],
    paper=dict(
      perplexity=paper.perplexity, bleu=paper.bleu, parameters_millions=paper.parameters_millions
    )
    if paper
    else None,
  )
  for name in ("perplexity", score):
    entry[name] = _mean_and_sd(_values(ours, name))
    difference = None if row is base_row else _difference_to(ours, base, name)
    if paper and difference and hasattr(paper, name):
      papers = getattr(paper, name) - getattr(paper_base, name)
      difference["sign_agrees"] = _agrees(difference["value"], papers)
    entry[f"{name}_difference"] = difference
  return entry


def _values(outcomes, name):
  """A score of each seed; one that is not finite is NaN."""
  return [math.nan if (value := o.summary.get(name)) is None else value for o in outcomes]


def _mean_and_sd(values):
  """Sample standard deviation; None where there are too few values, or some are not finite."""
  mean = float(np.mean(values)) if values else math.nan
  sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
  return dict(mean=_or_none(mean), sd=_or_none(sd))


def _or_none(value):
  return value if math.isfinite(value) else None


def _difference_to(ours, base, name):
  """How a row differs from base; None where either has no mean."""
  values, base_values = _values(ours, name), _values(base, name)
  means = [_mean_and_sd(group)["mean"] for group in (values, base_values)]
  if None in means:
    return None
  why_no_p = why_no_bootstrap(ours, base, name)
  return dict(
    value=means[0] - means[1],
    p=None if why_no_p else bootstrap_p(ours, base, name),
    why_no_p=why_no_p,
    seed_p=seed_p(values, base_values),
    beyond_seed_noise=_beyond_noise(values, base_values),
    sign_agrees=None,
  )


def seed_p(values: list, others: list) -> float | None:
  """Two-sided p-value of Welch's t test that two means differ.

  None with a single seed, or where a score is not finite.
  """
  if len(values) < 2 or len(others) < 2 or not np.isfinite([*values, *others]).all():
    return None
  difference = abs(np.mean(values) - np.mean(others))
  errors = [np.var(group, ddof=1) / len(group) for group in (values, others)]  # squared
  if not sum(errors):
    return 0.0 if difference else 1.0
  each = [
    error**2 / (len(group) - 1) for error, group in zip(errors, (values, others), strict=True)
  ]
  freedom = sum(errors) ** 2 / sum(each)
  return float(2 * stdtr(freedom, -difference / np.sqrt(sum(errors))))


def _beyond_noise(values, others):
  """Whether the means differ by more than Welch's t takes for noise, at 5%; None with one seed."""
  p = seed_p(values, others)
  return None if p is None else p < _LEVEL


def _agrees(ours, papers):
  """Whether two differences have one sign; None where the paper has none."""
  return None if abs(papers) < 1e-9 else bool(np.sign(ours) == np.sign(papers))


def why_no_bootstrap(ours: list, base: list, name: str) -> str:
  """Why the sentences of two rows' outcomes cannot be compared in a score, or an empty string."""
  for outcome in (*ours, *base):
    if name not in ("perplexity", outcome.main_score):
      return f"what is kept of the sentences is not of {_name(name)}"
    given = float(outcome.scores_of(name, np.ones(len(outcome.tokens_S))))
    if not np.isclose(given, outcome.summary[name], rtol=1e-3, atol=1e-3):
      return (
        f"the sentences of seed {outcome.summary['seed']} give {given:.2f}, and "
        f"{outcome.summary[name]:.2f} was reported: remove its JSON, and run it again"
      )
  counts = sorted({len(outcome.tokens_S) for outcome in (*ours, *base)})
  if len(counts) > 1:
    return f"scored on different numbers of sentences: {', '.join(map(str, counts))}"
  texts = [(o.summary.get("text") or {}).get(o.summary.get("split")) for o in (*ours, *base)]
  return "scored on different texts" if len(set(texts) - {None}) > 1 else ""


def bootstrap_p(ours, base, score, resamples=_RESAMPLES):
  """Two-sided p-value that a row's mean score differs from base's, from resampled sentences, the same for both.

  Args:
    ours, base: Outcomes of the seeds, all on the same sentences.
    score: "perplexity", or the main score.
    resamples: how many sets of sentences are drawn.
  """
  num_sentences = len(ours[0].tokens_S)
  rng = np.random.default_rng(0)
  counts_RS = rng.multinomial(
    num_sentences, np.full(num_sentences, 1 / num_sentences), resamples
  ).astype(np.float64)
  differences_R = _resampled(ours, score, counts_RS) - _resampled(base, score, counts_RS)
  below, above = np.mean(differences_R <= 0), np.mean(differences_R >= 0)
  return float(np.clip(2 * min(below, above), 1 / resamples, 1.0))


def _resampled(outcomes, score, counts_RS):
  """The mean over seeds of a corpus score of each resample, [R]."""
  return np.mean([o.scores_of(score, counts_RS) for o in outcomes], axis=0)


def write(found, results, title, command):
  """Writes table.md, table.json and a figure to `results`; returns the page, a list of lines."""
  page = lines(found, title, command)
  pathlib.Path(results).mkdir(parents=True, exist_ok=True)
  content = dict(title=title, command=command, rows=found)
  atomic_write(f"{results}/table.json", json_text(content, indent=1) + "\n")
  atomic_write(f"{results}/table.md", "\n".join(page) + "\n")
  if any(entry["seeds"] for entry in found):
    _draw(found, f"{results}/table")
  return page


def lines(found, title, command):
  """The page."""
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
  done = [run for entry in found for run in entry["runs"]]
  where = "; ".join(
    sorted(
      {
        f"{r['hardware']['device']}, {r['hardware']['processor']}, {r['hardware']['cores']} cores"
        for r in done
      }
    )
  )
  revisions = ", ".join(sorted({str(r["git_revision"]) for r in done}))
  hours = sum(entry["update_hours"] for entry in found)
  page = [
    f"## {title}",
    "",
    f"`{command}`",
    "",
    f"{len(done)} runs, {hours:.2f} hours of updates; {where or 'no hardware yet'}; revisions {revisions or '-'}. Mean +- standard deviation "
    "over seeds; p: paired bootstrap over sentences; * : beyond the noise of seeds (Welch's "
    f"t test over seeds, p < {_LEVEL}).",
    "",
    *table(header, [_cells(entry, score) for entry in found]),
    "",
  ]
  return [*page, *_remarks(found, score), *_in_words(found, score)]


def _name(score):
  """What the page calls a score."""
  return "perplexity" if score == "perplexity" else MAIN_SCORES[score]


def _remarks(found, score):
  """Lines on what failed, what was left out, and what is not known."""
  remarks = []
  for entry in found:
    said = [f"seed {seed} failed: {why}" for seed, why in entry["failed"].items()]
    said += [f"seed {seed} is not run: {why}" for seed, why in entry["not_taken"].items()]
    said += [
      f"no p of {_name(name)}: {difference['why_no_p']}"
      for name in ("perplexity", score)
      if (difference := entry[f"{name}_difference"]) and difference["why_no_p"]
    ]
    remarks += [f"- {entry['name']}: {remark}" for remark in said]
  if unknown := sum(len(entry["of_unknown_text"]) for entry in found):
    remarks.append(
      f"- {unknown} of the runs do not say on which text they were made (results did "
      "not keep it): that was not compared."
    )
  return [*remarks, ""] if remarks else []


def _cells(entry, score):
  differences = ", ".join(f"{name}={value}" for name, value in entry["differences"].items()) or "-"
  paper = (
    f"{entry['paper']['perplexity']:.2f}, {entry['paper']['bleu']:.1f}" if entry["paper"] else "-"
  )
  if not entry["seeds"]:
    return [entry["name"], differences, "-", paper, 0, "not run", "not run", "-", "-", "-"]
  found = [entry[f"{name}_difference"] for name in ("perplexity", score)]
  signs = [difference["sign_agrees"] if difference else None for difference in found]
  return [
    entry["name"],
    differences,
    f"{entry['parameters']:,}",
    paper,
    entry["seeds"],
    *(_spread(entry, name) for name in ("perplexity", score)),
    *(_difference(entry, name) for name in ("perplexity", score)),
    ", ".join({True: "yes", False: "no", None: "-"}[sign] for sign in signs),
  ]


def _spread(entry, name):
  mean, sd, digits = entry[name]["mean"], entry[name]["sd"], _DIGITS[name]
  if mean is None:
    return "not finite" if name == "perplexity" else "-"
  return f"{mean:.{digits}f}" + (f" +- {sd:.{digits}f}" if sd is not None else "")


def _difference(entry, name):
  found = entry[f"{name}_difference"]
  if not found:
    return "-"
  p = "-" if found["p"] is None else f"{found['p']:.3f}"
  mark = "*" if found["beyond_seed_noise"] else ""
  return f"{found['value']:+.{_DIGITS[name]}f}{mark} (p={p})"


def _in_words(found, score):
  """Which differences are larger than the noise of seeds, and what so many comparisons allow."""
  sentences = [_noise_in_words(found, name) for name in ("perplexity", score)]
  if not any(sentences):
    return [
      "No row has two seeds beside base's two yet: nothing can be said of the noise of seeds."
    ]
  return [sentence for sentence in sentences if sentence]


def _noise_in_words(found, name):
  """The sentences of a score; empty where no row has seeds enough."""
  compared = [
    (entry["name"], difference["seed_p"])
    for entry in found
    if (difference := entry[f"{name}_difference"]) and difference["seed_p"] is not None
  ]
  if not compared:
    return ""
  count = len(compared)
  larger, smaller, certain = (
    ", ".join(rows) or "none"
    for rows in (
      [row for row, p in compared if p < _LEVEL],
      [row for row, p in compared if p >= _LEVEL],
      [row for row, p in compared if p < _LEVEL / count],
    )
  )
  title = _name(name)[0].upper() + _name(name)[1:]
  said = f"{title}: larger than the noise of seeds: {larger}; not larger: {smaller}."
  if count == 1:
    return said
  return (
    f"{said} Where no row differed, {_LEVEL * count:.1f} of {count} would still be called "
    f"larger; held to p < {_LEVEL} / {count} (Bonferroni) these remain: {certain}."
  )


def _draw(found, path):
  """Each row's perplexity and main score with their spread."""
  done, score = [entry for entry in found if entry["seeds"]], found[0]["score"]
  figure, panels = plots.axes(columns=2, height=1.2 + 0.32 * len(done), width=5, sharey=True)
  for panel, name in zip(panels, ("perplexity", score), strict=True):
    for place, entry in enumerate(done):
      _draw_row(panel, entry, name, -place)
    if done[0] is found[0] and done[0][name]["mean"] is not None:
      panel.axvline(done[0][name]["mean"], color="#111827", linewidth=1, linestyle=":")
    panel.set_xlabel(_name(name))
  names = [plots.plain(entry["name"]) for entry in done]
  panels[0].set_yticks([-place for place in range(len(done))], names)
  plots.save(figure, path)


def _draw_row(panel, entry, name, height):
  """A row's mean and seeds in one score, those that are finite."""
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
  panel.plot(seeds, [height] * len(seeds), "|", color=plots.COLORS[5])
