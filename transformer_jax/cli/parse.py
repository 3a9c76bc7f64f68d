"""`transformer-jax parse`."""

SETTINGS = dict(groups=("decode",), overrides=True)


def declare(command):
  """The flags besides the decoding settings."""
  command.declare_workdir()
  command.declare_path(
    "input", "text file, one sentence a line, .gz allowed; default: standard input"
  )
  command.declare_path(
    "output", "file for the trees, one a line; default: standard output; a name in .gz is packed"
  )
  command.declare("with_scores", False, "write LOG-PROB, SCORE and TREE, tabs between them")
  command.declare(
    "pretty", False, "write each tree indented over several lines, an empty line after it"
  )
  command.declare(
    "tokenized_input",
    False,
    "the sentences are words between spaces; else they are cut as the Penn Treebank does",
  )
  command.declare(
    "strict", False, "refuse lines that are not UTF-8, instead of reading what can be read"
  )
  command.declare_checkpoint()


def run(command):
  """Writes one tree for each line read."""
  checkpoint = command.checkpoint()
  workdir = command.workdir_of_a_run()
  from transformer_jax.runs.parse import parse

  parse(
    workdir,
    command["input"],
    command["output"],
    overrides=command.settings(),
    with_scores=command["with_scores"],
    pretty=command["pretty"],
    tokenized_input=command["tokenized_input"],
    checkpoint=checkpoint,
    is_strict=command["strict"],
  )
