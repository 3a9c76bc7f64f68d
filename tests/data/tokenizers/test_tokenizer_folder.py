"""Tokenizers of every kind: text survives them, they survive a folder, and errors name the file."""

import json
import sys

import pytest
from small_tokenizers import KINDS, TEXTS, trained

from transformer_jax.config import EOS_ID, PAD_ID, UNK_ID
from transformer_jax.data.tokenizers.folder import (
  fingerprint,
  has_tokenizer,
  load_tokenizer,
  save_tokenizer,
)
from transformer_jax.errors import DataError


@pytest.fixture(params=KINDS)
def tokenizer(request):
  """A tokenizer of each kind, learned from TEXTS."""
  return trained(request.param)


def test_training_text_comes_back(tokenizer):
  for text in TEXTS:
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert not {PAD_ID, EOS_ID, UNK_ID} & set(tokens)
    assert max(tokens) < tokenizer.vocab_size <= 50
    assert len(tokenizer.pieces(tokens)) == len(tokens)


def test_decoding_stops_at_eos_and_skips_padding(tokenizer):
  tokens = tokenizer.encode("the cat")
  more = tokenizer.encode("mat")
  assert tokenizer.decode([*tokens, EOS_ID, *more]) == "the cat"
  assert tokenizer.decode([PAD_ID, *tokens, PAD_ID, PAD_ID]) == "the cat"
  assert tokenizer.decode([EOS_ID]) == tokenizer.decode([]) == ""


def test_nothing_in_a_text_becomes_a_control_token(tokenizer):
  """The spelling of a special piece and unseen characters do not; an empty text has no tokens."""
  tokens = tokenizer.encode("</s> <pad> <unk> 漢字 \0 \u2028")
  assert not {PAD_ID, EOS_ID} & set(tokens)
  assert UNK_ID in tokens
  assert tokenizer.encode("") == tokenizer.encode("  ") == []


def test_control_symbols_in_training_text_stay_text():
  for kind in KINDS:
    learned = trained(kind, [*TEXTS, "</s> <pad> <unk>"] * 2, vocab_size=80)
    assert not {PAD_ID, EOS_ID} & set(learned.encode("</s> <pad> <unk>"))
    assert learned.pieces([PAD_ID, EOS_ID, UNK_ID]) == ["<pad>", "</s>", "<unk>"]


@pytest.mark.parametrize("kind", KINDS)
def test_training_twice_gives_the_same(kind):
  one = trained(kind)
  another = trained(kind)
  assert one.files() == another.files() and fingerprint(one) == fingerprint(another)
  assert fingerprint(one) != fingerprint(trained(kind, ["another text of words"] * 4))


def test_a_saved_tokenizer_is_the_same(tokenizer, tmp_path):
  assert not has_tokenizer(tmp_path / "new")
  save_tokenizer(tokenizer, tmp_path / "new")
  assert has_tokenizer(tmp_path / "new")
  loaded = load_tokenizer(tmp_path / "new")
  text = "the katze </s> 漢"
  assert type(loaded) is type(tokenizer)
  assert loaded.vocab_size == tokenizer.vocab_size
  assert loaded.encode(text) == tokenizer.encode(text)
  assert fingerprint(loaded) == fingerprint(tokenizer)


def test_a_changed_or_missing_file_is_named(tokenizer, tmp_path):
  save_tokenizer(tokenizer, tmp_path)
  for name in json.loads((tmp_path / "tokenizer.json").read_text())["sha256"]:
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError) as caught:
      load_tokenizer(tmp_path)
    assert caught.value.where == str(tmp_path / name)
    (tmp_path / name).unlink()
    with pytest.raises(DataError) as caught:
      load_tokenizer(tmp_path)
    assert caught.value.where == str(tmp_path / name)
    (tmp_path / name).write_bytes(content)
  load_tokenizer(tmp_path)


@pytest.mark.parametrize(
  "name",
  "/dev/zero|../vocabulary.txt|sub/vocabulary.txt|.|..||device|vocabulary.txt/".split("|"),
)
def test_an_index_names_only_files_beside_it(tmp_path, name):
  folder = tmp_path / "tokenizer"
  save_tokenizer(trained("segmented"), folder)
  (tmp_path / "vocabulary.txt").write_bytes((folder / "vocabulary.txt").read_bytes())
  (folder / "device").symlink_to("/dev/zero")
  index = json.loads((folder / "tokenizer.json").read_text())
  index["sha256"][name] = index["sha256"]["vocabulary.txt"]
  (folder / "tokenizer.json").write_text(json.dumps(index))
  with pytest.raises(DataError, match=r"tokenizer\.json: names"):
    load_tokenizer(folder)


def test_a_cached_tokenizer_that_is_closed_to_us_is_absent(tmp_path, monkeypatch):
  save_tokenizer(trained("segmented"), tmp_path)

  def refused(*_, **__):
    raise PermissionError(13, "Permission denied")

  monkeypatch.setattr("os.stat", refused)
  assert not has_tokenizer(tmp_path)


@pytest.mark.parametrize(
  "content", ["", "{", "[]", "{}", '{"kind": "segmented"}', '{"kind": "no such", "sha256": {}}']
)
def test_a_damaged_index_is_named(tmp_path, content):
  save_tokenizer(trained("segmented"), tmp_path)
  (tmp_path / "tokenizer.json").write_text(content)
  with pytest.raises(DataError, match=r"tokenizer\.json"):
    load_tokenizer(tmp_path)


@pytest.mark.parametrize(
  "kind, module", [("sentencepiece", "sentencepiece"), ("subword_nmt", "subword_nmt")]
)
def test_a_missing_package_is_named(kind, module, monkeypatch):
  monkeypatch.setitem(sys.modules, module, None)
  with pytest.raises(DataError, match=f"pip install {module.replace('_', '-')}"):
    trained(kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [[], [""], ["", "  ", "\t"], ["\N{NO-BREAK SPACE}"]])
def test_files_without_text_are_named(kind, texts):
  with pytest.raises(DataError, match="nothing but empty lines") as caught:
    trained(kind, texts)
  assert caught.value.where == "--train_source=a --train_target=b"


@pytest.mark.parametrize("text", ["a\tb", "a\u00a0b", "a\u2028b", "a\u3000b"])
@pytest.mark.parametrize("kind", ["subword_nmt", "segmented"])
def test_no_white_space_is_lost(kind, text):
  learned = trained(kind, [*TEXTS, text], vocab_size=80)
  assert learned.decode(learned.encode(text)) == text


@pytest.mark.parametrize(
  "kind, flag", [("subword_nmt", "bpe_codes"), ("segmented", "vocabulary_file")]
)
def test_only_one_file_is_taken(tmp_path, kind, flag):
  (tmp_path / "a.txt").write_text("a b\n")
  (tmp_path / "b.txt").write_text("a b\n")
  with pytest.raises(DataError, match=f"--{flag}"):
    trained(kind, data_root=tmp_path, **{flag: "*.txt"})
