"""Reading lines: only a newline ends one, and errors name file and line."""

import bz2
import gzip
import lzma
import os

import numpy as np
import pytest

from transformer_jax.data import text as text_module
from transformer_jax.data.text import decode_line, expand_files, read_lines
from transformer_jax.errors import DataError

LINES = {
  "unix": (b"a\nb\n", ["a", "b"]),
  "windows": (b"a\r\nb\r\n", ["a", "b"]),
  "no newline at the end": (b"a\nb", ["a", "b"]),
  "empty file": (b"", []),
  "one empty line": (b"\n", [""]),
  "empty lines": (b"\na\n\n\n", ["", "a", "", ""]),
  "lone carriage return": (b"a\rb\n\rc\n", ["a\rb", "\rc"]),
  "only one carriage return goes": (b"a\r\r\n", ["a\r"]),
  "byte order mark": (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
  "byte order mark alone": (b"\xef\xbb\xbf\n", [""]),
  "what str.splitlines would cut at": (
    "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\n".encode(),
    ["a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"],
  ),
  "NUL": (b"a\0b\n\0\n", ["a\0b", "\0"]),
  "spaces stay": (b"  a\t \n", ["  a\t "]),
}


@pytest.mark.parametrize("raw, expected", LINES.values(), ids=LINES)
@pytest.mark.parametrize("name", ["lines.txt", "lines.gz"])
def test_line_ends(tmp_path, raw, expected, name):
  path = tmp_path / name
  path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
  assert list(read_lines(path)) == expected


@pytest.mark.parametrize(
  "raw, line, byte",
  [
    (b"\xff\n", 1, 0),
    (b"good\nbad \xc3\n", 2, 4),  # cut inside a character
    (b"a\n\nb\xc0\xaf\n", 3, 1),  # overlong form
    (b"a\n\xed\xa0\x80\n", 2, 0),  # half of a surrogate pair
    (b"a\nb\xe2\x80", 2, 1),  # cut at the end of the file
  ],
)
def test_invalid_utf8_names_file_line_and_byte(tmp_path, raw, line, byte):
  path = tmp_path / "bad.txt"
  path.write_bytes(raw)
  with pytest.raises(DataError) as caught:
    list(read_lines(path))
  assert caught.value.where == f"{path}:{line}"
  assert f"byte {byte}" in caught.value.problem
  assert caught.value.exit_code == 3


def test_random_bytes_are_read_whole_or_refused_by_line(tmp_path):
  rng = np.random.default_rng(7)
  path = tmp_path / "fuzz"
  parts = [
    b"a",
    b" ",
    b"\n",
    b"\r",
    b"\r\n",
    b"\0",
    b"\xef\xbb\xbf",
    "ß".encode(),
    "\u2028".encode(),
    b"\xff",
    b"\xe2\x80",
  ]
  weights = np.array([20, 9, 9, 3, 3, 1, 1, 3, 2, 0.2, 0.2])
  shares = weights / weights.sum()
  refused = 0
  for _ in range(300):
    drawn = rng.choice(len(parts), rng.integers(0, 60), p=shares)
    raw = b"".join(parts[i] for i in drawn)
    path.write_bytes(raw)
    lines = raw.split(b"\n")
    lines = lines[:-1] if not lines[-1] else lines
    decoded = [decode_line(line + b"\n", number) for number, line in enumerate(lines, 1)]
    first_bad = next((number for number, line in enumerate(lines, 1) if not _is_utf8(line)), None)
    if b"\r" in raw[:-1] and b"\n" not in raw:
      with pytest.raises(DataError, match="carriage returns"):
        list(read_lines(path))
    elif first_bad is None:
      assert list(read_lines(path)) == decoded
    else:
      refused += 1
      with pytest.raises(DataError) as caught:
        list(read_lines(path))
      assert caught.value.where == f"{path}:{first_bad}"
  assert 20 < refused < 280


def _is_utf8(raw):
  try:
    raw.decode()
  except UnicodeDecodeError:
    return False
  return True


def test_decode_line_replaces_what_is_not_utf8():
  assert decode_line(b"a\xffb\r\n") == "a\ufffdb"
  assert decode_line(b"\xef\xbb\xbfa\n", 1) == "a"
  assert decode_line(b"\xef\xbb\xbfa\n", 2) == "\ufeffa"
  assert decode_line("a\u2028b".encode()) == "a\u2028b"


def test_files_that_cannot_be_read(tmp_path):
  (tmp_path / "plain.gz").write_bytes(b"not compressed\n")
  (tmp_path / "cut.gz").write_bytes(gzip.compress(b"line\n" * 1000)[:-12])
  for name in ("missing.txt", "", "plain.gz", "cut.gz"):
    with pytest.raises(DataError) as caught:
      list(read_lines(tmp_path / name))
    assert caught.value.where.startswith(str(tmp_path / name))
    assert "cannot be read" in caught.value.problem


def test_damaged_gzip_names_the_file(tmp_path):
  raw = bytearray(gzip.compress(b"".join(b"%d\n" % (i * i) for i in range(2000))))
  raw[40:60] = b"\xa5" * 20
  (tmp_path / "bad.gz").write_bytes(raw)
  with pytest.raises(DataError, match=r"bad\.gz"):
    list(read_lines(tmp_path / "bad.gz"))


@pytest.mark.parametrize(
  "compress, name, remedy",
  [
    (gzip.compress, "lines.txt", "name that ends in .gz"),
    (bz2.compress, "lines.bz2", "decompress"),
    (lzma.compress, "lines.xz", "decompress"),
    (lambda raw: gzip.compress(gzip.compress(raw)), "lines.gz", "decompress"),
    (lambda raw: b"PK\3\4" + raw, "lines.zip", "decompress"),
  ],
)
def test_compressed_files_are_refused_by_name(tmp_path, compress, name, remedy):
  (tmp_path / name).write_bytes(compress(b"a line\n"))
  with pytest.raises(DataError) as caught:
    list(read_lines(tmp_path / name))
  assert caught.value.where == str(tmp_path / name)
  assert "is compressed" in caught.value.problem and remedy in caught.value.remedy


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["lines.txt", "lines.gz"])
def test_a_file_in_another_encoding_is_refused_whole(tmp_path, encoding, name):
  raw = "The first line\nand the next\n".encode(encoding)
  (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
  with pytest.raises(DataError, match=r"UTF-(16|32).*iconv -f") as caught:
    list(read_lines(tmp_path / name))
  assert caught.value.where == str(tmp_path / name)


def test_text_that_only_looks_compressed_or_wide_is_read(tmp_path):
  for raw in (
    b"BZhang is a name\n",
    b"PK\n",
    b"a\0b\0c\n",
    b"\0\0\0\0\0\0\0\0\n",
    "\ufeffThe\n".encode(),
  ):
    (tmp_path / "lines").write_bytes(raw)
    expected = raw.decode().removeprefix("\ufeff").removesuffix("\n")
    assert list(read_lines(tmp_path / "lines")) == [expected]


@pytest.mark.parametrize("raw", [b"a\rb\rc", b"a\rb\r", b"\r\r", b"a b\r" * 50])
def test_a_file_without_line_feeds_is_named(tmp_path, monkeypatch, raw):
  monkeypatch.setattr(text_module, "_LONGEST_LINE", 100)
  (tmp_path / "old").write_bytes(raw)
  with pytest.raises(DataError, match="only carriage returns"):
    list(read_lines(tmp_path / "old"))


def test_one_line_is_no_file_of_carriage_returns(tmp_path):
  for raw in (b"a\r", b"a", b"\r", b"a\rb\n"):
    (tmp_path / "one").write_bytes(raw)
    expected = raw.decode().removesuffix("\n").removesuffix("\r")
    assert list(read_lines(tmp_path / "one")) == [expected]


@pytest.mark.parametrize("name", ["long.txt", "long.gz"])
def test_a_line_has_a_limit(tmp_path, monkeypatch, name):
  monkeypatch.setattr(text_module, "_LONGEST_LINE", 100)
  raw = b"x" * 99 + b"\n" + b"x" * 100 + b"\n"
  (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
  with pytest.raises(DataError) as caught:
    list(read_lines(tmp_path / name))
  assert caught.value.where == f"{tmp_path / name}:2"
  assert "longer than 100 bytes" in caught.value.problem


@pytest.mark.parametrize("name", ["x[1].en", "a*.en", "what?.en", "[ab].en", "a\\b.en"])
def test_the_name_of_an_existing_file_is_not_a_pattern(tmp_path, name):
  (tmp_path / name).write_text("x\n")
  (tmp_path / "a.en").write_text("y\n")
  assert expand_files(name, tmp_path, "train_source") == [tmp_path / name]


def test_a_comma_in_a_name(tmp_path):
  for name in ("a,b.en", "c.en"):
    (tmp_path / name).write_text("x\n")
  files = expand_files("a\\,b.en, c.en", tmp_path, "train_source")
  assert [path.name for path in files] == ["a,b.en", "c.en"]
  with pytest.raises(DataError, match="comma in a name is written"):
    expand_files("a,b.en", tmp_path, "train_source")


def test_names_that_no_file_can_have(tmp_path):
  for name in ("x" * 5000, "a\0b"):
    with pytest.raises(DataError, match="there is no file"):
      expand_files(name, tmp_path, "train_source")


def test_expand_files(tmp_path):
  for name in ("b.en", "a.en", "c.de"):
    (tmp_path / name).write_text("x\n")
  names = lambda text: [path.name for path in expand_files(text, tmp_path, "train_source")]
  assert names("") == []
  assert names("c.de, *.en") == ["c.de", "a.en", "b.en"]
  assert names(str(tmp_path / "a.en")) == ["a.en"]
  for missing in ("d.en", "*.fr", "a.en,d.en"):
    with pytest.raises(DataError) as caught:
      names(missing)
    assert caught.value.where == "--train_source"
  (tmp_path / "folder").mkdir()
  os.mkfifo(tmp_path / "pipe")
  for name, problem in (("folder", "is a folder"), ("pipe", "is no regular file")):
    with pytest.raises(DataError, match=problem):
      names(name)


def test_a_data_root_with_brackets_is_not_a_pattern(tmp_path):
  root = tmp_path / "run[1]"
  root.mkdir()
  (root / "a.en").write_text("x\n")
  assert expand_files("*.en", root, "train_source") == [root / "a.en"]
