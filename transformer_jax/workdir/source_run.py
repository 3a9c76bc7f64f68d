"""The settings of the run whose parameters another run begins with (`init_from`)."""

from typing import Any

from transformer_jax.errors import WorkdirError
from transformer_jax.files import StrPath
from transformer_jax.workdir.folder import Workdir


def source_settings(init_from: StrPath) -> dict[str, Any]:
  """Returns the flat settings of the run that `init_from` names.

  Raises:
    WorkdirError: there is no run.
    ConfigError: its config.json is damaged.
  """
  folder = Workdir(init_from, primary=False)
  if not folder.has_config():
    raise WorkdirError(
      f"--init_from={init_from}", "there is no run (no config.json)", "name the workdir of a run"
    )
  return folder.read_config()
