"""Encoded pairs: kept and dropped ones, the cache, and a damaged cache."""

import io
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from transformer_jax.config import EOS_ID
from transformer_jax.data import encoded as encoded_module
from transformer_jax.data import encoding as encoding_module
from transformer_jax.data import workers
from transformer_jax.data.encoded import Counts
from transformer_jax.data.encoding import PairEncoder, encode_pairs
from transformer_jax.data.filters import PairFilters
from transformer_jax.errors import DataError, WorkdirError

PAIRS = [("3 4 5", "6"), ("7", "8 9"), ("", "3"), ("3", ""), ("3 4 5 6 7", "3"), ("10", "11")]


def encode(text):
  return [*map(int, text.split()), EOS_ID]


def encoded(folder, pairs=PAIRS, key="key", **settings):
  return encode_pairs(lambda: iter(pairs), PairEncoder(encode, encode, **settings), folder, key)


def texts(pairs):
  """Returns the pairs as they were before encoding."""
  plain = lambda tokens: " ".join(map(str, tokens[:-1]))
  return [(plain(pairs.source(i)), plain(pairs.target(i))) for i in range(len(pairs))]


def test_every_pair_is_kept_in_order_without_a_limit(tmp_path):
  pairs = encoded(tmp_path)
  assert texts(pairs) == PAIRS
  assert pairs.counts.kept == len(pairs) == 6 and pairs.counts.dropped == {}
  assert pairs.source_lengths.tolist() == [4, 2, 1, 2, 6, 2]
  assert pairs.target_lengths.tolist() == [2, 3, 2, 1, 2, 2]
  assert pairs.source(0).dtype == np.int32 and pairs.source(0)[-1] == EOS_ID


def test_drops_are_counted_by_reason(tmp_path):
  pairs = encoded(tmp_path, max_length=5)
  assert texts(pairs) == [PAIRS[0], PAIRS[1], PAIRS[5]]
  assert pairs.counts.kept == 3
  assert sorted(pairs.counts.dropped.values()) == [1, 2]
  assert {reason: n for reason, n in pairs.counts.dropped.items() if "5" in reason} == {
    "longer than 5 tokens": 1
  }
  assert len(encoded(tmp_path, max_length=6)) == 4  # the limit itself is allowed, EOS counted


def test_the_cache_is_read_and_keyed(tmp_path):
  encoded(tmp_path, max_length=5)
  never = lambda: pytest.fail("the texts were read again")
  again = encode_pairs(never, PairEncoder(encode, encode, 5), tmp_path, "key")
  assert len(again) == 3 and again.counts.kept == 3
  assert texts(encoded(tmp_path, [("3", "4")], key="other")) == [("3", "4")]
  assert len(encoded(tmp_path)) == 6
  assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("largest, dtype", [(65_535, np.uint16), (65_536, np.int32)])
def test_tokens_take_two_bytes_where_they_fit(tmp_path, largest, dtype):
  pairs = encoded(tmp_path, [(f"3 {largest}", "3")])
  (path,) = tmp_path.glob("*/source.npy")
  assert np.load(path).dtype == dtype
  assert pairs.source(0).tolist() == [3, largest, EOS_ID]


def test_a_large_token_among_many_small_ones(tmp_path, monkeypatch):
  """The file is begun with two bytes a token, and written again with four."""
  monkeypatch.setattr(encoding_module, "_BATCH", 2)
  pairs = [(f"3 {n}", str(n)) for n in (5, 6, 7, 8, 70_000, 9, 80_000, 10)]
  found = encoded(tmp_path, pairs)
  assert texts(found) == pairs
  (folder,) = tmp_path.iterdir()
  assert len(list(folder.iterdir())) == 5
  flat = np.array([token for source, _ in pairs for token in encode(source)], np.int32)
  np.save(tmp_path / "numpy.npy", flat)
  assert (folder / "source.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_nothing_is_kept(tmp_path):
  for key, pairs in dict(none=[], dropped=[("", "")]).items():
    assert len(encoded(tmp_path, pairs, key, max_length=5)) == 0


def test_an_interrupted_encoding_leaves_nothing_behind(tmp_path):
  def interrupted():
    yield PAIRS[0]
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    encode_pairs(interrupted, PairEncoder(encode, encode), tmp_path, "key")
  assert not list(tmp_path.iterdir())
  assert texts(encoded(tmp_path)) == PAIRS


def test_an_error_in_the_texts_passes_through(tmp_path):
  def bad():
    yield PAIRS[0]
    raise DataError("file:2", "is not UTF-8")

  with pytest.raises(DataError, match="file:2"):
    encode_pairs(bad, PairEncoder(encode, encode), tmp_path, "key")
  assert not list(tmp_path.iterdir())


def test_two_processes_may_encode_the_same(tmp_path, monkeypatch):
  """The other one's folder appears while this one encodes; either is used."""
  encoded(tmp_path / "other")
  rename = os.rename

  def rename_after_the_other(source, target):
    monkeypatch.setattr(encoding_module.os, "rename", rename)
    rename(tmp_path / "other" / target.name, target)
    rename(source, target)

  monkeypatch.setattr(encoding_module.os, "rename", rename_after_the_other)
  assert texts(encoded(tmp_path / "cache")) == PAIRS
  assert len(list((tmp_path / "cache").iterdir())) == 1


def flip_a_bit(content):
  place = len(content) * 3 // 4
  return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def unpickled(_):
  file = io.BytesIO()
  np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
  return file.getvalue()


@pytest.mark.parametrize(
  "damage",
  [
    flip_a_bit,
    lambda content: content[:-3],
    lambda content: b"",
    lambda content: b"[" * 99_999,
    unpickled,
  ],
)
@pytest.mark.parametrize(
  "name", ["source.npy", "source_offsets.npy", "target.npy", "target_offsets.npy", "counts.json"]
)
def test_damaged_text_is_encoded_again_and_reported(tmp_path, capsys, name, damage):
  encoded(tmp_path)
  (path,) = tmp_path.glob(f"*/{name}")
  whole = path.read_bytes()
  path.write_bytes(damage(whole))
  assert texts(encoded(tmp_path)) == PAIRS and path.read_bytes() == whole
  assert f"transformer-jax: {path.parent}: " in capsys.readouterr().err
  assert len(list(tmp_path.iterdir())) == 1
  encoded(tmp_path)
  assert not capsys.readouterr().err


@pytest.mark.parametrize(
  "values",
  [dict(kept=5), dict(dropped={"longer": 3}), dict(unknown={}), dict(sha256={}), dict(sha256=None)],
)
def test_counts_that_were_changed_are_not_believed(tmp_path, capsys, values):
  encoded(tmp_path)
  (path,) = tmp_path.glob("*/counts.json")
  path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
  assert encoded(tmp_path).counts == Counts(6, {}, dict(source=0, target=0))
  assert "made again" in capsys.readouterr().err


def test_a_cache_may_be_shared(tmp_path):
  """Its folders and files have all permissions that the umask allows."""
  before = os.umask(0o002)
  try:
    encoded(tmp_path / "cache")
  finally:
    os.umask(before)
  for path in (tmp_path / "cache").rglob("*"):
    assert path.stat().st_mode & 0o777 == (0o775 if path.is_dir() else 0o664), path


def test_a_cache_that_another_user_closed_is_named(tmp_path, monkeypatch):
  encoded(tmp_path)

  def refused(path, *_, **__):
    raise PermissionError(13, "Permission denied", str(path))

  monkeypatch.setattr(encoded_module.pathlib.Path, "read_bytes", refused)
  with pytest.raises(WorkdirError, match=r"counts\.json: .*TRANSFORMER_JAX_CACHE"):
    encoded(tmp_path)


def test_blocks_leave_no_trace(tmp_path, monkeypatch):
  """The files do not depend on the batches; numpy writes the same for whole arrays."""
  counting = lambda n: " ".join(map(str, range(3, 3 + n)))
  pairs = [(counting(n), "7 " * n) for n in range(9)]
  encoded(tmp_path / "one", pairs)
  monkeypatch.setattr(encoding_module, "_BATCH", 2)
  encoded(tmp_path / "many", pairs)
  (one,), (many,) = ((tmp_path / name).iterdir() for name in ("one", "many"))
  for path in one.iterdir():
    assert path.read_bytes() == (many / path.name).read_bytes()
  flat = np.array([token for source, _ in pairs for token in encode(source)], np.uint16)
  np.save(tmp_path / "numpy.npy", flat)
  assert (many / "source.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_memory_does_not_grow_with_the_tokens(tmp_path, monkeypatch):
  monkeypatch.setattr(encoding_module, "_BATCH", 10)
  monkeypatch.setattr(workers, "usable_cores", lambda: 1)  # all of it is done here, and traced
  tracemalloc.start()
  try:
    encode_pairs(
      lambda: itertools.repeat(("", ""), 2000),
      PairEncoder(lambda _: [5] * 500, lambda _: [6] * 500),
      tmp_path,
      "key",
    )
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert peak < 1_000_000  # the tokens are 4 MB in two bytes each


def test_unknown_tokens_are_counted(tmp_path):
  pairs = encoded(tmp_path, [("2 3 2", "5"), ("4", "2")])
  assert pairs.counts.unknown == dict(source=2, target=1)
  assert pairs.unknown_shares() == dict(source=2 / 6, target=1 / 4)


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
  def full(*_, **__):
    raise OSError("12 requested and 0 written")  # numpy's, without errno

  monkeypatch.setattr(encoding_module._ArrayFile, "append", full)
  with pytest.raises(WorkdirError, match="12 requested and 0 written"):
    encoded(tmp_path)
  assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written(tmp_path):
  (tmp_path / "file").write_text("in the way")
  with pytest.raises(WorkdirError, match="TRANSFORMER_JAX_CACHE"):
    encoded(tmp_path / "file" / "cache")


def test_a_folder_that_lost_its_counts_is_made_again(tmp_path):
  encoded(tmp_path)
  (path,) = tmp_path.glob("*/counts.json")
  path.unlink()
  assert encoded(tmp_path).counts.kept > 0 and path.exists()


def test_the_counts_are_printed_as_json(tmp_path):
  encoded(tmp_path, max_length=5)
  (path,) = tmp_path.glob("*/counts.json")
  assert json.loads(path.read_text())["kept"] == 3


MIXED = [("3 4", "3 4"), ("5", "6"), ("7 7 7 7 7", "7"), ("5", "6"), (" 5", "6 "), ("5", "9")]


@pytest.mark.parametrize(
  "filters, kept, reasons",
  [
    (dict(drop_identical=True), [1, 2, 3, 4, 5], {"with identical sides": 1}),
    (dict(drop_duplicates=True), [0, 1, 2, 5], {"that came before": 2}),
    (dict(max_length_ratio=2.5), [0, 1, 3, 4, 5], {"beyond a length ratio of 2.5": 1}),
    (
      dict(drop_identical=True, drop_duplicates=True, max_length_ratio=3),
      [1, 2, 5],
      {"with identical sides": 1, "that came before": 2},
    ),
  ],
)
@pytest.mark.parametrize("batch", [1, 2, 100])
def test_filters_drop_and_count(tmp_path, monkeypatch, filters, kept, reasons, batch):
  monkeypatch.setattr(encoding_module, "_BATCH", batch)
  found = encoded(tmp_path, MIXED, max_length=20, filters=PairFilters(**filters))
  stripped = [tuple(side.strip() for side in MIXED[index]) for index in kept]
  assert texts(found) == stripped
  assert found.counts.dropped == reasons and found.counts.kept == len(kept)


def test_filters_are_part_of_the_key_only_if_they_are_on(tmp_path):
  encoded(tmp_path, MIXED)
  encoded(tmp_path, MIXED, filters=PairFilters())
  assert len(list(tmp_path.iterdir())) == 1
  assert len(encoded(tmp_path, MIXED, filters=PairFilters(drop_identical=True))) == 5


def test_what_a_killed_process_left_is_removed(tmp_path):
  name = f"encoding-{socket.gethostname()}.999999999-01234567.tmp"
  others = "encoding-elsewhere.999999999-01234567.tmp"
  for each in (name, others):
    (tmp_path / each).mkdir()
  encoded(tmp_path)
  assert sorted(path.name[:9] for path in tmp_path.iterdir() if path.name.startswith("enc")) == [
    "encoding-"
  ]
  assert (tmp_path / others).exists()  # it may be at work on another machine


_INTERRUPTED = """
import os, signal, sys
from transformer_jax import interrupt
from transformer_jax.data.encoding import PairEncoder, encode_pairs
from transformer_jax.data.filters import PairFilters
interrupt.install()

def pairs():
  yield from [("3", "4")] * 5000
  assert len(os.listdir(sys.argv[1])) == 1
  os.kill(os.getpid(), signal.SIGTERM)
  signal.pause()

encode = lambda text: [int(text), 1]
encode_pairs(pairs, PairEncoder(encode, encode), sys.argv[1], "key")
"""


def test_a_signal_leaves_no_half_made_folder(tmp_path):
  done = subprocess.run(
    [sys.executable, "-c", _INTERRUPTED, tmp_path], check=False, capture_output=True, text=True
  )
  assert done.returncode == 128 + signal.SIGTERM, done.stderr
  assert not list(tmp_path.iterdir())
