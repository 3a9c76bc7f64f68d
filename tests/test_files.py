"""Files are written whole or not at all, and a failed write says what helps."""

import errno
import gzip
import os
import subprocess

import pytest

from transformer_jax import files
from transformer_jax.errors import WorkdirError
from transformer_jax.files import (
  append,
  as_workdir_error,
  atomic_write,
  check_new,
  fsync_tree,
  new_folder,
  output_file,
  write_error,
)


def test_writing_replaces_whole_files(tmp_path):
  path = tmp_path / "file"
  atomic_write(path, "old")
  path.chmod(0o640)
  with pytest.raises(ZeroDivisionError), output_file(path) as output:
    output.write("new")
    1 / 0  # noqa: B018
  assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]
  with output_file(path) as output:
    output.write("new \ud800")  # a lone surrogate
  assert path.read_text() == "new ?" and path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("durable", [True, False])
def test_a_link_stays_and_its_target_is_replaced(tmp_path, durable):
  (tmp_path / "folder").mkdir()
  target = tmp_path / "folder" / "target"
  target.write_text("old")
  (tmp_path / "link").symlink_to(target)
  atomic_write(tmp_path / "link", b"new", durable=durable)
  assert (tmp_path / "link").is_symlink() and target.read_text() == "new"
  assert os.listdir(tmp_path / "folder") == ["target"]


@pytest.mark.parametrize("durable", [True, False])
def test_only_a_durable_write_waits_for_the_disk(tmp_path, monkeypatch, durable):
  fsynced = []
  monkeypatch.setattr(os, "fsync", fsynced.append)
  atomic_write(tmp_path / "file", "x", durable=durable)
  assert len(fsynced) == durable


def test_a_failed_replacement_leaves_the_old_file(tmp_path, monkeypatch):
  def fail(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  (tmp_path / "file").write_text("old")
  monkeypatch.setattr(os, "replace", fail)
  with pytest.raises(WorkdirError, match=r"file: cannot be written: No space left.*; free some"):
    atomic_write(tmp_path / "file", "new")
  assert (tmp_path / "file").read_text() == "old" and os.listdir(tmp_path) == ["file"]


def test_lines_are_appended(tmp_path):
  append(tmp_path / "file", "one\n")
  append(tmp_path / "file", "two \ud800\n")
  assert (tmp_path / "file").read_bytes() == b"one\ntwo ?\n"


def test_everything_under_a_folder_is_fsynced(tmp_path, monkeypatch):
  (tmp_path / "a" / "b").mkdir(parents=True)
  (tmp_path / "a" / "file").write_text("x")
  (tmp_path / "dangling").symlink_to("nowhere")
  fsynced = []
  monkeypatch.setattr(files, "fsync_file", fsynced.append)
  fsync_tree(tmp_path)
  assert sorted(fsynced) == [tmp_path, tmp_path / "a", tmp_path / "a/b", tmp_path / "a/file"]
  assert fsynced[-1] == tmp_path


def test_a_compressed_output_has_the_same_bytes_for_the_same_text(tmp_path):
  for name in ("one.gz", "two.gz"):
    with output_file(tmp_path / name) as output:
      for _ in range(1000):
        output.write("the same line\n")
        output.flush()
  packed = (tmp_path / "one.gz").read_bytes()
  assert packed == (tmp_path / "two.gz").read_bytes() and len(packed) < 200
  assert gzip.decompress(packed) == b"the same line\n" * 1000


def test_a_full_device_is_a_workdir_error():
  with pytest.raises(WorkdirError, match="No space left"), output_file("/dev/full") as output:
    output.write("x" * 100_000)


@pytest.mark.parametrize(
  "number, remedy",
  [
    (errno.ENOSPC, "; free some space"),
    (errno.EIO, "; check the disk and the permissions"),
    (errno.EACCES, "; make the folder writable"),
    (errno.EROFS, "; make the folder writable"),
    (errno.ENOENT, "; name another path"),
    (errno.ENAMETOOLONG, "; name another path"),
  ],
)
def test_the_remedy_is_for_what_went_wrong(number, remedy):
  with pytest.raises(WorkdirError, match=remedy), as_workdir_error("x"):
    raise OSError(number, os.strerror(number))


def test_a_given_remedy_is_taken_as_it_is():
  error = write_error("x", OSError(errno.EIO, "Input/output error"), "set ANOTHER_FOLDER")
  assert str(error) == "x: cannot be written: Input/output error; set ANOTHER_FOLDER"


def test_what_killed_processes_left_of_a_new_folder_is_removed(tmp_path):
  dead = subprocess.Popen(["true"])
  dead.wait()
  ours = tmp_path / f".new.{dead.pid}-0123abcd.tmp"
  others = [f".new.{os.getppid()}-0123abcd.tmp", f".newer.{dead.pid}-0123abcd.tmp", ".new.x.tmp"]
  for name in (ours.name, *others, f".{dead.pid}-0123abcd.tmp"):
    (tmp_path / name / "part").mkdir(parents=True)
  with new_folder(tmp_path / "new"):
    names = set(os.listdir(tmp_path))
    assert ours.name not in names and names > {*others, f".{dead.pid}-0123abcd.tmp"}
  assert "new" in os.listdir(tmp_path)


def test_a_folder_that_cannot_be_made_is_refused_beforehand(tmp_path, monkeypatch):
  (tmp_path / "file").write_text("x")
  check_new(tmp_path / "a" / "b")
  assert os.listdir(tmp_path) == ["file"]
  for name, problem in (
    ("file", "exists already; say another"),
    ("file/x", "Not a directory"),
    ("file/x/y", "Not a directory|is not a folder"),
    ("x" * 300, "File name too long; name another path"),
  ):
    with pytest.raises(WorkdirError, match=problem):
      check_new(tmp_path / name, "say another")
  monkeypatch.setattr(os, "access", lambda *_: False)
  with pytest.raises(WorkdirError, match=r"is not writable; make the folder writable"):
    check_new(tmp_path / "a" / "b")


def test_a_new_folder_is_whole_or_absent(tmp_path, monkeypatch):
  target = tmp_path / "parent" / "new"
  with pytest.raises(ZeroDivisionError), new_folder(target) as folder:
    (folder / "file").write_text("x")
    assert not target.exists()
    1 / 0  # noqa: B018
  assert not list(target.parent.iterdir())
  with new_folder(target) as folder:
    (folder / "file").write_text("x")
  assert os.listdir(target.parent) == ["new"] and (target / "file").read_text() == "x"
  with pytest.raises(WorkdirError, match="new: exists already; "), new_folder(target):
    raise AssertionError("not reached")

  def fail(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(os, "rename", fail)
  with pytest.raises(WorkdirError, match="other: cannot be written: No space left"):
    with new_folder(target.parent / "other"):
      pass
  assert os.listdir(target.parent) == ["new"]
