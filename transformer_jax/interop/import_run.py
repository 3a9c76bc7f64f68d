"""`import`: makes a run of an exported model, or of another system's, whole or not at all."""

import importlib
import pathlib
import re
from typing import Any

import jax

from transformer_jax import parallel
from transformer_jax.checkpoints import Checkpoints
from transformer_jax.checkpoints.leaves import named_leaves
from transformer_jax.data.network import why_no_hub
from transformer_jax.data.tokenizers.folder import save_tokenizer
from transformer_jax.errors import ConfigError, DataError
from transformer_jax.files import StrPath, check_new, new_folder
from transformer_jax.interop import marian
from transformer_jax.interop.folders import read_model
from transformer_jax.interop.imported import Imported
from transformer_jax.runs.build import build_task
from transformer_jax.runs.digest import params_digest
from transformer_jax.workdir.folder import Workdir

_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")  # as models are named on huggingface.co


def import_run(source: str, workdir: StrPath) -> dict[str, Any]:
  """Makes a run of a model that `folders.read_model` reads.

  Args:
    source: folder of the model, or its name on huggingface.co, such as
      "Helsinki-NLP/opus-mt-en-de", which is fetched.
    workdir: folder of the run, which must not exist.

  Returns:
    dict of what was imported: "from", "workdir", "step", "parameters", "params_sha256" (as
    config.json of a run that begins with them has it) and "vocab_size" (of the target).

  Raises:
    ConfigError: nothing can be read there, or the model has a setting that we lack; names it.
    CheckpointError, DataError: its arrays or its tokenizer cannot be used; names the file.
    WorkdirError: the workdir exists, or cannot be written.
  """
  check_new(workdir)
  imported = read_model(_folder_of(source))
  with new_folder(workdir) as temporary:
    _write(imported, source, temporary)
  return dict(
    {"from": source},
    workdir=str(workdir),
    step=imported.steps[-1],
    parameters=sum(leaf.size for leaf in jax.tree.leaves(imported.params)),
    params_sha256=params_digest(dict(named_leaves(imported.params))),
    vocab_size=build_task(imported.config.data, imported.tokenizer).target_vocab_size,
  )


def _folder_of(source: str) -> pathlib.Path:
  """Returns the folder, fetched if there is none of that name."""
  folder = pathlib.Path(source)
  if folder.is_dir():
    return folder
  if folder.exists() or not _REPOSITORY.fullmatch(source):
    raise ConfigError(f"--from={source}", "is not a folder", "name the folder of a model")
  try:
    hub = importlib.import_module("huggingface_hub")
  except ImportError:
    raise ConfigError(
      f"--from={source}",
      "there is no such folder, and to fetch a model of this name needs huggingface_hub",
      "name the folder of a model, or pip install 'transformer_jax[huggingface]'",
    ) from None
  why_offline = why_no_hub()
  try:
    return pathlib.Path(
      hub.snapshot_download(
        source, allow_patterns=list(marian.FILES), local_files_only=why_offline is not None
      )
    )
  except Exception as error:  # of several libraries: there is no network, or no such model
    if why_offline:
      raise DataError(
        f"--from={source}",
        "is not a folder, the cache of huggingface_hub does not hold it, and the Hugging Face Hub "
        f"cannot be reached ({why_offline})",
        f"where there is a network, run hf download {source} --local-dir=FOLDER; copy FOLDER here "
        "and give --from=FOLDER",
      ) from None
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    raise DataError(
      f"--from={source}",
      f"cannot be fetched: {reason}",
      "check the name and the network, or fetch the folder elsewhere and name it",
    ) from None


def _write(imported: Imported, source: str, path: pathlib.Path) -> None:
  """Writes the files of a run."""
  folder = Workdir(path)
  settings = imported.config.replace(average_last=1).to_flat()  # there is one checkpoint
  save_tokenizer(imported.tokenizer, folder.tokenizer)
  meta = dict(
    imported_from=source,
    data=None,
    data_fingerprint=None,  # nothing is trained here: no text is read, and none need exist
    num_devices=parallel.num_devices(),
    config=settings,
  )
  with Checkpoints(folder.checkpoints) as checkpoints:
    checkpoints.save(imported.steps[-1], {"params": imported.params}, meta)
  folder.write_config(settings, imported_from=source)
  folder.log(f"imported from {source}")
  for note in imported.notes:
    folder.log(f"note: {note}")
