"""`import`: another system's model becomes a run, whole or not at all."""

import importlib
import pathlib
import re
from collections.abc import Callable
from typing import Any

import jax

from transformer_jax import parallel
from transformer_jax.checkpoints import Checkpoints
from transformer_jax.data.network import why_no_hub
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.data.tokenizers.folder import save_tokenizer
from transformer_jax.errors import ConfigError, DataError
from transformer_jax.files import StrPath, check_new, new_folder
from transformer_jax.interop import marian
from transformer_jax.interop.marian import Imported, read_marian
from transformer_jax.runs.prepare import data_fingerprint
from transformer_jax.workdir.folder import Workdir

# A file that only this format has -> what reads such a folder; looked for in this order.
READERS: dict[str, Callable[[pathlib.Path], Imported]] = {
  marian.CONFIG: read_marian,
}

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")  # as models are named on huggingface.co
_STEP = 0  # of the checkpoint: nothing was trained here


def import_run(source: str, workdir: StrPath) -> dict[str, Any]:
  """Makes a run of a model in another system's form.

  Args:
    source: folder of the model, or its name on huggingface.co, such as
      "Helsinki-NLP/opus-mt-en-de", which is fetched.
    workdir: folder of the run, which must not exist.

  Returns:
    dict of what was imported: "from", "workdir", "step", "parameters" and "vocab_size".

  Raises:
    ConfigError: nothing can be read there, or the model has a setting that we lack; names it.
    CheckpointError, DataError: its arrays or its tokenizer cannot be used; names the file.
    WorkdirError: the workdir exists, or cannot be written.
  """
  check_new(workdir)
  folder = _folder_of(source)
  imported = _reader(folder)(folder)
  parallel.start_up()
  with new_folder(workdir) as temporary:
    _write(imported, source, temporary)
  return dict(
    {"from": source},
    workdir=str(workdir),
    step=_STEP,
    parameters=sum(leaf.size for leaf in jax.tree.leaves(imported.params)),
    vocab_size=imported.config.data.vocab_size,
  )


def _folder_of(source: str) -> pathlib.Path:
  """Returns the folder, fetched if there is none of that name."""
  folder = pathlib.Path(source)
  if folder.is_dir():
    return folder
  if folder.exists() or not _REPOSITORY.fullmatch(source):
    raise ConfigError(
      f"--from={source}", "is not a folder", "name the folder that save_pretrained wrote"
    )
  try:
    hub = importlib.import_module("huggingface_hub")
  except ImportError:
    raise ConfigError(
      f"--from={source}",
      "is not a folder, and to fetch it needs the package huggingface_hub",
      "pip install 'transformer_jax[huggingface]', or name a folder",
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


def _reader(folder: pathlib.Path) -> Callable[[pathlib.Path], Imported]:
  for name, reader in READERS.items():
    if (folder / name).exists():
      return reader
  names = " or ".join(READERS)
  raise ConfigError(
    f"--from={folder}", f"has no {names}", "name the folder that save_pretrained wrote"
  )


def _write(imported: Imported, source: str, path: pathlib.Path) -> None:
  """Writes the files of a run."""
  folder = Workdir(path)
  settings = imported.config.to_flat()
  save_tokenizer(imported.tokenizer, folder.tokenizer)
  text = {"train": open_source(imported.config.data).fingerprint("train")}
  meta = dict(
    imported_from=source,
    data=None,
    data_fingerprint=data_fingerprint(text, imported.tokenizer),
    num_devices=parallel.num_devices(),
    config=settings,
  )
  with Checkpoints(folder.checkpoints) as checkpoints:
    checkpoints.save(_STEP, {"params": imported.params}, meta)
  folder.write_config(settings)
  folder.log(f"imported from {source}")
  for note in imported.notes:
    folder.log(f"note: {note}")
