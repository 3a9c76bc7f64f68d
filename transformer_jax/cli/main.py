"""`transformer-jax COMMAND [flags]`: finds the command, and turns errors into one line and an exit code."""

import contextlib
import errno
import importlib
import io
import os
import sys
import warnings

from transformer_jax import interrupt
from transformer_jax.cli.flags import Command
from transformer_jax.errors import TransformerJaxError, WorkdirError

# name -> what it does; transformer_jax/cli/NAME.py has `declare(name, summary) -> Command` and `run(command)`.
COMMANDS = {
  "train": "trains from a flag file; the same command again resumes",
  "evaluate": "translates a test set, scores it, prints JSON",
  "translate": "translates lines: one line out for each line in",
  "parse": "parses lines: one tree out for each sentence in",
  "score": "log-probability of given translations, and perplexity",
  "bleu": "sacreBLEU, chrF and the paper's BLEU of a file",
  "evalb": "labelled F1 of a file of trees, by EVALB's rules",
  "verify": "checks the paper's facts, without training",
  "cost": "what h heads cost beside one: formulas, counted operations, measured time",
  "ablate": "trains every row of a table of flag files, with seeds; prints the paper's figures beside ours",
  "attention": "what each head looks at in a sentence: a page to open, figures, JSON",
  "heads": "what each head of a run is worth: importance, role, the model without it",
  "prepare": "reads the data, trains the tokenizer, encodes, reports counts",
  "doctor": "what state a run is in, and whether a resume would be exact; changes nothing",
  "digest": "SHA-256 over a run's whole training state",
}


def main():
  """Entry point; ends the process with the exit code of the design: 0, 1 to 6, 129, 130 or 143."""
  interrupt.install()
  _write_whatever_comes()
  interrupt.end(run(sys.argv[1:]))


def _write_whatever_comes():
  """Has a letter that the terminal's encoding lacks written as its number: no reason to stop."""
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors="backslashreplace")


def run(arguments):
  """Runs a command line; returns the exit code."""
  try:
    code = _dispatch(arguments)
    if sys.stdout is not None:
      sys.stdout.flush()
    return code
  except TransformerJaxError as error:
    return _failed(error)
  except BrokenPipeError:  # whoever read standard output has gone
    _drop_standard_output()
    return 0
  except OSError as error:
    # Files are written through `runs.workdir`, whose errors are expected ones: what comes here without a name is a print.
    if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO, errno.EBADF):
      raise
    return _failed(WorkdirError("standard output", f"cannot be written: {error.strerror or error}"))


def _failed(error):
  with contextlib.suppress(OSError):
    print(f"transformer-jax: {error}", file=sys.stderr)
  _drop_standard_output()
  return error.exit_code


def _drop_standard_output():
  """Drops what standard output does not take, as the interpreter would fail on it at its end."""
  try:
    if sys.stdout is not None:
      sys.stdout.flush()
  except OSError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(arguments):
  if not arguments or arguments[0] in ("--help", "-h", "help"):
    print(_overview())
    return 0 if arguments else 2
  name, *rest = arguments
  if name == "--version":
    from transformer_jax import __version__

    print(__version__)
    return 0
  if name not in COMMANDS:
    print(
      f"transformer-jax: '{name}': there is no such command; choose one of {', '.join(COMMANDS)}",
      file=sys.stderr,
    )
    return 2
  module = importlib.import_module(f"transformer_jax.cli.{name}")
  command = Command(name, COMMANDS[name], **getattr(module, "SETTINGS", {}))
  module.declare(command)
  if any(argument in ("--help", "-h", "--helpfull", "-help") for argument in rest):
    print(command.help())
    return 0
  command.parse(rest)
  # What libraries announce about their own futures is of no use to whoever runs a command.
  warnings.filterwarnings("ignore", category=DeprecationWarning)
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  with command.naming_origins():
    return module.run(command) or 0


def _overview():
  width = max(map(len, COMMANDS))
  return "\n".join(
    [
      'transformer-jax COMMAND [flags]: "Attention Is All You Need" in JAX',
      "",
      *(f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items()),
      "",
      "transformer-jax COMMAND --help lists the flags of a command.",
    ]
  )
