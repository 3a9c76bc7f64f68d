"""Finds the processes of a run before jax connects them, so errors are one line (floor 1).

If jax cannot connect them, its service aborts the process with a stack trace. So each process first
tells the first one, at the address that jax will use, its number and how many it expects. The first
one answers all of them once all are there, or once it knows why they cannot be.
"""

import contextlib
import dataclasses
import errno
import json
import os
import select
import socket
import threading
import time
from typing import Any, NamedTuple

from transformer_jax.errors import ConfigError
from transformer_jax.strict_json import json_text

START_TIMEOUT = 100  # seconds to wait until all processes of a run have started


class Place(NamedTuple):
  """The place of this process among those of a run."""

  coordinator: str  # host:port of the first process, or "auto" where the platform knows
  num_processes: int
  process_id: int  # from 0
  start_timeout: int = START_TIMEOUT  # seconds to wait until all of them have started


_ATTEMPT = 5.0  # seconds to wait for a connection, or for a line, before the next attempt
_PAUSE = 0.2  # seconds between attempts
_LAST_WORDS = 2.0  # seconds for the first process's answers to leave
_LONGEST_LINE = 4096  # bytes


@dataclasses.dataclass(frozen=True)
class _Verdict:
  """Why the processes cannot work together; an empty problem if they can."""

  problem: str = ""
  remedy: str = ""


def call_roll(coordinator: str, count: int, number: int, patience: float) -> str:
  """Waits until all processes of the run have come.

  Args:
    coordinator: host:port of the first process; nothing may listen there yet.
    count: number of processes.
    number: number of this one, from 0.
    patience: seconds to wait.

  Returns:
    the coordinator with its address in numbers, which needs no look-up.

  Raises:
    ConfigError: names the coordinator and why it cannot be reached, or what is wrong with the
      numbers of the processes.
  """
  within = f"within {patience:g} seconds"
  host, _, port = coordinator.rpartition(":")
  is_decided = threading.Event()
  first = _FirstProcess(int(port), count, within, is_decided) if number == 0 else None
  hello = dict(number=number, count=count, name=f"{os.getpid()} on {socket.gethostname()}")
  member = _Member(host.strip("[]"), int(port), hello, within, is_decided)
  if first:
    first.start()
  member.start()
  is_decided.wait(patience)
  verdict = first.close(member.verdict) if first else member.verdict
  if verdict is None:
    verdict = member.latest_problem
  if verdict.problem:
    raise ConfigError(f"--coordinator={coordinator}", verdict.problem, verdict.remedy)
  return member.address


class _Member:
  """One process of the run, in a thread: it tells the first one its number, again and again.

  A thread, since the look-up of a name may take longer than the patience.
  """

  def __init__(
    self, host: str, port: int, hello: dict[str, Any], within: str, is_decided: threading.Event
  ) -> None:
    self.verdict: _Verdict | None = None  # the first process's
    self.address = ""  # that it reached the first process at
    self._no_answer = _Verdict(
      f"no answer {within}: a firewall drops what is sent there, or the machine is off",
      "open the port between the machines, or choose another one",
    )
    self.latest_problem = self._no_answer
    self._host, self._port = host, port
    self._hello = hello
    self._within = within
    self._is_decided = is_decided

  def start(self) -> None:
    """Starts the thread."""
    threading.Thread(target=self._ask, name="roll call", daemon=True).start()

  def _ask(self) -> None:
    while self.verdict is None:
      try:
        self.verdict = self._ask_once()
      except OSError as error:
        self.latest_problem = self._problem_of(error)
      if self.verdict is None:
        time.sleep(_PAUSE)
    self._is_decided.set()

  def _ask_once(self) -> _Verdict | None:
    """Returns the first process's answer; None if what listens there is none, or has gone."""
    with socket.create_connection((self._host, self._port), _ATTEMPT) as connection:
      address, port = connection.getpeername()[:2]
      self.address = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
      _send(connection, self._hello)
      self.latest_problem = _Verdict(
        "something else than the first process of a run that starts answers there",
        "choose another port, or wait until the program that has it ends",
      )
      if "is_welcome" not in (_receive(connection) or {}):
        return None
      self.latest_problem = _Verdict(
        f"the first process waits for the others, but not all {self._hello['count']} of them came "
        f"{self._within}",
        "start all of them, or give a longer --start_timeout",
      )
      connection.settimeout(None)
      answer = _receive(connection)
    if answer is None:
      self.latest_problem = _Verdict("the first process has ended", "see what it wrote")
      return None
    return _Verdict(str(answer.get("problem")), str(answer.get("remedy")))

  def _problem_of(self, error: OSError) -> _Verdict:
    """Returns what an error of the connection means."""
    cause = error.strerror or str(error)
    if isinstance(error, socket.gaierror):
      return _Verdict(
        f"the name {self._host} is not known: {cause}",
        "name the first process's machine as the others know it, or by its address",
      )
    if isinstance(error, TimeoutError):
      return self._no_answer
    if self._hello["number"] == 0:
      return _Verdict(
        f"this first process does not reach itself there {self._within}: {cause}",
        "name an address of the machine that runs --process_id=0",
      )
    return _Verdict(
      f"no first process was found there {self._within}: {cause}",
      "start --process_id=0 on that machine, or give a longer --start_timeout",
    )


class _FirstProcess:
  """Listens at the coordinator's port, and answers every process once the verdict is there."""

  def __init__(self, port: int, count: int, within: str, is_decided: threading.Event) -> None:
    self._port = port
    self._count = count
    self._within = within
    self._lock = threading.Lock()
    self._present: dict[int, tuple[str, socket.socket]] = {}  # number -> name, connection
    self._verdict: _Verdict | None = None
    self._is_decided = is_decided
    self._bind_problem: str | None = None
    self._listener = threading.Thread(target=self._listen, name="roll call", daemon=True)
    self._answering: list[threading.Thread] = []

  def start(self) -> None:
    """Starts to listen, in a thread."""
    self._listener.start()

  def close(self, told: _Verdict | None) -> _Verdict | None:
    """Answers those who came, and frees the port.

    Args:
      told: the verdict of another process that is the first one at that address.

    Returns:
      the verdict, or who is missing; None if this process did not even reach itself.
    """
    verdict = self._verdict or told or self._missing()
    self._decide(verdict or _Verdict("the first process gave up", "see what it wrote"))
    for thread in (self._listener, *self._answering):
      thread.join(_LAST_WORDS)
    return verdict

  def _missing(self) -> _Verdict | None:
    if self._bind_problem:
      return _Verdict(
        f"the first process cannot listen at port {self._port}: {self._bind_problem}",
        "choose another port, or wait until the program that has it ends",
      )
    absent = [str(number) for number in range(self._count) if number not in self._present]
    if "0" in absent or not absent:
      return None
    return _Verdict(
      f"of {self._count} processes, {_shortened(absent)} did not come {self._within}",
      "start all of them, with the same --num_processes, or give a longer --start_timeout",
    )

  def _listen(self) -> None:
    listener = self._bound()
    if listener is None:
      return
    with listener:
      while self._verdict is None:
        if not select.select([listener], [], [], _PAUSE)[0]:
          continue
        with contextlib.suppress(OSError):
          connection, _ = listener.accept()
          thread = threading.Thread(target=self._answer, args=(connection,), daemon=True)
          self._answering.append(thread)
          thread.start()

  def _bound(self) -> socket.socket | None:
    """Returns a socket that listens; None if the verdict came first."""
    while self._verdict is None:
      try:
        listener = _listen_at(self._port)
        self._bind_problem = None
        return listener
      except OSError as error:  # perhaps an earlier start of the run is just ending
        self._bind_problem = error.strerror or str(error)
        time.sleep(_PAUSE)
    return None

  def _answer(self, connection: socket.socket) -> None:
    """Hears one process, and answers it once the verdict is there."""
    with connection, contextlib.suppress(OSError):
      connection.settimeout(_ATTEMPT)
      hello = _receive(connection)
      if hello is None or not _is_hello(hello):
        return
      _send(connection, dict(is_welcome=True))
      self._enter(hello, connection)
      while self._verdict is None:
        if _has_ended(connection, _PAUSE):
          self._leave(hello, connection)
          return
      _send(connection, dataclasses.asdict(self._verdict))

  def _enter(self, hello: dict[str, Any], connection: socket.socket) -> None:
    number, count, name = hello["number"], hello["count"], hello["name"]
    with self._lock:
      if self._verdict is not None:
        return
      other, its_connection = self._present.get(number, ("", None))
      if count != self._count:
        problem = (
          f"process {number} ({name}) expects {count} processes, the first one {self._count}"
        )
        self._decide(_Verdict(problem, "give all processes the same --num_processes"))
      elif its_connection and not _has_ended(its_connection):
        problem = f"two processes have number {number}: {other}, and {name}"
        self._decide(_Verdict(problem, "give each its own --process_id, from 0"))
      else:
        self._present[number] = name, connection
        if len(self._present) == self._count:
          self._decide(_Verdict())

  def _leave(self, hello: dict[str, Any], connection: socket.socket) -> None:
    number = hello["number"]
    with self._lock:
      if self._verdict is None and self._present.get(number) == (hello["name"], connection):
        del self._present[number]

  def _decide(self, verdict: _Verdict) -> None:
    if self._verdict is None:
      self._verdict = verdict
      self._is_decided.set()


def _listen_at(port: int) -> socket.socket:
  """Returns a socket that listens on all addresses of the machine."""
  if socket.has_dualstack_ipv6():
    try:
      return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    except OSError as error:
      if error.errno != errno.EADDRNOTAVAIL:  # IPv6 is turned off
        raise
  return socket.create_server(("", port))


def _has_ended(connection: socket.socket, wait: float = 0.0) -> bool:
  """Returns whether a process that was welcomed, and so says no more, closed its connection."""
  return bool(select.select([connection], [], [], wait)[0])


def _send(connection: socket.socket, content: dict[str, Any]) -> None:
  connection.sendall(f"{json_text(content)}\n".encode())


def _receive(connection: socket.socket) -> dict[str, Any] | None:
  """Returns what a line says; None if no line comes, or one of another program."""
  line = b""
  try:
    while not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
      part = connection.recv(1)
      if not part:
        return None
      line += part
    content = json.loads(line)
  except (OSError, ValueError, RecursionError):
    return None
  return content if isinstance(content, dict) else None


def _is_hello(content: dict[str, Any]) -> bool:
  kinds = dict(number=int, count=int, name=str)
  return all(isinstance(content.get(key), kind) for key, kind in kinds.items())


def _shortened(numbers: list[str]) -> str:
  """Returns "number 1" or "numbers 1, 2, 3 and 5 more"."""
  shown = ", ".join(numbers[:4])
  more = f" and {len(numbers) - 4} more" if len(numbers) > 4 else ""
  return f"number{'s' if len(numbers) > 1 else ''} {shown}{more}"
