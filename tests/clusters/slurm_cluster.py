"""A Slurm cluster of two nodes on this machine, n1 and n2, for the tests beside it."""

import contextlib
import getpass
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

from patience import PATIENCE

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "unshare")

CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=60
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
KillWait=120
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cores}
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cores}
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


def why_not():
  """Returns why no cluster can be started here; "" if it can."""
  search = f"{os.environ['PATH']}:/usr/sbin"
  missing = [name for name in PROGRAMS if not shutil.which(name, path=search)]
  if missing:
    return f"needs Slurm (Debian: slurm-wlm munge): no {', '.join(missing)}"
  if os.getuid() != 0:
    return "needs root, to start Slurm's daemons"
  return ""


def wait_until(condition, what="it"):
  """Waits until `condition()` is true, and returns its value."""
  end = time.monotonic() + 4 * PATIENCE
  while not (found := condition()):
    assert time.monotonic() < end, f"{what} has not come"
    time.sleep(0.05)
  return found


class SlurmCluster:
  """A context: a running cluster whose files are in a folder."""

  def __init__(self, folder):
    self.folder = folder
    self._daemons = []
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    command = bin_folder / "transformer-jax"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m transformer_jax "$@"\n')
    command.chmod(0o755)
    flags = os.environ.get("XLA_FLAGS", "")
    self.env = dict(
      os.environ,
      PATH=f"{bin_folder}:{os.environ['PATH']}:/usr/sbin",
      PYTHONPATH=str(ROOT),
      JAX_PLATFORMS="cpu",
      XLA_FLAGS=f"{flags} --xla_force_host_platform_device_count=1",
      SLURM_CONF=str(folder / "slurm.conf"),
    )

  def __enter__(self):
    with contextlib.ExitStack() as stack:
      sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
      for free in sockets:
        free.bind(("127.0.0.1", 0))
      ports = [free.getsockname()[1] for free in sockets]
    values = dict(host=socket.gethostname(), user=getpass.getuser(), cores=os.cpu_count())
    text = CONF.format(folder=self.folder, ports=ports, **values)
    (self.folder / "slurm.conf").write_text(text)
    known = pathlib.Path("/etc/hosts").read_text()
    (self.folder / "hosts").write_text(f"{known}\n127.0.0.1 n1 n2\n")
    for name in ("state", "spool-n1", "spool-n2"):
      (self.folder / name).mkdir()
    key = self.folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    try:
      self._start_all()
    except BaseException:
      self.__exit__()
      raise
    return self

  def _start_all(self):
    at = self.folder
    munge = [f"--{name}={at}/munge.{name.split('-')[0]}" for name in ("key-file", "socket")]
    munge += [f"--{name}={at}/munge.{name}" for name in ("pid-file", "log-file", "seed-file")]
    self._start("munged", "--foreground", "--force", *munge)
    wait_until((at / "munge.socket").exists, "munge")
    self._start("slurmctld", "-D", "-i", "-c")
    for node in ("n1", "n2"):
      # The nodes' names are those of this machine, only for what runs on them.
      hosts = f"mount --bind {at}/hosts /etc/hosts && exec slurmd -D -N {node}"
      self._start("unshare", "--mount", "sh", "-c", hosts)
    wait_until(lambda: self.output("sinfo", "-h", "-t", "idle", "-o", "%D") == "2", "the nodes")

  def _start(self, *command):
    with open(self.folder / f"{command[0]}{len(self._daemons)}.log", "wb") as log:
      self._daemons.append(
        subprocess.Popen(command, env=self.env, stdout=log, stderr=log, start_new_session=True)
      )

  def __exit__(self, *_):
    if self._daemons:
      user = f"--user={getpass.getuser()}"
      self.output("scancel", "--full", "--signal=KILL", user)
      self.output("scancel", user)  # those that wait, too
    for daemon in reversed(self._daemons):
      daemon.terminate()
    for daemon in self._daemons:
      with contextlib.suppress(subprocess.TimeoutExpired):
        daemon.wait(30)
      if daemon.poll() is None:
        daemon.kill()

  def output(self, *command):
    """Returns what a command of Slurm prints; "" if it fails."""
    end = subprocess.run(
      command, env=self.env, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return end.stdout.strip()

  def submit(self, *arguments):
    """Submits a job; returns its number."""
    output = f"--output={self.folder}/job-%j.log"
    number = self.output("sbatch", "--parsable", "--chdir=/", output, *arguments)
    assert number.isdecimal(), f"{arguments}: {number}"
    return number

  def state(self, job):
    """Returns name -> value of a job, as Slurm shows it."""
    return dict(re.findall(r"(\w+)=(\S*)", self.output("scontrol", "show", "job", job)))

  def wait(self, job, *states):
    """Waits until a job is in one of the states; returns its state's fields."""
    fields = {}

    def is_there():
      fields.update(self.state(job))
      return fields["JobState"] in states

    try:
      wait_until(is_there, f"{states} of job {job}, now {fields}")
    except AssertionError as error:
      raise AssertionError(f"{error}\n{self.log(job)}") from None
    return fields

  def log(self, job):
    """Returns what a job has written so far."""
    path = self.folder / f"job-{job}.log"
    return path.read_text() if path.exists() else ""


def process_ids(workdir):
  """Returns the ids of a run's processes, as their heartbeats give them; [] before."""
  found = []
  for file in sorted((workdir / "processes").glob("*")):
    with contextlib.suppress(OSError, ValueError):
      found += map(int, re.findall(r"\((\d+) on ", json.loads(file.read_bytes())["name"]))
  return found


def send(ids, number):
  """Sends a signal to processes, if they are still there."""
  for each in ids:
    with contextlib.suppress(ProcessLookupError):
      os.kill(each, number)


def has_pending(ids, number):
  """Returns whether a signal waits for each of these stopped processes, or has ended it."""
  for each in ids:
    try:
      status = pathlib.Path(f"/proc/{each}/status").read_text()
    except OSError:
      continue
    mask = int(re.search(r"ShdPnd:\s*(\w+)", status)[1], 16)
    if not mask >> (number - 1) & 1:
      return False
  return True


def stopped_in_training(workdir, last_logged):
  """Stops the processes of a run, with SIGSTOP, once they train; returns their ids."""
  wait_until(lambda: last_logged(workdir) >= 10, "step 10")
  ids = process_ids(workdir)
  assert len(ids) == 2
  send(ids, signal.SIGSTOP)
  return ids
