"""Datasets by name and folders in their form. Those marked interop need the library `datasets`."""

import importlib
import json
import os
import pathlib
import subprocess
import sys

import pytest

from transformer_jax.config import Config
from transformer_jax.data import network
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.data.sources.huggingface import find_column
from transformer_jax.errors import ConfigError, DataError, WorkdirError

# More than two reads of 1000.
TRAIN = [(f"sentence {i} é", f"Satz {i} ß") for i in range(2500)]
VALID = [("one", "eins"), ("two", "zwei")]
TEST = [("three\rx", "drei\u2028y"), ("four", None), ("", "fünf")]
READ_TEST = [("three x", "drei y"), ("four", ""), ("", "fünf")]

_ROOT = pathlib.Path(__file__).parents[3]  # of the repository
_IN_ANOTHER_PROCESS = """
import json, sys
from transformer_jax.config import Config
from transformer_jax.data.sources.catalog import open_source
source = open_source(Config().replace(data_source="huggingface", dataset=sys.argv[1]).data)
print(json.dumps([source.fingerprint("valid"), list(source.pairs("valid"))]))
assert not {"jax", "flax", "tensorflow", "tensorflow_datasets", "torch"} & set(sys.modules)
"""


@pytest.fixture(name="library")
def library_with_empty_cache(tmp_path_factory, monkeypatch):
  """The library `datasets` with an empty cache, and no network."""
  reason = "needs the package datasets: pip install 'transformer_jax[datasets]'"
  library = pytest.importorskip("datasets", reason=reason)
  config = importlib.import_module("datasets.config")
  monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
  monkeypatch.setattr(network, "why_unreachable", lambda url: "no network")
  return library


def source_of(dataset, data_root=".", **settings):
  config = Config().replace(data_source="huggingface", dataset=str(dataset), **settings)
  return open_source(config.data, data_root)


def write_lines(folder, **splits):
  """Writes a JSON lines file for each split: columns id, en and de."""
  folder.mkdir(parents=True, exist_ok=True)
  for name, pairs in splits.items():
    rows = [dict(id=number, en=en, de=de) for number, (en, de) in enumerate(pairs)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
  return folder


def write_parquet(library, folder, config=""):
  """Writes Parquet files with a struct `translation`, in a folder of their configuration."""
  features = library.Features(translation=library.Translation(("de", "en")))
  (folder / config).mkdir(parents=True)
  for name, pairs in dict(train=TRAIN, validation=VALID, test=TEST).items():
    rows = dict(translation=[dict(en=en, de=de) for en, de in pairs])
    path = folder / config / f"{name}-00000-of-00001.parquet"
    library.Dataset.from_dict(rows, features).to_parquet(str(path))
  return folder


@pytest.fixture(name="lines")
def folder_of_lines(library, tmp_path):
  return write_lines(tmp_path / "lines", train=TRAIN, validation=VALID, test=TEST)


@pytest.mark.parametrize(
  "wanted, columns, expected",
  [
    ("en", ["id", "en", "de"], "en"),
    ("de", ["translation.de", "translation.en"], "translation.de"),
    ("de", ["translation.de", "de"], "de"),
    ("text.de", ["text.de", "text.en"], "text.de"),
    ("fr", ["translation.de", "de"], None),
    ("d", ["de"], None),
  ],
)
def test_a_column_is_found_by_name_or_in_the_struct(wanted, columns, expected):
  assert find_column(wanted, columns) == expected


@pytest.mark.parametrize(
  "settings, message",
  [
    (dict(dataset=""), "^--dataset: is empty, but --data_source=huggingface reads it"),
    (dict(dataset_splits="train,test"), "^--dataset_splits: 'train,test' does not name three"),
    (dict(task="parsing"), "^--data_source=huggingface: is not a source for --task=parsing"),
  ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
  with pytest.raises(ConfigError, match=message):
    source_of(**{"dataset": "x/y", **settings})


@pytest.mark.parametrize("name", ["a/b/c", "/no/such/folder", "../data", "a b"])
def test_a_dataset_that_is_neither_a_folder_nor_a_name_is_refused(name, tmp_path):
  with pytest.raises(DataError, match=r"^--dataset=.*: there is no folder .*--data_root"):
    source_of(name, tmp_path)


@pytest.mark.parametrize("name", ["lr[0.1]", "a*", "a?b", "a::b", "a\nb", "x[y]/z"])
def test_a_path_that_the_library_takes_for_a_pattern_is_refused(name, tmp_path):
  """It would read the files of another folder, such as those of a1 for a[1]."""
  write_lines(tmp_path / name, train=TRAIN)
  with pytest.raises(DataError, match="in its path, which the library datasets does not take"):
    source_of(name, tmp_path)


def test_a_file_is_no_dataset(tmp_path):
  write_lines(tmp_path, train=VALID)
  with pytest.raises(DataError, match="is a file; name the folder that it is in"):
    source_of("train.jsonl", tmp_path)


def test_a_link_to_such_a_path_is_no_way_around(tmp_path):
  """The library follows it."""
  write_lines(tmp_path / "a[1]", train=VALID)
  write_lines(tmp_path / "a1", train=TRAIN)
  (tmp_path / "link").symlink_to("a[1]")
  with pytest.raises(DataError, match=r"a\[1\]: has '\[' in its path"):
    source_of("link", tmp_path)


@pytest.mark.interop
@pytest.mark.parametrize(
  "content, message",
  [
    (b'{"en": "a\xff", "de": "x"}\n', r"^--dataset=.*: train is not UTF-8: .*; convert its files"),
    (
      b'{"en": "a", "de": "x"}\n{"en": 1, "de": "x"}\n',
      r"--source_language=en: .* there, not text",
    ),
    (b"", "cannot be read as a dataset: .* and at least one row"),
  ],
)
def test_rows_that_are_no_text_are_told(library, tmp_path, content, message):
  (tmp_path / "train.jsonl").write_bytes(content)
  with pytest.raises(DataError, match=message):
    list(source_of(tmp_path).pairs("train"))


@pytest.mark.interop
def test_a_cache_that_cannot_be_written_is_named(lines, monkeypatch):
  config = importlib.import_module("datasets.config")
  monkeypatch.setattr(config, "HF_DATASETS_CACHE", pathlib.Path("/dev/null/cache"))
  with pytest.raises(WorkdirError, match=r"^/dev/null/cache: cannot be written: .*; set HF_HOME"):
    source_of(lines)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "datasets", None)
  for name in ("x/y", "."):
    with pytest.raises(DataError) as caught:
      source_of(name, tmp_path)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy == "pip install 'transformer_jax[datasets]'"


@pytest.mark.interop
def test_json_lines_with_a_column_for_each_language(lines):
  source = source_of("lines", lines.parent)
  assert list(source.pairs("train")) == TRAIN
  assert list(source.pairs("valid")) == VALID
  assert list(source.pairs("test")) == READ_TEST
  turned = source_of(lines, source_language="de", target_language="en")
  assert list(turned.pairs("valid")) == [(de, en) for en, de in VALID]


@pytest.mark.interop
def test_parquet_with_a_struct_and_configurations(library, tmp_path):
  folder = write_parquet(library, tmp_path / "wmt", "de-en")
  (folder / "README.md").write_text(
    "---\nconfigs:\n- config_name: de-en\n  data_files:\n"
    "  - {split: train, path: de-en/train-*}\n"
    "  - {split: validation, path: de-en/validation-*}\n"
    "  - {split: test, path: de-en/test-*}\n---\n"
  )
  source = source_of(folder, dataset_config="de-en")
  assert list(source.pairs("train")) == TRAIN
  assert list(source.pairs("test")) == READ_TEST
  with pytest.raises(DataError, match=r"--dataset_config=fr-en: .*'fr-en' not found.*de-en"):
    source_of(folder, dataset_config="fr-en")


@pytest.mark.interop
def test_both_forms_of_the_same_text_have_one_fingerprint(library, lines, tmp_path):
  parquet = source_of(write_parquet(library, tmp_path / "parquet"))
  source = source_of(lines)
  prints = [source.fingerprint(split) for split in ("train", "valid", "test")]
  assert prints == [parquet.fingerprint(split) for split in ("train", "valid", "test")]
  assert len(set(prints)) == 3 and all(len(each) == 64 for each in prints)


@pytest.mark.interop
def test_changed_text_is_read_anew(lines):
  before = source_of(lines)
  prints = [before.fingerprint(split) for split in ("train", "valid")]
  write_lines(lines, train=[*TRAIN[:-1], ("changed", "anders")])
  after = source_of(lines)
  assert list(after.pairs("train"))[-1] == ("changed", "anders")
  assert after.fingerprint("train") != prints[0]
  assert after.fingerprint("valid") == prints[1]


@pytest.mark.interop
def test_splits_and_columns_by_setting(lines):
  source = source_of(
    lines,
    dataset_splits="train[10:20],train[:3],validation",
    source_column="de",
    target_column="en",
  )
  assert list(source.pairs("train")) == [(de, en) for en, de in TRAIN[10:20]]
  assert list(source.pairs("valid")) == [(de, en) for en, de in TRAIN[:3]]
  assert list(source.pairs("test")) == [(de, en) for en, de in VALID]


@pytest.mark.interop
@pytest.mark.parametrize(
  "settings, where, words",
  [
    (dict(source_language="fr"), "--source_language=fr", "columns id (int64), en, de"),
    (dict(target_column="fr"), "--target_column=fr", "columns id (int64), en, de"),
    (dict(target_column="id"), "--target_column=id", "int64 there, not text"),
    (dict(dataset_splits="trian,validation,test"), "--dataset_splits=trian", "'validation'"),
    (dict(dataset_splits="train[:x%],validation,test"), "--dataset_splits=train[:x%]", "cannot"),
  ],
)
def test_wrong_settings_are_named(lines, settings, where, words):
  with pytest.raises(DataError) as caught:
    list(source_of(lines, **settings).pairs("train"))
  assert caught.value.where == where
  assert words in caught.value.problem and "\n" not in str(caught.value)


@pytest.mark.interop
@pytest.mark.parametrize("content", [b"PAR1 no more", b""])
def test_damaged_files_are_an_expected_error(library, tmp_path, content, capfd):
  (tmp_path / "train.parquet").write_bytes(content)
  with pytest.raises(DataError, match=r"cannot be read as a dataset: .*put files such as"):
    source_of(tmp_path)
  assert capfd.readouterr().err == ""


@pytest.mark.interop
def test_the_error_for_an_empty_folder_names_the_files_it_needs(library, tmp_path):
  with pytest.raises(DataError, match=r"put files such as train\.jsonl"):
    source_of(tmp_path)


@pytest.mark.interop
def test_without_a_network_one_line_says_what_to_put_where(library, tmp_path, capfd):
  with pytest.raises(DataError) as caught:
    source_of("wmt/wmt14", tmp_path, dataset_config="de-en")
  line = str(caught.value)
  assert "\n" not in line and "(no network)" in line
  assert "hf download wmt/wmt14 --repo-type=dataset" in line and "--dataset=FOLDER" in line
  assert capfd.readouterr().err == ""


@pytest.mark.interop
def test_without_a_network_the_librarys_cache_is_used(library, tmp_path):
  """A dataset that was loaded by name before, as the library keeps it."""
  config = importlib.import_module("datasets.config")
  folder = write_lines(tmp_path / "multi30k", train=TRAIN, validation=VALID, test=TEST)
  library.load_dataset(str(folder))
  (loaded,) = pathlib.Path(config.HF_DATASETS_CACHE).glob("multi30k")
  loaded.rename(loaded.with_name("bentrevett___multi30k"))
  source = source_of("bentrevett/multi30k", tmp_path)
  assert list(source.pairs("train")) == TRAIN


@pytest.mark.interop
def test_it_imports_no_framework(lines, tmp_path):
  run = subprocess.run(
    [sys.executable, "-c", _IN_ANOTHER_PROCESS, str(lines)],
    capture_output=True,
    text=True,
    check=False,
    cwd=_ROOT,
    env={**os.environ, "PYTHONPATH": str(_ROOT), "HF_HOME": str(tmp_path / "home")},
  )
  assert run.returncode == 0, run.stderr[-2000:]
  fingerprint, pairs = json.loads(run.stdout)
  assert fingerprint == source_of(lines).fingerprint("valid")
  assert list(map(tuple, pairs)) == VALID
  assert run.stderr == ""


@pytest.mark.interop
@pytest.mark.parametrize(
  "rows, line",
  [
    (['{"translation": {"en": "a", "de": "b"}}', '{"translation": {"en": "c"}}'], 2),
    (['{"translation": {"en": "a"}}'], 1),
    (['{"en": "a"}', '{"en": "b"}'], 1),
  ],
)
def test_a_row_without_a_language_is_named(library, tmp_path, rows, line):
  """The library would report a type or a column that differs."""
  folder = tmp_path / "lacking"
  write_lines(folder, validation=VALID, test=VALID)
  if "translation" in rows[0]:
    for split in ("validation", "test"):
      (folder / f"{split}.jsonl").write_text('{"translation": {"en": "a", "de": "b"}}\n')
  (folder / "train.jsonl").write_text("".join(f"{row}\n" for row in rows))
  where = rf"train\.jsonl:{line}: has no de \(--target_language\); give every row"
  with pytest.raises(DataError, match=where):
    list(source_of(folder).pairs("train"))


@pytest.mark.parametrize(
  "columns, flag",
  [
    (dict(source_column="x", target_column="x"), "--target_column=x"),
    (dict(target_column="en"), "--target_column=en"),
    (dict(target_language="en"), "--target_language=en"),
  ],
)
def test_one_column_for_both_sides_is_refused(columns, flag):
  with pytest.raises(ConfigError, match=f"^{flag}: is the column of the source, too"):
    Config().replace(data_source="huggingface", dataset="x/y", **columns)
