"""JSONs of scored runs that nobody made."""

import copy
import json

RUN = dict(
  flag_file="experiments/translation/a.flags",
  flag_file_sha256="f" * 64,
  settings_sha256="settings of a",
  seed=1,
  commands=["transformer-jax train ...", "transformer-jax evaluate --workdir=DIR"],
  data_sha256="d" * 64,
  parameters=1000,
  training=dict(
    updates=200,
    source_tokens=300_000,
    target_tokens=200_000,
    wall_seconds=90.0,
    processor_seconds=1500.0,
    starts=[
      dict(
        step=0,
        hardware=dict(device="1 x cpu", processor="Abacus", cores=4, usable_cores=1),
        versions=dict(python="3.11"),
        git_revision="0123456789" * 4,
      )
    ],
  ),
  checkpoint_sha256="c" * 64,
  evaluation=dict(
    set="test",
    set_sha256="e" * 64,
    sentences=1000,
    steps=[180, 200],
    main_score="bleu",
    bleu=36.0,
    name="sacrebleu",
    signature="nrefs:1|case:mixed|tok:13a|version:2",
    chrf=60.25,
    paper_bleu=dict(score=35.5),
    perplexity=4.5,
    beam_size=4,
    constrained=False,
  ),
)


def a_run(**changes):
  """Returns a JSON; `training__updates=3` changes what stands inside."""
  run = copy.deepcopy(RUN)
  for name, value in changes.items():
    *outer, last = name.split("__")
    place = run
    for each in outer:
      place = place[each]
    place[last] = value
  return run


def a_parse(**changes):
  """Returns the JSON of a parser."""
  f1 = dict(
    main_score="f1",
    f1=80.0,
    complete_match=25.0,  # percent, as `ParsingTask.score` has them
    repair_rate=12.5,
    right_branching_f1=dict(labelled=10.0),
    beam_size=1,
    constrained=True,
    steps=[200],
  )
  inside = {f"evaluation__{name}": value for name, value in f1.items()}
  return a_run(flag_file="experiments/parsing/p.flags", **{**inside, **changes})


def put(folder, *runs):
  """Writes JSONs to a folder."""
  folder.mkdir(exist_ok=True, parents=True)
  for number, run in enumerate(runs):
    (folder / f"r-seed{run['seed']}-{number}.json").write_text(json.dumps(run))
