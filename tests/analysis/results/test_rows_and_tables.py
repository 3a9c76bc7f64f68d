"""Results of made-up runs: seeds go together, and the tables say what the JSONs say."""

import json

import pytest
from made_up import RUN, a_parse, a_run, put

from transformer_jax.analysis.results import rows
from transformer_jax.analysis.results.tables import long_table, short_table
from transformer_jax.errors import DataError


def read(folder):
  return rows.read(folder, lambda _: RUN["settings_sha256"])


def cells_of(lines):
  """Returns column -> cell of each row of a table."""
  table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
  header, _, *content = table
  return [dict(zip(header, row, strict=True)) for row in content]


def test_seeds_of_one_experiment_go_together(tmp_path):
  others = [
    a_run(evaluation__set_sha256="another text"),
    a_run(evaluation__beam_size=1),
    a_run(commands=["", "transformer-jax evaluate --workdir=DIR --checkpoint=best"]),
    a_run(flag_file="translation/a.flags"),  # another file, such as a copy
    a_parse(),
  ]
  scores = dict(zip((3, 1, 2), (38.0, 36.0, 37.0), strict=True))
  seeds = [a_run(seed=seed, evaluation__bleu=score) for seed, score in scores.items()]
  # That what is the default was typed, changes nothing.
  seeds[0]["commands"][1] += " --split=test --beam_size=4 --checkpoint=last"
  put(tmp_path, *seeds, *others)
  found = read(tmp_path)
  assert [row.experiment for row in found] == ["parsing/p", *["translation/a"] * 5]
  of_seeds = next(row for row in found if len(row.runs) == 3)
  assert [run["seed"] for run in of_seeds.runs] == [1, 2, 3]
  assert of_seeds.mean_and_sd(lambda run: run["evaluation"]["bleu"]) == (37.0, 1.0)
  cells = next(row for row in cells_of(long_table(found, {}, "r")) if "," in row["seeds"])
  assert cells["ours"] == "**37.00 +- 1.00**"
  assert cells["seeds"] == "[1](r/r-seed1-1.json), [2](r/r-seed2-2.json), [3](r/r-seed3-0.json)"


def test_figures_that_a_run_lacks(tmp_path):
  put(tmp_path, a_run(), a_run(seed=2, evaluation__bleu=None, training__wall_seconds=None))
  [row] = read(tmp_path)
  assert row.mean_and_sd(lambda run: run["evaluation"]["bleu"]) == (None, None)
  [cells] = cells_of(long_table([row], {}, "r"))
  assert cells["ours"] == "**not finite**" and cells["time of training"] == "-"
  assert row.runs[0]["evaluation"]["bleu"] == 36.0


@pytest.mark.parametrize(
  "content, problem",
  [
    ("{", "is not the JSON of a scored run: "),
    ("[]", "is not the JSON of a scored run: "),
    ('{"flag_file": "a"}', "it has no 'settings_sha256'"),
    (json.dumps({**RUN, "training": {}}), "it has no 'updates'"),
    (json.dumps({**RUN, "evaluation": 3}), "is not the JSON of a scored run: "),
    (json.dumps({**RUN, "seed": "x"}), "its seed is not of type int"),
    (json.dumps({**RUN, "commands": []}), "its commands are not two texts"),
    (json.dumps(a_run(training__updates="x")), "its updates is not a whole number"),
    (json.dumps(a_run(training__target_tokens=None)), "its target_tokens is not a whole number"),
    (json.dumps(a_run(evaluation__main_score="x")), "its main_score 'x' is not known"),
    (json.dumps({**RUN, "settings_sha256": "old"}), r"a\.flags has other settings by now; remove"),
  ],
)
def test_what_is_no_result_is_named(tmp_path, content, problem):
  (tmp_path / "x-seed1.json").write_text(content)
  with pytest.raises(DataError, match=rf"x-seed1\.json: .*{problem}"):
    read(tmp_path)


def test_a_seed_counts_once(tmp_path):
  put(tmp_path, a_run(), a_run())
  with pytest.raises(DataError, match=r"has two results of experiments/translation/a\.flags with"):
    read(tmp_path)


def test_seeds_that_ended_at_different_updates(tmp_path):
  longer = dict(training__updates=3000, training__target_tokens=1_200_000)
  put(
    tmp_path,
    a_run(training__updates=1000, training__target_tokens=400_000),
    a_run(seed=2, **longer),
  )
  (cells,) = cells_of(long_table(read(tmp_path), {}, "r"))
  assert cells["updates x target tokens"] == "1,000 to 3,000 x 400"


def test_the_long_table(tmp_path):
  put(tmp_path, a_run(), a_parse())
  published = dict(score=41.0, by="Someone 2021")
  about = {"translation/a": dict(sets=dict(test=dict(words="test2016", published=published)))}
  lines = long_table(read(tmp_path), about, "r")
  parse, translation = cells_of(lines)
  assert translation == {
    "experiment": "`translation/a.flags`",
    "set": "test2016, 1,000 sentences",
    "published": "41.0 (Someone 2021)",
    "ours": "**36.00**",
    "seeds": "[1](r/r-seed1-0.json)",
    "score": "sacreBLEU 13a, beam 4, mean of the last 2 checkpoints "
    "(chrF 60.2; the paper's BLEU 35.50; perplexity 4.500)",
    "updates x target tokens": "200 x 1,000",
    "time of training": "1.5 minutes by the clock, 25 minutes of processor",
    "trained on": "1 core of Abacus",
    "revision": "0123456",
  }
  assert parse["published"] == "10.0 (right-branching tree)"
  assert parse["score"] == (
    "labeled F1, greedy, constrained (complete match 25.0%; repaired 12.5%; perplexity 4.500)"
  )
  assert lines[-1] == "- `nrefs:1|case:mixed|tok:13a|version:2`"


def test_starts_on_other_machines_and_revisions_are_told(tmp_path):
  first = RUN["training"]["starts"][0]
  gpu = dict(first["hardware"], device="8 x H100")
  starts = [
    dict(first, hardware=None, git_revision=None),
    first,
    dict(first, hardware=gpu, git_revision="f" * 40 + "-dirty"),
  ]
  put(tmp_path, a_run(training__starts=starts))
  [cells] = cells_of(long_table(read(tmp_path), {}, "r"))
  assert cells["trained on"] == "not recorded, 1 core of Abacus, 8 x H100"
  assert cells["revision"] == "not recorded, 0123456, fffffff-dirty"


def test_exact_match_is_a_share(tmp_path):
  put(tmp_path, a_run(evaluation__main_score="exact_match", evaluation__exact_match=0.9961))
  [cells] = cells_of(long_table(read(tmp_path), {}, "r"))
  assert cells["ours"] == "**99.61%**" and cells["score"].startswith("exact match, beam 4")


def test_the_short_table_has_valid_where_test_was_not_scored(tmp_path):
  put(tmp_path, a_run(), a_run(evaluation__set="valid"), a_parse(evaluation__set="valid"))
  cells = cells_of(short_table(read(tmp_path), {}, "results", tmp_path / "README.md"))
  assert sorted(each["what"] for each in cells) == [
    "`parsing/p.flags`, valid, constrained search",
    "`translation/a.flags`, test",
  ]


def test_the_short_table(tmp_path):
  gpu = [dict(step=0, hardware=dict(device="1 x H100"), versions={}, git_revision=None)]
  put(tmp_path / "results", a_run(), a_run(seed=2), a_parse(training__starts=gpu))
  speed = dict(file="b.jsonl", work="T", ours="we", theirs="they", unit="tokens/s", of="Them")
  about = {"parsing/p": dict(title="Trees"), "speed/T": dict(title="Speed", speed=speed)}
  parse, translation = read(tmp_path / "results")
  speeds = [dict(work="T", label="we", tokens_per_second=3000.4)]
  speeds += [dict(work="T", label="they", tokens_per_second=2000.0), dict(work="U", label="we")]
  (tmp_path / "b.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in speeds))
  items = [translation, parse, "speed/T"]
  first, second, third = cells_of(short_table(items, about, "results", tmp_path / "README.md"))
  assert first == {
    "what": "`translation/a.flags`, test",
    "ours": "[**36.00 +- 0.00**](results/r-seed1-0.json) BLEU "
    "after 25 minutes of processor, 2 seeds",
    "beside": "-",
  }
  assert second == {
    "what": "Trees, test, constrained search",
    "ours": "[**80.00**](results/r-seed1-2.json) F1 after 1.5 minutes by the clock",
    "beside": "10.0 F1 of the right-branching tree",
  }
  assert third == {
    "what": "Speed",
    "ours": "[**3,000**](b.jsonl) tokens/s",
    "beside": "2,000 of Them: 1.50 times as fast",
  }
  (tmp_path / "b.jsonl").write_text(json.dumps(speeds[0]))
  with pytest.raises(DataError, match=r"b\.jsonl: has 0 lines of T by they; there must be one"):
    short_table(items, about, "results", tmp_path / "README.md")
