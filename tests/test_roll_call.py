"""The processes of a run find each other, or each of them says in one line why not."""

import concurrent.futures
import contextlib
import os
import socket
import subprocess
import sys

import pytest
from patience import PATIENCE
from tiny_run import flags

from transformer_jax import roll_call
from transformer_jax.errors import ConfigError

ENOUGH = 60  # seconds: far more than a busy machine needs
SHORT = 2.0  # seconds that a test waits in vain


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
  monkeypatch.setattr(roll_call, "_ATTEMPT", 0.5)
  monkeypatch.setattr(roll_call, "_PAUSE", 0.02)


@pytest.fixture
def port():
  with socket.socket() as free:
    free.bind(("localhost", 0))
    return free.getsockname()[1]


def outcomes(*calls, patience=ENOUGH):
  """Calls the roll for each (coordinator, count, number) at once; returns addresses or errors."""

  def outcome(call):
    try:
      return roll_call.call_roll(*call, patience)
    except ConfigError as error:
      return str(error)

  with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
    return list(pool.map(outcome, calls))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_all_that_come_get_the_address_in_numbers(host, port):
  found = outcomes(*((f"{host}:{port}", 3, number) for number in range(3)))
  assert len(set(found)) == 1 and found[0] in (f"127.0.0.1:{port}", f"[::1]:{port}")
  with roll_call._listen_at(port):  # the port is free for jax
    pass


def test_a_single_process_is_complete(port):
  assert outcomes((f"127.0.0.1:{port}", 1, 0)) == [f"127.0.0.1:{port}"]


def test_a_name_that_is_not_known(port):
  for number in (0, 1):
    (found,) = outcomes((f"no-such-host.invalid:{port}", 2, number), patience=SHORT)
    assert found.startswith(f"--coordinator=no-such-host.invalid:{port}: the name ")
    assert "no-such-host.invalid is not known: " in found


def test_no_first_process(port):
  (found,) = outcomes((f"127.0.0.1:{port}", 2, 1), patience=SHORT)
  assert f":{port}: no first process was found there within 2 seconds: Connection refused" in found


def test_a_firewall_that_drops(port):
  with contextlib.ExitStack() as stack:
    # A listener whose queue is full does not answer, as if what is sent to it were dropped.
    full = stack.enter_context(socket.socket())
    full.bind(("127.0.0.1", port))
    full.listen(0)
    for _ in range(3):
      waiting = stack.enter_context(socket.socket())
      waiting.setblocking(False)
      waiting.connect_ex(("127.0.0.1", port))
    (found,) = outcomes((f"127.0.0.1:{port}", 2, 1), patience=SHORT)
  assert "no answer within 2 seconds: a firewall drops what is sent there" in found


def test_another_number_of_processes(port):
  found = outcomes((f"127.0.0.1:{port}", 2, 0), (f"127.0.0.1:{port}", 3, 1))
  assert found[0] == found[1]
  assert "expects 3 processes, the first one 2; give all processes the same" in found[0]


@pytest.mark.parametrize("number", [0, 1])
def test_two_processes_with_one_number(number, port):
  numbers = [0, number, number] if number else [0, 0]
  found = outcomes(*((f"127.0.0.1:{port}", 3, each) for each in numbers))
  assert len(set(found)) == 1
  assert f"two processes have number {number}: {os.getpid()} on " in found[0]


def test_processes_that_do_not_come_are_named(port):
  place = f"127.0.0.1:{port}"
  found = outcomes((place, 3, 0), (place, 3, 1), patience=SHORT)
  assert "of 3 processes, number 2 did not come within 2 seconds" in found[0]
  # Whose patience ends first depends on the machine.
  assert found[1] == found[0] or "not all 3 of them came within 2 seconds" in found[1]


def test_a_first_process_that_is_not_where_it_says(port):
  with roll_call._listen_at(0) as other:
    elsewhere = other.getsockname()[1]
  with socket.create_server(("127.0.0.1", elsewhere)):
    found = outcomes((f"127.0.0.1:{elsewhere}", 2, 0), patience=SHORT)
  assert "the first process cannot listen at port" in found[0] and "in use" in found[0]


def test_a_port_of_another_program(port):
  with socket.create_server(("127.0.0.1", port)) as other:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
      call = pool.submit(outcomes, (f"127.0.0.1:{port}", 2, 1), patience=SHORT)
      while not call.done():
        other.settimeout(0.1)
        with contextlib.suppress(OSError):
          connection, _ = other.accept()
          connection.sendall(b"\x00\x00\x12\x04\n")
          connection.close()
    (found,) = call.result()
  assert "something else than the first process of a run that starts answers there" in found


def test_one_that_dies_and_comes_again_is_no_second_one(port):
  place = f"127.0.0.1:{port}"
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    first = pool.submit(outcomes, (place, 3, 0))
    with _connected(port) as dead:
      roll_call._send(dead, dict(number=1, count=3, name="dead"))
      assert roll_call._receive(dead) == dict(is_welcome=True)
    assert outcomes((place, 3, 1), (place, 3, 2)) == [place, place]
    assert first.result() == [place]


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1\r\n", b"{}\n", b'{"number": [], "count": 2}\n'])
def test_a_stranger_is_not_counted(line, port):
  place = f"127.0.0.1:{port}"
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    first = pool.submit(outcomes, (place, 2, 0))
    with _connected(port) as stranger:
      stranger.sendall(line)
      assert stranger.recv(1) == b""
    assert outcomes((place, 2, 1)) == [place]
    assert first.result() == [place]


def _connected(port):
  """Returns a connection to the first process, once it listens."""
  while True:
    with contextlib.suppress(ConnectionRefusedError):
      return socket.create_connection(("127.0.0.1", port), PATIENCE)


@pytest.mark.slow
def test_the_command_ends_with_one_line_and_code_2(port, tmp_path):
  command = [sys.executable, "-m", "transformer_jax", "train", *flags()]
  place = [f"--coordinator=localhost:{port}", "--num_processes=2", "--process_id=1"]
  end = subprocess.run(
    [*command, f"--workdir={tmp_path / 'run'}", *place, "--start_timeout=1"],
    check=False,
    capture_output=True,
    text=True,
    timeout=PATIENCE,
  )
  assert end.returncode == 2
  (line,) = end.stderr.splitlines()
  assert line.startswith(f"transformer-jax: --coordinator=localhost:{port}: no first process was ")
  assert not (tmp_path / "run").exists()
