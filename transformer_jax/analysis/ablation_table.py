"""The table of an ablation: the paper beside ours, with the seeds' spread and what a bootstrap says of each difference."""

import pathlib

import numpy as np

from transformer_jax.analysis import plots
from transformer_jax.analysis.ablation import load_outcome
from transformer_jax.analysis.cost_report import table
from transformer_jax.analysis.table3 import ROWS
from transformer_jax.metrics.bleu import bleu_of_statistics
from transformer_jax.runs.workdir import atomic_write
from transformer_jax.strict_json import json_text

_RESAMPLES = 2000
_PAPER = {row.file: row for row in ROWS}


def entries(rows, seeds, results, failures):
  """A dict a row, base first: the paper's figures and ours over the seeds that are done.

  Differences are to the base row, of means over seeds; p-values are of a paired bootstrap over sentences (Koehn 2004), and a
  difference is beyond the noise of seeds where it exceeds twice its standard error over seeds.
  """
  outcomes = {row.name: [outcome for seed in seeds if (outcome := load_outcome(results, row, seed))] for row in rows}
  base = outcomes[rows[0].name]
  return [_entry(row, rows[0], outcomes[row.name], base, {seed: failures.get((row.name, seed)) for seed in seeds}) for row in rows]


def _entry(row, base_row, ours, base, failed):
  paper, paper_base = _PAPER.get(row.name), _PAPER["base"]
  entry = dict(row=row.name, name=paper.name if paper else row.name, differences=row.differences(base_row), seeds=len(ours),
               failed={seed: why for seed, why in failed.items() if why}, parameters=ours[0].summary["parameters"] if ours else None,
               update_hours=sum(o.summary["update_hours"] for o in ours),
               runs=[{key: o.summary[key] for key in ("seed", "perplexity", "bleu", "git_revision", "hardware")} for o in ours],
               paper=dict(perplexity=paper.perplexity, bleu=paper.bleu, parameters_millions=paper.parameters_millions) if paper else None)
  for score in ("perplexity", "bleu"):
    values, base_values = ([o.summary[score] for o in group] for group in (ours, base))
    entry[score] = _mean_and_sd(values)
    if ours and base and row is not base_row:
      difference = entry[score]["mean"] - np.mean(base_values)
      entry[f"{score}_difference"] = dict(
          value=difference, p=bootstrap_p(ours, base, score), beyond_seed_noise=_beyond_noise(values, base_values),
          sign_agrees=None if paper is None else _agrees(difference, getattr(paper, score) - getattr(paper_base, score)))
  return entry


def _mean_and_sd(values):
  """Sample standard deviation; None where there are too few values."""
  return dict(mean=float(np.mean(values)) if values else None, sd=float(np.std(values, ddof=1)) if len(values) > 1 else None)


def _beyond_noise(values, others):
  """Whether the means differ by more than twice the standard error of their difference; None with a single seed."""
  if len(values) < 2 or len(others) < 2:
    return None
  error = np.sqrt(np.var(values, ddof=1) / len(values) + np.var(others, ddof=1) / len(others))
  return bool(abs(np.mean(values) - np.mean(others)) > 2 * error)


def _agrees(ours, papers):
  """Whether two differences have one sign; None where the paper has none."""
  return None if abs(papers) < 1e-9 else bool(np.sign(ours) == np.sign(papers))


def bootstrap_p(ours, base, score, resamples=_RESAMPLES):
  """Two-sided p-value that a row's mean score differs from base's, from resampled sentences, the same for both.

  Args:
    ours, base: Outcomes of the seeds, all on the same sentences.
    score: "perplexity" or "bleu".
    resamples: how many sets of sentences are drawn.
  """
  num_sentences = len(ours[0].tokens_S)
  rng = np.random.default_rng(0)
  counts_RS = rng.multinomial(num_sentences, np.full(num_sentences, 1 / num_sentences), resamples).astype(np.float64)
  differences_R = _resampled(ours, score, counts_RS) - _resampled(base, score, counts_RS)
  below, above = np.mean(differences_R <= 0), np.mean(differences_R >= 0)
  return float(np.clip(2 * min(below, above), 1 / resamples, 1.0))


def _resampled(outcomes, score, counts_RS):
  """The mean over seeds of a corpus score of each resample, [R]."""
  if score == "bleu":
    smooth = outcomes[0].summary["bleu_name"] == "sacrebleu"
    return np.mean([bleu_of_statistics(counts_RS @ o.statistics_SK, smooth) for o in outcomes], axis=0)
  return np.mean([np.exp(-(counts_RS @ o.log_probs_S) / (counts_RS @ o.tokens_S)) for o in outcomes], axis=0)


def write(found, results, title, command):
  """Writes table.md, table.json and a figure to `results`; returns the page, a list of lines."""
  page = lines(found, title, command)
  pathlib.Path(results).mkdir(parents=True, exist_ok=True)
  atomic_write(f"{results}/table.json", json_text(dict(title=title, command=command, rows=found), indent=1) + "\n")
  atomic_write(f"{results}/table.md", "\n".join(page) + "\n")
  if any(entry["seeds"] for entry in found):
    _draw(found, f"{results}/table")
  return page


def lines(found, title, command):
  """The page."""
  header = ["row", "differs from base in", "parameters", "paper: PPL, BLEU", "seeds", "PPL", "BLEU", "PPL - base", "BLEU - base",
            "sign as the paper's: PPL, BLEU"]
  done = [run for entry in found for run in entry["runs"]]
  where = "; ".join(sorted({f"{r['hardware']['device']}, {r['hardware']['processor']}, {r['hardware']['cores']} cores" for r in done}))
  revisions = ", ".join(sorted({str(r["git_revision"]) for r in done}))
  hours = sum(entry["update_hours"] for entry in found)
  page = [f"## {title}", "", f"`{command}`", "",
          f"{len(done)} runs, {hours:.2f} hours of updates; {where or 'no hardware yet'}; revisions {revisions or '-'}. Mean +- standard deviation "
          "over seeds; p: paired bootstrap over sentences; * : more than twice the standard error over seeds.", "",
          *table(header, [_cells(entry) for entry in found]), ""]
  page += [f"- {entry['name']}: seed {seed} failed: {why}" for entry in found for seed, why in entry["failed"].items()]
  return [*page, *_in_words(found)]


def _cells(entry):
  differences = ", ".join(f"{name}={value}" for name, value in entry["differences"].items()) or "-"
  paper = f"{entry['paper']['perplexity']:.2f}, {entry['paper']['bleu']:.1f}" if entry["paper"] else "-"
  if not entry["seeds"]:
    return [entry["name"], differences, "-", paper, 0, "not run", "not run", "-", "-", "-"]
  signs = [entry.get(f"{score}_difference", {}).get("sign_agrees") for score in ("perplexity", "bleu")]
  return [entry["name"], differences, f"{entry['parameters']:,}", paper, entry["seeds"], _spread(entry["perplexity"], 3), _spread(entry["bleu"], 2),
          _difference(entry, "perplexity", 3), _difference(entry, "bleu", 2),
          ", ".join({True: "yes", False: "no", None: "-"}[sign] for sign in signs)]


def _spread(score, digits):
  return f"{score['mean']:.{digits}f}" + (f" +- {score['sd']:.{digits}f}" if score["sd"] is not None else "")


def _difference(entry, score, digits):
  found = entry.get(f"{score}_difference")
  if not found:
    return "-"
  return f"{found['value']:+.{digits}f}{'*' if found['beyond_seed_noise'] else ''} (p={found['p']:.3f})"


def _in_words(found):
  """Which differences are larger than the noise of seeds."""
  compared = [entry for entry in found if entry.get("perplexity_difference", {}).get("beyond_seed_noise") is not None]
  if not compared:
    return ["No row has two seeds beside base's two yet: nothing can be said of the noise of seeds."]
  sentences = []
  for score in ("perplexity", "bleu"):
    beyond = [entry["name"] for entry in compared if entry[f"{score}_difference"]["beyond_seed_noise"]]
    within = [entry["name"] for entry in compared if not entry[f"{score}_difference"]["beyond_seed_noise"]]
    name = "Perplexity" if score == "perplexity" else "BLEU"
    sentences.append(f"{name}: larger than the noise of seeds: {', '.join(beyond) or 'none'}; not larger: {', '.join(within) or 'none'}.")
  return sentences


def _draw(found, path):
  """Each row's perplexity and BLEU with their spread."""
  done = [entry for entry in found if entry["seeds"]]
  figure, panels = plots.axes(columns=2, height=1.2 + 0.32 * len(done), width=5, sharey=True)
  for panel, score in zip(panels, ("perplexity", "bleu"), strict=True):
    for place, entry in enumerate(done):
      panel.errorbar(entry[score]["mean"], -place, xerr=entry[score]["sd"] or 0, fmt="o", color=plots.COLOURS[0], capsize=3)
      panel.plot([run[score] for run in entry["runs"]], [-place] * entry["seeds"], "|", color=plots.COLOURS[5])
    if done[0] is found[0]:
      panel.axvline(done[0][score]["mean"], color="#111827", linewidth=1, linestyle=":")
    panel.set_xlabel("perplexity" if score == "perplexity" else "BLEU")
  panels[0].set_yticks([-place for place in range(len(done))], [entry["name"] for entry in done])
  plots.save(figure, path)
