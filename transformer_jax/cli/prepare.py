"""`transformer-jax prepare`."""

SETTINGS = dict(groups=("model", "data", "train", "decode"))


def declare(command):
  """The flags besides the configuration's, which are train's, so that its flag files can be given."""
  command.declare_data_root()


def run(command):
  """Prepares what `train` with the same flags will find, and prints the counts."""
  config = command.config()
  from transformer_jax.runs.prepare import prepare
  from transformer_jax.runs.startup_report import data_lines

  prepared = prepare(config, command["data_root"])
  for line in data_lines(config, prepared, prepared.stream_from()):
    print(line)
