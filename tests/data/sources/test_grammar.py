"""The built-in treebank: sizes, splits without overlap, and words that training does not have."""

from transformer_jax.data.sources.grammar import GrammarTreebank
from transformer_jax.data.trees import clean, parse_tree


def test_sizes_labels_and_splits():
  source = GrammarTreebank(2000)
  pairs = {split: list(source.pairs(split)) for split in ("train", "valid", "test")}
  sizes = {split: len(found) for split, found in pairs.items()}
  assert sizes == dict(train=2000, valid=500, test=1000)
  sentences = [sentence for found in pairs.values() for sentence, _ in found]
  assert len(set(sentences)) == len(sentences)
  trees = [parse_tree(tree) for found in pairs.values() for _, tree in found]
  assert all(clean(tree) == tree for tree in trees)
  assert len({c.label for tree in trees for c in tree.constituents}) >= 12
  known = {word for sentence, _ in pairs["train"] for word in sentence.split(" ")}
  new = {word for sentence, _ in pairs["test"] for word in sentence.split(" ")} - known
  assert len(new) > 100 and {"on", "is", "ly"} <= {word[-2:] for word in new}


def test_a_sentence_has_one_tree():
  """The same words, whatever their stems, always have the same tree."""
  found = {}
  for _, text in GrammarTreebank(12_000).pairs("train"):
    tree = parse_tree(text)
    kinds = tuple(leaf.word if leaf.tag == "IN" else leaf.tag for leaf in tree.leaves)
    assert found.setdefault(kinds, tree.constituents) == tree.constituents


def test_the_same_each_time():
  first = GrammarTreebank(50).fingerprint("train")
  assert GrammarTreebank(50).fingerprint("train") == first
  assert GrammarTreebank(51).fingerprint("train") != first


def test_the_fingerprint_is_that_of_older_runs_and_is_saved(tmp_path, monkeypatch):
  monkeypatch.setenv("TRANSFORMER_JAX_CACHE", str(tmp_path))
  first = GrammarTreebank(50).fingerprint("train")
  assert first == "ac2e11734b49f651b11d5707319eec4d35c2d2ddc9986411ffb32e96708dbe88"
  monkeypatch.setattr(GrammarTreebank, "pairs", lambda *_: [])
  assert GrammarTreebank(50).fingerprint("train") == first
  (path,) = (tmp_path / "fingerprints").iterdir()
  path.write_text("damaged")
  assert GrammarTreebank(50).fingerprint("train") != first  # drawn anew


def test_a_cache_that_cannot_be_written_only_costs_time(monkeypatch):
  monkeypatch.setenv("TRANSFORMER_JAX_CACHE", "/dev/null")
  assert len(GrammarTreebank(5).fingerprint("train")) == 64
