"""Test sets by name, from a copy of sacreBLEU's cache; without a network, one line."""

import hashlib
import tarfile

import pytest
import sacrebleu.utils
from sacrebleu.dataset import DATASETS

from transformer_jax.data import sacrebleu_sets
from transformer_jax.data.sacrebleu_sets import read_test_set, refuse_contradictions
from transformer_jax.errors import ConfigError, DataError

SOURCES = ["One & two .", "Ünterwegs", "three"]
REFERENCES = ["Eins & zwei .", "Straße", "drei"]


def segments(texts):
  lines = ['<doc sysid="ref" docid="a" genre="news" origlang="en">']
  lines += [f'<seg id="{number}">{text}</seg>' for number, text in enumerate(texts, 1)]
  return "\n".join([*lines, "</doc>", ""])


@pytest.fixture(name="cache")
def empty_cache(tmp_path, monkeypatch):
  """A cache of sacreBLEU's without anything, and no network."""
  monkeypatch.setattr(sacrebleu.utils, "SACREBLEU_DIR", str(tmp_path))
  for name in ("wmt14/full", "wmt20/tworefs"):
    monkeypatch.setattr(DATASETS[name], "_outdir", str(tmp_path / name))
    monkeypatch.setattr(DATASETS[name], "_rawdir", str(tmp_path / name / "raw"))
  monkeypatch.setattr(sacrebleu_sets, "why_unreachable", lambda url: "no network")
  return tmp_path


def write_raw(folder):
  """Writes what sacreBLEU unpacks of wmt14/full for en-de."""
  raw = folder / "wmt14/full/raw"
  (raw / "test-full").mkdir(parents=True)
  for side, texts in (("src.en", SOURCES), ("ref.de", REFERENCES)):
    path = raw / f"test-full/newstest2014-deen-{side}.sgm"
    path.write_text(segments(texts), encoding="utf-8")
  return raw


def test_text_in_the_cache_is_read(cache):
  folder = cache / "wmt14/full"
  folder.mkdir(parents=True)
  for side, texts in (("src", SOURCES), ("ref", REFERENCES)):
    text = "".join(f"{text}\n" for text in texts)
    (folder / f"wmt14_full.en-de.{side}").write_text(text, encoding="utf-8")
  assert read_test_set("wmt14/full", "en-de") == (SOURCES, REFERENCES)


def test_an_unpacked_archive_is_converted_by_sacrebleu(cache):
  (write_raw(cache) / "wmt14_full.test-full.tgz").write_bytes(b"unpacked already")
  assert read_test_set("wmt14/full", "en-de") == (SOURCES, REFERENCES)
  assert (cache / "wmt14/full/wmt14_full.en-de.src").exists()


def test_a_download_is_sacrebleus_own(cache, tmp_path_factory, monkeypatch):
  """From a file:// URL: its archive is checked, unpacked and converted."""
  elsewhere = tmp_path_factory.mktemp("server")
  raw = write_raw(elsewhere)
  archive = elsewhere / "test-full.tgz"
  with tarfile.open(archive, "w:gz") as tar:
    tar.add(raw / "test-full", "test-full")
  dataset = DATASETS["wmt14/full"]
  monkeypatch.setattr(dataset, "data", [archive.as_uri()])
  monkeypatch.setattr(sacrebleu_sets, "why_unreachable", lambda url: None)
  with pytest.raises(DataError, match="is not the published file; delete") as caught:
    read_test_set("wmt14/full", "en-de")
  assert caught.value.where == "--test_set=wmt14/full"
  (cache / "wmt14/full/raw/wmt14_full.test-full.tgz").unlink()
  monkeypatch.setattr(dataset, "md5", [hashlib.md5(archive.read_bytes()).hexdigest()])
  assert read_test_set("wmt14/full", "en-de") == (SOURCES, REFERENCES)


def test_without_a_network_one_line_says_what_to_put_where(cache):
  with pytest.raises(DataError) as caught:
    read_test_set("wmt14/full", "en-de")
  line = str(caught.value)
  assert "\n" not in line and "(no network)" in line
  assert "sacrebleu --test-set=wmt14/full --language-pair=en-de" in line
  assert f"to {cache}/wmt14/full" in line and "$SACREBLEU" in line


def test_a_download_that_fails_is_one_line(cache, monkeypatch):
  monkeypatch.setattr(sacrebleu_sets, "why_unreachable", lambda url: None)
  monkeypatch.setattr(DATASETS["wmt14/full"], "data", [(cache / "none.tgz").as_uri()])
  with pytest.raises(DataError, match=r"its download failed: .*none\.tgz"):
    read_test_set("wmt14/full", "en-de")


@pytest.mark.parametrize(
  "name, pair, message",
  [
    ("wmt14/ful", "en-de", "--test_set=wmt14/ful: .*did you mean wmt14/full"),
    ("zzz", "en-de", "--test_set=zzz: .*sacrebleu --list"),
    ("wmt14/full", "de-fr", "--pair=de-fr: is not a pair of wmt14/full; .*de-en.*en-de"),
  ],
)
def test_names_that_sacrebleu_does_not_know(name, pair, message):
  with pytest.raises(ConfigError, match=message):
    read_test_set(name, pair)


def test_several_references_are_refused(cache):
  folder = cache / "wmt20/tworefs"
  folder.mkdir(parents=True)
  for field in DATASETS["wmt20/tworefs"].fieldnames("en-de"):
    (folder / f"wmt20_tworefs.en-de.{field.replace(':', '-')}").write_text("a\n")
  (folder / "raw").mkdir()
  (folder / "raw/archive.tgz").write_bytes(b"")
  with pytest.raises(ConfigError, match="has 2 references for each sentence"):
    read_test_set("wmt20/tworefs", "en-de")


def test_contradicting_flags_are_named():
  for name in sacrebleu_sets.EXCLUDED:
    with pytest.raises(ConfigError, match=f"^--{name}: contradicts --test_set=wmt14/full"):
      refuse_contradictions("wmt14/full", "", [name])
  with pytest.raises(ConfigError, match=r"^--pair=en-de: is read only with --test_set"):
    refuse_contradictions("", "en-de", [])
  refuse_contradictions("wmt14/full", "en-de", [])
  refuse_contradictions("", "", ["split", "source"])
