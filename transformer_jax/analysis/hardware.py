"""On what a figure was measured."""

import os
import platform

import jax

from transformer_jax import parallel


def hardware():
  """Devices, processor and cores, a dict for JSON."""
  return dict(
    device=f"{parallel.num_devices()} x {jax.devices()[0].device_kind}",
    processor=processor(),
    cores=os.cpu_count(),
  )


def processor():
  """The processor's name."""
  try:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
      return next(line.partition(": ")[2].strip() for line in file if line.startswith("model name"))
  except (OSError, StopIteration):
    return platform.processor() or platform.machine()
