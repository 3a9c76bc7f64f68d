"""`transformer-jax attention`."""

SETTINGS = dict(groups=("decode",), overrides=True)


def declare(command):
  """The flags besides the decoding settings."""
  command.declare_workdir()
  command.declare("source", "", "the sentence to look at")
  command.declare("target", "", "an output to look at instead of the model's own")
  command.declare_path("input", "a file of sentences instead, one a line")
  command.declare_path(
    "output", "folder for page, JSON and figures; default: attention/ in the workdir"
  )
  command.declare("layer", None, "layer that the figures show, from 1; default: the last", kind=int)
  command.declare(
    "head",
    None,
    "head that they show alone, from 1; default: the cross head that looks the sharpest",
    kind=int,
  )
  command.declare(
    "word", None, "word of the output that they show alone, from 1; default: the first", kind=int
  )
  command.declare("figures", True, "draw figures, PNG and PDF, beside the page and the JSON")
  command.declare(
    "tokenized_input", False, "the text has been through the run's preprocessing already"
  )
  command.declare_checkpoint()


def run(command):
  """Prints where the pages are."""
  checkpoint = command.checkpoint()
  workdir = command.workdir_of_a_run()
  from transformer_jax.analysis.attention.report import report

  folders = report(
    workdir,
    command["output"] or f"{workdir}/attention",
    overrides=command.settings(),
    source=command["source"],
    target=command["target"] or None,
    input_path=command["input"],
    layer=command["layer"],
    head=command["head"],
    word=command["word"],
    with_figures=command["figures"],
    tokenized_input=command["tokenized_input"],
    checkpoint=checkpoint,
  )
  for folder in folders:
    print(folder / "attention.html")
