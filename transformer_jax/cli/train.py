"""`transformer-jax train`."""

SETTINGS = dict(groups=("model", "data", "train", "decode"))


def declare(command):
  """The flags besides the configuration's."""
  command.declare_workdir()
  command.declare_data_root()
  command.declare("on_corrupt", "refuse", "a damaged checkpoint: refuse it, or go back to the previous one", ["refuse", "previous"])
  command.declare("allow_device_change", False, "resume on another number of devices; dropout then differs from an uninterrupted run")
  command.declare("coordinator", "", "several hosts: address of the first, host:port, or auto where the platform knows (TPU pods, Slurm)")
  command.declare("num_processes", 1, "several hosts: how many processes")
  command.declare("process_id", 0, "several hosts: this process's number")


def run(command):
  """Trains or resumes."""
  config = command.config()
  workdir = command.required("workdir")
  from transformer_jax.runs.train import train  # pylint: disable=import-outside-toplevel
  hosts = (command["coordinator"], command["num_processes"], command["process_id"]) if command["coordinator"] else None
  train(config, workdir, command["data_root"], on_corrupt=command["on_corrupt"], allow_device_change=command["allow_device_change"], hosts=hosts)
