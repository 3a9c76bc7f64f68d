"""BPE-dropout: rate 0 is the plain cut, the distribution is subword-nmt's, the words stay."""

import collections
import io
import random
import string
from typing import Any

import pytest
from small_tokenizers import TEXTS, trained

from transformer_jax.config import UNK_ID
from transformer_jax.data.tokenizers.bpe import Merges, merge_with_dropout
from transformer_jax.data.tokenizers.subword_nmt import learn_bpe
from transformer_jax.data.tokenizers.tokenizer import RandomCutter

WORDS = "lower lowest newer newest widest wide low new lowlow wererer aaaa aaaaa".split()


@pytest.fixture(scope="module")
def bpe():
  """Returns subword-nmt's own segmenter, with merges that overlap."""
  from subword_nmt.apply_bpe import BPE

  return BPE(io.StringIO(learn_bpe([" ".join(WORDS)] * 3, 20)))


def test_without_dropout_all_merges_are_made(bpe):
  merges = Merges(bpe.bpe_codes, bpe.version)
  rng = random.Random(1)
  words = WORDS + ["".join(rng.choices("lowernewst", k=rng.randint(1, 12))) for _ in range(500)]
  for word in words:
    assert merges.random_pieces(word, 0.0, rng.random) == merges.pieces(word)
    assert merges.random_pieces(word, 0.3, lambda: 0.99) == merges.pieces(word)


@pytest.mark.parametrize("word", ["lowest", "aaaaa", "wererer"])
def test_cuts_are_as_frequent_as_those_of_subword_nmt(bpe, word):
  merges = Merges(bpe.bpe_codes, bpe.version)
  count, rate = 20_000, 0.3
  draw = random.Random(1).random
  ours = collections.Counter(" ".join(merges.random_pieces(word, rate, draw)) for _ in range(count))
  random.seed(2)  # the library draws from Python's own generator
  theirs = collections.Counter(bpe.process_line(word, dropout=rate) for _ in range(count))
  assert len(ours) >= 5
  for cut in ours | theirs:  # 5 deviations of the difference of two frequencies near 1/2
    assert abs(ours[cut] - theirs[cut]) / count < 5 * (0.5 / count) ** 0.5


def test_a_merge_that_is_left_out_can_be_made_in_a_later_step():
  """(a, b) is left out in the first step, in which (c, d) is made; then it is made."""
  ranks = {("a", "b"): 0, ("c", "d"): 1}
  draws = iter([0.0, 0.9, 0.9])
  assert merge_with_dropout("abcd", ranks, 0.5, lambda: next(draws)) == ["ab", "cd"]
  assert merge_with_dropout("abcd", ranks, 0.5, lambda: 0.0) == list("abcd")


@pytest.mark.parametrize("kind", ["sentencepiece", "subword_nmt"])
def test_the_words_stay_whatever_the_cut(kind):
  tokenizer: Any = trained(kind, bpe_dropout=0.1)
  rng = random.Random(3)
  texts = [*TEXTS, "", "the", "katzematte  der sat", "the 漢 cat漢mat on 漢"]
  texts += [" ".join(rng.choices("the cat kat mattedie saß auf".split(), k=6)) for _ in range(50)]
  cuts = set()
  for text in texts:
    plain = tokenizer.encode(text)
    assert tokenizer.cut_anew(plain, 0.0, rng.random) == plain
    for rate in (0.1, 0.5):
      tokens = tokenizer.cut_anew(plain, rate, rng.random)
      assert tokenizer.decode(tokens) == tokenizer.decode(plain)
      assert tokens.count(UNK_ID) == plain.count(UNK_ID)
      cuts.add(tuple(tokens))
  assert len(cuts) > len(texts)


@pytest.mark.parametrize("kind", ["sentencepiece", "subword_nmt"])
def test_the_extreme_cut_is_letters(kind):
  tokenizer: Any = trained(kind, bpe_dropout=0.1)
  letters = tokenizer.cut_anew(tokenizer.encode("the mat"), 1.0, random.Random(1).random)
  pieces = [piece.strip("@▁") for piece in tokenizer.pieces(letters)]
  assert [piece for piece in pieces if piece] == list("themat")


def test_sentencepiece_ranks_are_those_of_the_library():
  """Any pieces, also of text that it was not learned from: the library's cut at rate 0."""
  rng = random.Random(4)
  letters = string.ascii_lowercase[:5]
  texts = [" ".join("".join(rng.choices(letters, k=rng.randint(1, 9))) for _ in range(8))]
  texts += [
    " ".join("".join(rng.choices(letters, k=rng.randint(1, 9))) for _ in range(8))
    for _ in range(200)
  ]
  tokenizer: Any = trained("sentencepiece", texts, vocab_size=120)
  for text in texts:
    plain = tokenizer.encode(text)
    assert tokenizer.cut_anew(plain, 0.0, rng.random) == plain


def test_a_vocabulary_without_letters_keeps_the_words_that_need_them():
  """One that was made without dropout has only the sub-words of the fixed cut."""
  tokenizer: Any = trained("subword_nmt")
  plain = tokenizer.encode("the cat on the mat")
  assert tokenizer.cut_anew(plain, 1.0, random.Random(1).random) == plain
  assert trained("subword_nmt", bpe_dropout=0.1).vocab_size > tokenizer.vocab_size


def test_segmented_text_is_not_cut():
  assert all(isinstance(trained(kind), RandomCutter) for kind in ("sentencepiece", "subword_nmt"))
  assert not isinstance(trained("segmented"), RandomCutter)
