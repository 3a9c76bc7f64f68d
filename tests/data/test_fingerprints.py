"""SHA-256 of files, remembered while size and time of change stay the same."""

import hashlib
import json
import os
import time

import pytest

from transformer_jax.data import fingerprints
from transformer_jax.data.fingerprints import count_lines, file_sha256


@pytest.fixture
def text(tmp_path, monkeypatch):
  """A file that counts as large and old; it is read by `reads`."""
  monkeypatch.setenv("TRANSFORMER_JAX_CACHE", str(tmp_path / "cache"))
  monkeypatch.setattr(fingerprints, "_LARGE", 10)
  monkeypatch.setattr(fingerprints, "_SETTLED_AFTER", -1)
  path = tmp_path / "text.en"
  path.write_text("one\ntwo\nthree\n")
  return path


@pytest.fixture
def reads(monkeypatch):
  """The paths that were read."""
  found = []
  read = fingerprints._read_facts
  monkeypatch.setattr(
    fingerprints, "_read_facts", lambda path: found.append(str(path)) or read(path)
  )
  return found


def sha256_of(path):
  return hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_unchanged_file_is_read_once(text, reads):
  for _ in range(3):
    assert file_sha256(text) == sha256_of(text) and count_lines(text) == 3
  assert reads == [str(text)]
  assert file_sha256(text, by_content=True) == sha256_of(text)
  assert len(reads) == 2


def test_a_change_of_size_or_time_is_noticed(text, reads):
  file_sha256(text)
  text.write_text("one\ntwo\nthree\nfour\n")
  assert file_sha256(text) == sha256_of(text) and count_lines(text) == 4
  time.sleep(0.02)  # the clock of a file system has ticks
  text.write_text("one\ntwo\nthree\nFOUR\n")
  assert file_sha256(text) == sha256_of(text)
  before = os.stat(text)
  time.sleep(0.02)
  text.write_text("ONE\ntwo\nthree\nFOUR\n")
  os.utime(text, ns=(before.st_atime_ns, before.st_mtime_ns))  # as cp -p and rsync do
  assert file_sha256(text) == sha256_of(text)
  assert len(reads) == 4


def test_a_change_that_seems_none_is_found_by_content(text, monkeypatch):
  before = file_sha256(text)
  stamp = fingerprints._stamp(text)
  text.write_text("ONE\ntwo\nthree\n")
  monkeypatch.setattr(fingerprints, "_stamp", lambda _: stamp)
  assert file_sha256(text) == before
  assert file_sha256(text, by_content=True) == sha256_of(text) != before
  assert file_sha256(text) == sha256_of(text)


def test_a_file_that_changed_just_now_is_not_remembered(text, reads, monkeypatch):
  monkeypatch.setattr(fingerprints, "_SETTLED_AFTER", 3600)
  for _ in range(2):
    file_sha256(text)
  assert len(reads) == 2


def test_small_files_are_not_remembered(text, reads, monkeypatch):
  monkeypatch.setattr(fingerprints, "_LARGE", 100)
  for _ in range(2):
    file_sha256(text)
  assert len(reads) == 2 and not (text.parent / "cache").exists()


@pytest.mark.parametrize("content", ["", "damaged", "[]", '{"stamp": 1}', "[" * 99_999])
def test_a_damaged_memory_costs_only_time(text, content):
  first = file_sha256(text)
  (path,) = (text.parent / "cache/fingerprints").iterdir()
  for damaged in (content, json.dumps(dict(json.loads(path.read_text()), value=dict(sha256="x")))):
    path.write_text(damaged)
    assert file_sha256(text) == first


def test_a_cache_that_cannot_be_written_costs_only_time(text, monkeypatch):
  monkeypatch.setenv("TRANSFORMER_JAX_CACHE", "/dev/null")
  assert file_sha256(text) == sha256_of(text)


def test_compressed_lines_are_not_counted(text):
  assert count_lines(text.rename(text.with_name("text.en.gz"))) is None


def test_a_missing_file(text):
  with pytest.raises(FileNotFoundError):
    file_sha256(text.with_name("none"))
