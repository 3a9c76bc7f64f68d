"""Lines of pipes and files: each as soon as it arrives, none lost; errors name what is not text."""

import gzip
import io
import os

import pytest

from transformer_jax.data import line_stream
from transformer_jax.data.line_stream import LineStream, open_input
from transformer_jax.errors import DataError


@pytest.fixture(name="pipe")
def make_pipe():
  """Yields the lines of a pipe, and functions that write to its other end and close it."""
  end, other = os.pipe()
  with os.fdopen(end, "rb") as file, os.fdopen(other, "wb", buffering=0) as writer:
    yield LineStream(file, "-"), writer.write, writer.close


def test_a_line_is_at_hand_when_it_is_whole(pipe):
  lines, write, close = pipe
  assert not lines.is_at_hand()
  write(b"one\n")
  assert lines.is_at_hand() and next(lines) == "one" and not lines.is_at_hand()
  write(b"tw")
  assert not lines.is_at_hand()
  write(b"o\r\n\nthr")
  assert lines.is_at_hand() and next(lines) == "two"
  assert lines.is_at_hand() and next(lines) == ""
  assert not lines.is_at_hand()
  write(b"ee")
  close()
  assert lines.is_at_hand() and list(lines) == ["three"] and lines.is_at_hand()


def test_a_pipe_in_which_no_read_waits(pipe):
  lines, write, _ = pipe
  os.set_blocking(lines._file.fileno(), False)
  write(b"one\ntwo\n")
  assert [next(lines), next(lines)] == ["one", "two"] and not lines.is_at_hand()


@pytest.mark.parametrize(
  "content, expected",
  [
    (b"", []),
    (b"\n", [""]),
    (b"a", ["a"]),
    (b"a\n\nb\rc\r\n", ["a", "", "b\rc"]),
    ("\N{ZERO WIDTH NO-BREAK SPACE}a\nb".encode(), ["a", "b"]),
    (b"x" * 200_000 + b"\ny\n", ["x" * 200_000, "y"]),
  ],
)
def test_lines_of_files_compressed_files_and_iterators(tmp_path, content, expected):
  (tmp_path / "in").write_bytes(content)
  (tmp_path / "in.gz").write_bytes(gzip.compress(content))
  for name in ("in", "in.gz"):
    with open_input(tmp_path / name) as file:
      assert list(LineStream(file, name)) == expected
  in_parts = [content] if b"\r" in content else content.splitlines(keepends=True)
  for file in (io.BytesIO(content), iter(in_parts)):
    lines = LineStream(file, "in")
    assert lines.is_at_hand() and list(lines) == expected


@pytest.mark.parametrize(
  "content, problem",
  [
    ("forty two\n".encode("utf-16"), "in: is UTF-16"),
    ("vierzig\n".encode("utf-16-be"), "in: is UTF-16BE"),
    (gzip.compress(b"forty two\n", mtime=0), "in: is compressed with gzip"),
  ],
)
def test_binary_files_are_named(content, problem):
  with pytest.raises(DataError, match=problem):
    list(LineStream(io.BytesIO(content), "in"))


def test_a_broken_compressed_file_is_named(tmp_path):
  path = tmp_path / "in.gz"
  for content in (b"no such thing\n", gzip.compress(b"forty two\n" * 1000)[:-12]):
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"in\.gz:.* cannot be read: "), open_input(path) as file:
      list(LineStream(file, path))


def test_lines_that_are_not_utf8_are_counted_or_refused():
  content = b"a\nb\xff\n\xc3\nd\n"
  lines = LineStream(io.BytesIO(content), "in")
  assert list(lines) == ["a", "b\ufffd", "\ufffd", "d"]
  assert lines.num_damaged == lines.first_damaged == 2
  with pytest.raises(DataError, match=r"in:2: is not UTF-8 at byte 1; .*--strict"):
    list(LineStream(io.BytesIO(content), "in", is_strict=True))


def test_a_line_that_is_too_long_is_named(monkeypatch):
  monkeypatch.setattr(line_stream, "_LONGEST_LINE", 1 << 17)
  with pytest.raises(DataError, match="in:2: is longer than 131,072 bytes"):
    list(LineStream(io.BytesIO(b"a\n" + b"b" * 300_000), "in"))
