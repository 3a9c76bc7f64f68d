"""TensorFlow datasets without TensorFlow: a small WMT14 that the real builder prepares on disk."""

import json
import os
import pathlib
import subprocess
import sys
import types

import mock_wmt14
import pytest

from transformer_jax.config import Config
from transformer_jax.data.sources import tfds as tfds_source
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.errors import DataError

# More than two reads of 1000; each of the last two is in a corpus of its own.
TRAIN = [(f"sentence {i} é", f"Satz {i} ß") for i in range(2500)]
TRAIN += [("c\rd", "a\u2028b"), ("last", "zuletzt")]
VALID = [("one", "eins"), ("two", "zwei")]
TEST = [("three", "drei"), ("four", "vier"), ("five", "fünf")]

_ROOT = pathlib.Path(__file__).parents[3]  # of the repository
_IN_ANOTHER_PROCESS = """
import json, pathlib, sys
import mock_wmt14
mock_wmt14.hide("tensorflow")
import test_tfds as here
folder = pathlib.Path(sys.argv[1])
data_dir = mock_wmt14.prepare_wmt14(folder, here.TRAIN, here.VALID, here.TEST)
source = here.source_of(data_dir)
print(json.dumps({split: sorted(source.pairs(split)) for split in ("train", "valid", "test")}))
assert "tensorflow" not in sys.modules and "jax" not in sys.modules
"""


def source_of(data_dir, **settings):
  return open_source(
    Config().replace(**{**dict(data_source="tfds", tfds_data_dir=str(data_dir)), **settings}).data
  )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  """A prepared dataset."""
  pytest.importorskip("tensorflow_datasets")
  return mock_wmt14.prepare_wmt14(tmp_path_factory.mktemp("wmt14"), TRAIN, VALID, TEST)


def test_prepares_and_reads_where_tensorflow_cannot_be_imported(tmp_path):
  pytest.importorskip("tensorflow_datasets")
  run = subprocess.run(
    [sys.executable, "-c", _IN_ANOTHER_PROCESS, str(tmp_path)],
    capture_output=True,
    text=True,
    check=False,
    cwd=_ROOT,
    env={**os.environ, "PYTHONPATH": _python_path()},
  )
  assert run.returncode == 0, run.stderr[-2000:]
  splits = json.loads(run.stdout.splitlines()[-1])
  assert list(map(tuple, splits["valid"])) == sorted(VALID)
  assert list(map(tuple, splits["test"])) == sorted(TEST)
  assert list(map(tuple, splits["train"])) == sorted([*TRAIN[:-2], ("c d", "a b"), TRAIN[-1]])


def _python_path():
  return f"{_ROOT}:{pathlib.Path(__file__).parent}"


def test_pairs_stay_together_in_one_order(data_dir):
  pairs = list(source_of(data_dir).pairs("train"))
  assert sorted(pairs) == sorted([*TRAIN[:-2], ("c d", "a b"), TRAIN[-1]])
  assert list(source_of(data_dir).pairs("train")) == pairs


def test_the_other_direction(data_dir):
  turned = source_of(data_dir, source_language="de", target_language="en")
  assert list(turned.pairs("test")) == [(de, en) for en, de in source_of(data_dir).pairs("test")]


def test_slices_are_splits_of_their_own(data_dir):
  source = source_of(data_dir, tfds_splits="train[:10],train[10:30],test")
  assert [len(list(source.pairs(split))) for split in ("train", "valid", "test")] == [10, 20, 3]
  assert not set(source.pairs("train")) & set(source.pairs("valid"))
  assert source.fingerprint("train") != source_of(data_dir).fingerprint("train")
  assert source.fingerprint("test") == source_of(data_dir).fingerprint("test")
  assert len({source.fingerprint(split) for split in ("train", "valid", "test")}) == 3


@pytest.mark.parametrize(
  "settings, where, word",
  [
    (dict(source_language="fr"), "--source_language=fr", "de, en"),
    (dict(target_language="fr"), "--target_language=fr", "de, en"),
    (dict(tfds_splits="trian,validation,test"), "--tfds_splits=trian", "trian"),
    (
      dict(tfds_name="no_such_dataset/de-en"),
      "--tfds_name=no_such_dataset/de-en",
      "no_such_dataset",
    ),
    (dict(tfds_name="wmt14_translate/xx-en"), "--tfds_name=wmt14_translate/xx-en", "xx-en"),
  ],
)
def test_wrong_settings_are_named(data_dir, settings, where, word):
  with pytest.raises(DataError) as caught:
    list(source_of(data_dir, **settings).pairs("train"))
  assert caught.value.where == where
  assert word in caught.value.problem


def test_a_failed_download_says_what_to_do(tmp_path, monkeypatch):
  tfds = pytest.importorskip("tensorflow_datasets")

  def no_network(*_):
    raise OSError("no network here\nsecond line")

  monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", no_network)
  monkeypatch.setattr(tfds_source, "why_unreachable", lambda url: None)
  with pytest.raises(DataError) as caught:
    source_of(tmp_path)
  assert "no network here" in caught.value.problem
  assert "--tfds_data_dir" in caught.value.remedy
  assert "\n" not in str(caught.value)


def test_without_a_network_it_does_not_try(tmp_path, monkeypatch, capfd):
  pytest.importorskip("tensorflow_datasets")
  monkeypatch.setattr(tfds_source, "why_unreachable", lambda url: "no network")
  with pytest.raises(DataError, match=r"//[\w./-]+ cannot be reached \(no network\); give "):
    source_of(tmp_path, tfds_name="ted_hrlr_translate/pt_to_en")
  assert capfd.readouterr() == ("", "")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
  with pytest.raises(DataError, match="pip install tensorflow-datasets"):
    source_of(tmp_path)


def test_damaged_records_are_an_expected_error(tmp_path):
  pytest.importorskip("tensorflow_datasets")
  data_dir = mock_wmt14.prepare_wmt14(tmp_path, TRAIN, VALID, TEST)
  (path,) = data_dir.rglob("*train.array_record*")
  raw = bytearray(path.read_bytes())
  raw[len(raw) // 2] ^= 255
  path.write_bytes(raw)
  with pytest.raises(DataError, match="wmt14_translate"):
    list(source_of(data_dir).pairs("train"))


def test_text_is_bytes_or_str(monkeypatch):
  """Datasets on disk hold bytes, some builders give text; bad bytes and line ends are replaced."""
  examples = [{"en": b"a \xff", "de": "b\nc"}, {"en": "", "de": b""}]

  class Examples:
    def __len__(self):
      return len(examples)

    def __getitems__(self, keys):
      return [examples[key] for key in keys]

  builder = types.SimpleNamespace(as_data_source=lambda split: Examples())
  monkeypatch.setattr(tfds_source, "_builder", lambda name, data_dir: builder)
  assert list(source_of("").pairs("train")) == [("a \ufffd", "b c"), ("", "")]
