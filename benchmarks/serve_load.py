"""Times `transformer-jax serve` under several clients at once, and watches its memory.

    python benchmarks/serve_load.py --workdir=runs/quickstart --source=SENTENCES

Each client keeps one connection, and asks again as soon as it is answered: eight of ten times for
one translation, once for every step of one, once for attention with a head closed. Prints one JSON
line: answers by status, seconds until the answer, the service's processor time, and its memory in
MB at each tenth of the requests.
"""

import argparse
import http.client
import itertools
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

HEAD = dict(attention="cross", layer=1, head=1)


class Load:
  """The requests, shared by the clients, and what came of them."""

  def __init__(self, port: int, lines: list[str], process: int) -> None:
    self._port = port
    self._lines = lines
    self._process = process
    self._lock = threading.Lock()
    self._numbers = itertools.count()
    self.seconds: list[float] = []
    self.statuses: dict[int, int] = {}
    self.megabytes: list[int] = []

  def run(self, clients: int, requests: int) -> float:
    """Sends the requests; returns the seconds that all took."""
    self._numbers = itertools.count()
    begin = time.perf_counter()
    threads = [threading.Thread(target=self._ask, args=(requests,)) for _ in range(clients)]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
    return time.perf_counter() - begin

  def _ask(self, requests: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=600)
    while (number := next(self._numbers)) < requests:
      path, asked = self._request(number)
      headers = {"Content-Type": "application/json"}
      begin = time.perf_counter()
      connection.request("POST", path, json.dumps(asked), headers)
      answer = connection.getresponse()
      answer.read()
      seconds = time.perf_counter() - begin
      with self._lock:
        self.seconds.append(seconds)
        self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
        if number % (requests // 10) == 0:
          self.megabytes.append(megabytes(self._process))
    connection.close()

  def _request(self, number: int) -> tuple[str, dict]:
    line = self._lines[number % len(self._lines)]
    if number % 10 == 8:
      return "/step", dict(source=line, complete=True, beam_size=1)
    if number % 10 == 9:
      return "/attention", dict(source=line, closed_heads=[HEAD], beam_size=1)
    return "/translate", dict(lines=[line])


def megabytes(process: int) -> int:
  """Returns the resident memory of a process."""
  text = pathlib.Path(f"/proc/{process}/status").read_text(encoding="ascii")
  return int(text.split("VmRSS:")[1].split()[0]) // 1024


def processor_seconds(process: int) -> float:
  """Returns the processor time that a process has used."""
  text = pathlib.Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
  user, system = text.rpartition(")")[2].split()[11:13]
  return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
  """Starts the service, asks, and prints."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument("--workdir", required=True)
  parser.add_argument("--source", required=True, help="sentences, one a line")
  parser.add_argument("--clients", type=int, default=8)
  parser.add_argument("--requests", type=int, default=1000)
  parser.add_argument("--first", type=int, default=200, help="requests before the clock starts")
  flags = parser.parse_args()
  lines = pathlib.Path(flags.source).read_text(encoding="utf-8").splitlines()
  command = [sys.executable, "-m", "transformer_jax", "serve", f"--workdir={flags.workdir}"]
  service = subprocess.Popen([*command, "--port=0"], stdout=subprocess.PIPE, text=True)
  try:
    assert service.stdout
    port = int(service.stdout.readline().split("127.0.0.1:")[1].split("/")[0])
    Load(port, lines, service.pid).run(flags.clients, flags.first)  # compiles
    load = Load(port, lines, service.pid)
    processor = processor_seconds(service.pid)
    seconds = load.run(flags.clients, flags.requests)
    processor = processor_seconds(service.pid) - processor
  finally:
    service.terminate()
  times = sorted(load.seconds)
  found = dict(
    statuses=load.statuses,
    clients=flags.clients,
    seconds=round(seconds, 2),
    requests_per_second=round(len(times) / seconds, 1),
    processor_seconds=round(processor, 2),
    p50_seconds=round(times[len(times) // 2], 4),
    p99_seconds=round(times[len(times) * 99 // 100], 4),
    slowest_seconds=round(times[-1], 4),
    megabytes=load.megabytes,
    exit_code=service.wait(60),
  )
  print(json.dumps(found))


if __name__ == "__main__":
  main()
