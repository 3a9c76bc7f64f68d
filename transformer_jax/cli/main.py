"""`transformer-jax COMMAND [flags]`: runs the command; an error is one line and an exit code."""

import contextlib
import errno
import importlib
import io
import os
import sys
import types
import warnings
from collections.abc import Sequence

from transformer_jax import interrupt
from transformer_jax.cli.flags import Command
from transformer_jax.errors import TransformerJaxError, WorkdirError

# Name -> summary. transformer_jax/cli/NAME.py has two functions: `declare(command)` declares the
# flags of a `Command`, and `run(command)` uses their values and returns an exit code or None. Its
# SETTINGS, if any, are further arguments of the `Command`.
COMMANDS = {
  "train": "trains from a flag file; the same command again resumes",
  "evaluate": "translates a test set, scores it, prints JSON",
  "translate": "translates lines: one line out for each line in",
  "parse": "parses lines: one tree out for each sentence in",
  "score": "prints the log-probability of given translations, and perplexity",
  "bleu": "scores a file: sacreBLEU, chrF and the paper's BLEU",
  "evalb": "scores a file of trees: labeled F1 by EVALB's rules",
  "verify": "checks the paper's facts, without training",
  "cost": "compares the cost of h heads and of one: formulas, counted operations, measured time",
  "ablate": "trains every row of a table of flag files, with seeds; compares with the paper",
  "demo": "opens a page with a small German-English model that one can type to; nothing is trained",
  "attention": "shows what each head attends to in a sentence: an HTML page, figures, JSON",
  "heads": "measures each head of a run: its importance, its role, the model without it",
  "export": "writes a run as a folder for CTranslate2, Hugging Face transformers, or safetensors",
  "import": "makes a run of a Marian (OPUS-MT) model, or of a folder that export wrote",
  "serve": "answers over HTTP with a trained model: translations, attention, a page",
  "prepare": "reads the data, trains the tokenizer, encodes, reports counts",
  "results": "writes the tables of scored runs into Markdown pages",
  "experiments": "lists the flag files of this package, with their results; prints or copies one",
  "doctor": "reports the state of a run and whether a resume would be exact; changes nothing",
  "digest": "prints the SHA-256 of a run's whole training state",
}

_HELP = ("--help", "-h", "--helpfull", "-help")
# Errors of a full or closed standard output: OSErrors without a file name.
_OUTPUT_FAILED = (errno.ENOSPC, errno.EIO, errno.EBADF)


def main() -> None:
  """Runs the process's command line and ends the process.

  The exit code is 0, 1 to 6, 129, 130 or 143.
  """
  interrupt.install()
  _escape_unencodable()
  interrupt.end(run(sys.argv[1:]))


def _escape_unencodable() -> None:
  """Makes both output streams escape a letter that the terminal's encoding lacks."""
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors="backslashreplace")


def run(arguments: Sequence[str]) -> int:
  """Runs a command line and returns the exit code.

  Example:
    run(["translate", "--workdir=runs/quickstart", "--input=numbers.en"])  # 0
  """
  try:
    code = _dispatch(arguments)
    if sys.stdout is not None:
      sys.stdout.flush()
    return code
  except TransformerJaxError as error:
    return _report(error)
  except BrokenPipeError:  # the reader of standard output has gone
    _drop_standard_output()
    return 0
  except OSError as error:
    # `files` turns errors of files into expected ones. An error without a file name is from print.
    if error.filename is not None or error.errno not in _OUTPUT_FAILED:
      raise
    reason = error.strerror or error
    return _report(WorkdirError("standard output", f"cannot be written: {reason}"))


def _report(error: TransformerJaxError) -> int:
  """Prints an expected error and returns its exit code."""
  with contextlib.suppress(OSError):
    print(f"transformer-jax: {error}", file=sys.stderr)
  _drop_standard_output()
  return error.exit_code


def _drop_standard_output() -> None:
  """Discards output that cannot be written; else Python would fail on it when it exits."""
  if sys.stdout is None:
    return
  try:
    sys.stdout.flush()
  except OSError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(arguments: Sequence[str]) -> int:
  if not arguments or arguments[0] in ("--help", "-h", "help"):
    print(_overview())
    return 0 if arguments else 2
  name, *rest = arguments
  if name == "--version":
    from transformer_jax import __version__

    print(__version__)
    return 0
  if name not in COMMANDS:
    known = ", ".join(COMMANDS)
    print(
      f"transformer-jax: '{name}': there is no such command; choose one of {known}",
      file=sys.stderr,
    )
    return 2
  return _run_command(name, rest)


def module_of(name: str) -> types.ModuleType:
  """Returns the file of a command."""
  file_name = "import_run" if name == "import" else name  # a keyword cannot name a module
  return importlib.import_module(f"transformer_jax.cli.{file_name}")


def _run_command(name: str, arguments: Sequence[str]) -> int:
  module = module_of(name)
  command = Command(name, COMMANDS[name], **getattr(module, "SETTINGS", {}))
  module.declare(command)
  if any(argument in _HELP for argument in arguments):
    print(command.help())
    return 0
  command.parse(arguments)
  # The user of a command can do nothing about deprecation warnings inside libraries.
  warnings.filterwarnings("ignore", category=DeprecationWarning)
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  with command.naming_origins():
    return module.run(command) or 0


def _overview() -> str:
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
