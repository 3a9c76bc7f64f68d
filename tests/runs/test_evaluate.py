"""`evaluate` and `score`: figures that agree, files that are kept, errors that name a flag."""

import json
import shutil

import pytest
import sacrebleu.utils

from transformer_jax.checkpoints import Checkpoints
from transformer_jax.cli.main import run as command_line
from transformer_jax.data import sacrebleu_sets
from transformer_jax.data.sacrebleu_sets import NamedSet
from transformer_jax.errors import CheckpointError, ConfigError, DataError
from transformer_jax.metrics.bleu import corpus_bleu
from transformer_jax.runs import evaluate as evaluate_module
from transformer_jax.runs.evaluate import evaluate
from transformer_jax.runs.score import score
from transformer_jax.runs.trained_model import TrainedModel, _steps_to_average
from transformer_jax.runs.validation import perplexity_of
from transformer_jax.tasks.translation import TranslationTask


def last_json(capsys):
  return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_it_prints_and_keeps_the_same_figures(run_copy, capsys):
  assert command_line(["evaluate", f"--workdir={run_copy}", "--split=valid"]) == 0
  result = last_json(capsys)
  assert result == json.loads((run_copy / "evaluations/valid-step40.json").read_text())
  hypotheses = (run_copy / "evaluations/valid-step40.hypotheses.txt").read_text().splitlines()
  assert len(hypotheses) == result["sentences"] and result["test_set"].startswith(
    f"{len(hypotheses)} sentences"
  )
  assert result["signature"].startswith("nrefs:1|case:mixed") and result["name"] == "sacrebleu"
  assert result["paper_bleu"]["signature"].startswith(
    "nrefs:1|case:mixed|punct:ascii|tok:moses-de|hyphens:split"
  )


def test_perplexity_is_that_of_training(trained, run_copy):
  """It is the last line of metrics on valid, though the batches have another shape."""
  lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
  result = evaluate(run_copy, split="valid", overrides={})
  assert result["loss"] == pytest.approx(lines[-1]["loss"], rel=1e-5)
  assert result["perplexity"] == pytest.approx(perplexity_of(result["loss"]))


def test_the_mean_of_the_last_checkpoints_is_another_model(run_copy):
  one, mean = (evaluate(run_copy, split="valid", overrides=dict(average_last=n)) for n in (1, 3))
  assert one["steps"] == [40] and mean["steps"] == [20, 30, 40] and one["loss"] != mean["loss"]
  assert evaluate(run_copy, split="valid", overrides={}, checkpoint=30)["steps"] == [30]
  with pytest.raises(
    CheckpointError, match="there is no checkpoint of step 10; there are 20, 30, 40"
  ):
    evaluate(run_copy, split="valid", overrides={}, checkpoint=10)


def test_temporary_and_missing_checkpoints_are_no_part_of_a_mean(run_copy, capsys):
  meta = run_copy / "checkpoints/30/meta.json"
  meta.write_text(meta.read_text().replace('"temporary": false', '"temporary": true'))
  assert _steps_to_average(
    Checkpoints(run_copy / "checkpoints", read_only=True), "last", 3, run_copy
  ) == [20, 40]
  assert "only 2 checkpoints to average, not --average_last=3" in capsys.readouterr().err
  with pytest.raises(
    ConfigError,
    match="--average_last: averages 4 checkpoints, but --keep_checkpoints=3 keeps fewer",
  ):
    evaluate(run_copy, split="valid", overrides=dict(average_last=4))


def test_files_instead_of_a_split(run_copy, tmp_path):
  (tmp_path / "s").write_text("one\ntwo\nthree\n")
  (tmp_path / "r").write_text("eins\nzwei\ndrei\n")
  result = evaluate(run_copy, overrides={}, source=tmp_path / "s", reference=tmp_path / "r")
  (path,) = (run_copy / "evaluations").glob("files-*-step40.hypotheses.txt")
  hypotheses = path.read_text().splitlines()
  assert (
    result["bleu"] == corpus_bleu(hypotheses, ["eins", "zwei", "drei"])["score"]
    and result["set"] == "files"
  )
  with pytest.raises(ConfigError, match="--reference: is missing"):
    evaluate(run_copy, overrides={}, source=tmp_path / "s")
  (tmp_path / "r").write_text("eins\n")
  with pytest.raises(DataError, match=r"has 1 lines, and .* has 3"):
    evaluate(run_copy, overrides={}, source=tmp_path / "s", reference=tmp_path / "r")


@pytest.fixture(name="files")
def make_files(tmp_path):
  """Returns flags for a pair of files whose second source has many tokens."""
  (tmp_path / "s").write_text("one\nnine hundred ninety nine\ntwo\nnine hundred ninety nine\n")
  (tmp_path / "r").write_text("eins\nneunhundertneunundneunzig\nzwei\nneunhundertneunundneunzig\n")
  return [f"--source={tmp_path}/s", f"--reference={tmp_path}/r"]


@pytest.mark.slow
def test_results_of_other_sets_and_settings_have_other_names(run_copy, tmp_path):
  def names(**options):
    evaluate(run_copy, **{"overrides": {}, **options})
    return {path.name for path in (run_copy / "evaluations").glob("*.json")}

  for name in "sr":
    (tmp_path / name).write_text("eins\n")
  (tmp_path / "other").write_text("zwei\n")
  files = dict(source=tmp_path / "s", reference=tmp_path / "r")
  one = names(**files)
  assert len(one) == 1 and names(**files) == one
  assert len(names(**dict(files, reference=tmp_path / "other"))) == 2
  added = names(**files, overrides=dict(beam_size=1, length_penalty=0.6)) - one
  assert len(added) == 2 and any(name.endswith("-step40-beam_size=1.json") for name in added), (
    "0.6 is the run's own"
  )
  assert len(names(**files, overrides=dict(beam_size=4, decode_batch_tokens=100))) == 3, (
    "the same result"
  )


def test_a_result_of_the_runs_earlier_settings_is_kept(run_copy, capsys):
  evaluations, path = run_copy / "evaluations", run_copy / "config.json"
  evaluate(run_copy, split="valid", overrides={})
  before = (evaluations / "valid-step40.json").read_bytes()
  path.write_text(path.read_text().replace('"beam_size": 4', '"beam_size": 1'))
  for _ in range(2):
    assert evaluate(run_copy, split="valid", overrides={})["beam_size"] == 1
  assert "is of another text or other settings, and is kept" in capsys.readouterr().err
  (aside,) = evaluations.glob("valid-step40-*.json")
  assert aside.read_bytes() == before
  assert len(list(evaluations.iterdir())) == 6


def test_cut_sources_are_reported_and_counted(run_copy, tmp_path, files, capsys):
  assert (
    command_line(
      ["evaluate", f"--workdir={run_copy}", *files, "--beam_size=1", "--max_source_length=6"]
    )
    == 0
  )
  out, err = capsys.readouterr()
  assert json.loads(out.splitlines()[-1])["cut_sources"] == 2
  assert (
    [line for line in err.splitlines() if "cut" in line]
    == [
      line
      for line in err.splitlines()
      if f"{tmp_path}/s:2: cut from" in line and "--max_source_length=6, the first of 2" in line
    ]
    != []
  )
  assert (
    command_line(
      [
        "score",
        f"--workdir={run_copy}",
        files[0],
        files[1].replace("reference", "target"),
        "--max_source_length=6",
      ]
    )
    == 0
  )
  out, err = capsys.readouterr()
  assert (
    json.loads(out.splitlines()[-1])["cut_sources"] == 2
    and err.count("cut from") == 1
    and f"{tmp_path}/s:2: cut" in err
  )


def test_unscorable_pairs_are_refused_before_decoding(run_copy, tmp_path, monkeypatch):
  monkeypatch.setattr(TrainedModel, "outputs", lambda *_: pytest.fail("it was decoded"))
  (tmp_path / "s").write_text("one\ntwo\n")
  (tmp_path / "r").write_text("eins\n" + "zwei " * 200)
  with pytest.raises(
    DataError,
    match=f"{tmp_path}/r:2: has .* tokens, but a batch holds only --decode_batch_tokens=64",
  ):
    evaluate(
      run_copy,
      overrides=dict(decode_batch_tokens=64, max_source_length=64),
      source=tmp_path / "s",
      reference=tmp_path / "r",
    )
  with pytest.raises(DataError, match=r"r:2: has .* tokens"):
    score(
      run_copy,
      tmp_path / "s",
      tmp_path / "r",
      overrides=dict(decode_batch_tokens=64, max_source_length=64),
    )


def test_scores_that_cannot_be_kept_are_printed(run_copy, files, capsys):
  shutil.rmtree(run_copy / "evaluations")
  (run_copy / "evaluations").write_text("no folder")
  assert command_line(["evaluate", f"--workdir={run_copy}", *files, "--beam_size=1"]) == 0
  out, err = capsys.readouterr()
  assert "exact_match" in json.loads(out.splitlines()[-1])
  assert (
    len(err.splitlines()) == 1
    and "evaluations" in err
    and "cannot be written" in err
    and "not kept" in err
  )


def test_files_may_be_preprocessed_already(run_copy, files, monkeypatch, capsys):
  seen = []
  monkeypatch.setattr(
    TranslationTask,
    "encode_target",
    lambda self, text, is_preprocessed=False: seen.append(is_preprocessed) or [5, 1],
  )
  for flags, expected in ((["--tokenized_input"], {True}), ([], {False})):
    assert command_line(["evaluate", f"--workdir={run_copy}", *files, "--beam_size=1", *flags]) == 0
    assert set(seen) == expected
    seen.clear()
  capsys.readouterr()
  assert command_line(["evaluate", f"--workdir={run_copy}", "--tokenized_input"]) == 2
  assert "--tokenized_input: is about --source and --reference" in capsys.readouterr().err


@pytest.fixture(name="named_set")
def make_named_set(tmp_path, monkeypatch):
  """A copy of sacreBLEU's wmt14/full in its cache."""
  folder = tmp_path / "sacrebleu/wmt14/full"
  folder.mkdir(parents=True)
  (folder / "wmt14_full.en-de.src").write_text("one\ntwo\nthree\n")
  (folder / "wmt14_full.en-de.ref").write_text("eins\nzwei\ndrei\n")
  monkeypatch.setattr(sacrebleu.utils, "SACREBLEU_DIR", str(tmp_path / "sacrebleu"))
  return "--test_set=wmt14/full"


@pytest.mark.parametrize("pair", ["--pair=en-de", "--nothing"])
def test_a_test_set_by_name(run_copy, named_set, pair, capsys):
  """Without a pair it is the run's."""
  flags = [flag for flag in (named_set, pair) if flag != "--nothing"]
  assert command_line(["evaluate", f"--workdir={run_copy}", "--beam_size=1", *flags]) == 0
  first, *_, last = capsys.readouterr().out.splitlines()
  result = json.loads(last)
  assert first == f"wmt14/full en-de: 3 sentences, {result['signature']}"
  assert (result["set"], result["pair"], result["sentences"]) == ("wmt14/full", "en-de", 3)
  kept = run_copy / "evaluations/wmt14_full-en-de-step40-beam_size=1.json"
  assert json.loads(kept.read_text()) == result
  hypotheses = kept.with_name(kept.name.replace(".json", ".hypotheses.txt")).read_text()
  bleu = corpus_bleu(hypotheses.splitlines(), ["eins", "zwei", "drei"])
  assert (result["bleu"], result["signature"]) == (bleu["score"], bleu["signature"])


@pytest.mark.parametrize(
  "flags, code, message",
  [
    (["--split=test"], 2, "--split: contradicts --test_set=wmt14/full"),
    (["--source=s", "--reference=r"], 2, "--source: contradicts --test_set=wmt14/full"),
    (["--reference=r"], 2, "--reference: contradicts --test_set=wmt14/full"),
    (["--tokenized_input"], 2, "--tokenized_input: contradicts --test_set=wmt14/full"),
    (["--pair=de-xx"], 2, "--pair=de-xx: is not a pair of wmt14/full"),
    (["--pair=de-en"], 3, "--test_set=wmt14/full: is not in "),
    (["--test_set=wmt14/fall"], 2, "--test_set=wmt14/fall: is not a test set of sacreBLEU"),
    (["--test_set=", "--pair=en-de"], 2, "--pair=en-de: is read only with --test_set"),
  ],
)
def test_a_test_set_by_name_that_cannot_be(
  trained, named_set, flags, code, message, monkeypatch, capsys
):
  monkeypatch.setattr(sacrebleu_sets, "why_unreachable", lambda url: "no network")
  assert command_line(["evaluate", f"--workdir={trained}", named_set, *flags]) == code
  error = capsys.readouterr().err
  assert error.startswith(f"transformer-jax: {message}") and error.count("\n") == 1


def test_a_test_set_by_name_from_python(run_copy, named_set):
  named = NamedSet("wmt14/full", "en-de")
  assert evaluate(run_copy, split=named, overrides=dict(beam_size=1))["set"] == "wmt14/full"
  with pytest.raises(ConfigError, match=r"--source: contradicts --test_set=wmt14/full"):
    evaluate(run_copy, split=named, overrides={}, source="s", reference="r")


def test_a_pair_in_the_other_direction_is_told(run_copy, monkeypatch, capsys):
  monkeypatch.setattr(evaluate_module, "read_test_set", lambda *_: (["eins"], ["one"]))
  for pair, warnings in (("de-en", 1), ("en-de", 0), ("", 0)):
    evaluate(run_copy, split=NamedSet("wmt14/full", pair), overrides=dict(beam_size=1))
    lines = capsys.readouterr().err.splitlines()
    told = "transformer-jax: warning: --pair=de-en: the run translates en into de"
    assert lines.count(told) == warnings


def test_score_sums_what_it_writes(trained, tmp_path, capsys):
  (tmp_path / "s").write_text("one\ntwo\n")
  (tmp_path / "t").write_text("eins\nzwei\n")
  assert (
    command_line(
      ["score", f"--workdir={trained}", f"--source={tmp_path}/s", f"--target={tmp_path}/t"]
    )
    == 0
  )
  *lines, totals = capsys.readouterr().out.splitlines()
  totals = json.loads(totals)
  assert (
    totals["log_prob"] == pytest.approx(sum(map(float, lines)), abs=1e-5) and totals["pairs"] == 2
  )
  assert totals["perplexity"] == pytest.approx(
    perplexity_of(-totals["log_prob"] / totals["tokens"])
  )
  (tmp_path / "t").write_text("eins\n")
  assert (
    command_line(
      ["score", f"--workdir={trained}", f"--source={tmp_path}/s", f"--target={tmp_path}/t"]
    )
    == 3
  )


def test_digest_is_of_a_step(trained, capsys):
  for flags in ([], ["--step=40"], ["--step=30"]):
    assert command_line(["digest", f"--workdir={trained}", *flags]) == 0
  latest, same, earlier = capsys.readouterr().out.split()
  assert latest == same != earlier and len(latest) == 64
