"""The machine that a figure was measured on."""

import os
import platform
from typing import Any

import jax

from transformer_jax import parallel


def hardware() -> dict[str, Any]:
  """Returns the names of the devices and the processor and the number of cores, for JSON."""
  return dict(
    device=f"{parallel.num_devices()} x {jax.devices()[0].device_kind}",
    processor=processor(),
    cores=os.cpu_count(),
  )


def processor() -> str:
  """Returns the processor's name."""
  try:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
      for line in file:
        if line.startswith("model name"):
          return line.partition(": ")[2].strip()
  except OSError:
    pass
  return platform.processor() or platform.machine()
