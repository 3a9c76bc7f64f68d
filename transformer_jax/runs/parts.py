"""The parts that a training run is made of, passed around together."""

import dataclasses

from transformer_jax.checkpoints import Checkpoints
from transformer_jax.config import Config
from transformer_jax.model.transformer import Transformer
from transformer_jax.runs.prepare import Prepared
from transformer_jax.runs.time_spent import TimeSpent
from transformer_jax.workdir.folder import Workdir


@dataclasses.dataclass(frozen=True)
class RunParts:
  """Bundles what every part of a training run needs. Each process of the run has its own."""

  config: Config
  folder: Workdir
  prepared: Prepared
  model: Transformer
  checkpoints: Checkpoints
  time: TimeSpent
