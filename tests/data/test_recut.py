"""Pairs cut anew in each epoch: the same from any position and with any number of processes."""

import json
import sys

import numpy as np
import pytest

from transformer_jax.config import EOS_ID, PAD_ID, Config
from transformer_jax.data.encoding import PairEncoder, encode_pairs
from transformer_jax.data.pipeline import BatchStream
from transformer_jax.data.recut import RecutPairs, Recutter
from transformer_jax.data.recut_ahead import EpochCuts
from transformer_jax.data.tokenizers.folder import train_tokenizer
from transformer_jax.data.tokenizers.parsing import ParsingTokenizer
from transformer_jax.data.tokenizers.word_list import WordListTokenizer
from transformer_jax.errors import WorkdirError

WORDS = "thelonger words and others of a sentence which mattered notwithstanding".split()
MAX_LENGTH, BATCH_TOKENS = 40, 160


@pytest.fixture(scope="module")
def recutter(tmp_path_factory):
  """Returns a Recutter of 120 pairs; the sources are the numbers of the pairs and words."""
  rng = np.random.default_rng(1)
  pairs = []
  for number in range(120):
    words = rng.choice(WORDS, rng.integers(1, 9)).tolist()
    pairs.append((f"{number} {' '.join(words)}", " ".join(words[::-1])))
  settings = dict(data_source="text", tokenizer="subword_nmt", bpe_merges=60, bpe_dropout=0.3)
  settings |= dict(train_source="a", train_target="b", valid_source="c", valid_target="d")
  data = Config().replace(**settings).data
  tokenizer = train_tokenizer(data, (text for pair in pairs for text in pair))
  encode = lambda text: [*tokenizer.encode(text), EOS_ID]
  cache = tmp_path_factory.mktemp("cache")
  plain = encode_pairs(lambda: iter(pairs), PairEncoder(encode, encode, MAX_LENGTH), cache, "pairs")
  return Recutter(plain, tokenizer, rate=0.3, seed=5)


def stream_of(recutter, position=None, num_processes=1):
  cuts = EpochCuts(recutter, MAX_LENGTH, num_processes)
  return BatchStream(recutter.plain, 3, BATCH_TOKENS, 1, position, cuts=cuts)


def texts_in(recutter, batch):
  """Returns the texts of a batch's pairs."""
  decode = recutter.tokenizer.decode
  rows = zip(batch.source_BS, batch.target_BT, strict=True)
  return [(decode(source), decode(target)) for source, target in rows if source[0] != PAD_ID]


def test_a_cut_is_a_function_of_seed_epoch_and_number(recutter):
  def cut(epoch, numbers, seed=5):
    other = Recutter(recutter.plain, recutter.tokenizer, 0.3, seed)
    source_lengths, _, source, _ = other.cut(epoch, numbers)
    return [part.tolist() for part in np.split(source, np.cumsum(source_lengths)[:-1])]

  whole = cut(2, range(120))
  assert cut(2, [7, 119, 8]) == [whole[7], whole[119], whole[8]]
  assert cut(3, range(120)) != whole != cut(2, range(120), seed=6)


def test_every_epoch_has_each_text_once_with_other_sub_words(recutter):
  stream = stream_of(recutter, num_processes=2)
  plain = recutter.plain
  decode = recutter.tokenizer.decode
  texts = sorted((decode(plain.source(i)), decode(plain.target(i))) for i in range(len(plain)))
  sums = []
  for _ in range(3):
    batches = [stream.next() for _ in range(stream.batches_in_epoch)]
    assert sorted(text for batch in batches for text in texts_in(recutter, batch)) == texts
    sums.append(stream.tokens_in_epoch)
    shapes = {(*batch.source_BS.shape, batch.target_BT.shape[1]) for batch in batches}
    assert shapes <= set(stream.shapes()) and len(stream.shapes()) <= 3
    assert sum((batch.source_BS != PAD_ID).sum() for batch in batches) == sums[-1][0]
  assert len(set(sums)) == 3
  assert all(source > plain.source_lengths.sum() for source, _ in sums)


@pytest.mark.parametrize("num_processes", [1, 3])
def test_any_position_goes_on_exactly_with_any_number_of_processes(recutter, num_processes):
  stream = stream_of(recutter)
  shapes = stream.shapes()
  positions, batches = [], []
  for _ in range(2 * stream.batches_in_epoch + 6):
    positions.append(json.dumps(stream.position))
    batches.append(stream.next())
  for start in (3, len(batches) - 8):
    resumed = stream_of(recutter, json.loads(positions[start]), num_processes)
    assert resumed.shapes() == shapes
    for expected in batches[start:]:
      batch = resumed.next()
      np.testing.assert_array_equal(batch.source_BS, expected.source_BS)
      np.testing.assert_array_equal(batch.target_BT, expected.target_BT)


def test_processes_cut_as_this_one_does(recutter):
  pairs = EpochCuts(recutter, 1000, 4).pairs(7, [(1000, 1000)])
  source_lengths, _, source, _ = recutter.cut(7, range(120))
  assert pairs.source_lengths.tolist() == source_lengths.tolist()
  assert np.concatenate([pairs.source(i) for i in range(120)]).tolist() == source.tolist()


def test_a_cut_without_room_is_replaced_by_the_fixed_one(recutter):
  """It is longer than a side may be, or fits no shape of the batches."""
  plain, cut = recutter.plain, recutter.cut(1, range(120))
  is_longer = cut.source_lengths > plain.source_lengths
  longest = int(plain.source_lengths.max())
  for buckets, max_length in ([(longest, longest)], 99), ([(99, 99)], longest):
    pairs = RecutPairs(plain, cut, buckets, max_length)
    has_no_room = np.maximum(cut.source_lengths, cut.target_lengths) > longest
    assert (is_longer & has_no_room).any() and not has_no_room.all()
    for i in range(120):
      expected = plain.source_lengths[i] if has_no_room[i] else cut.source_lengths[i]
      assert len(pairs.source(i)) == pairs.source_lengths[i] == expected
      assert len(pairs.target(i)) == pairs.target_lengths[i]


def test_expected_lengths_are_near_and_never_below_the_fixed_ones(recutter):
  expected = recutter.expected_lengths(MAX_LENGTH)
  cut = recutter.cut(9, range(120))
  for lengths, plain, real in zip(
    expected, (recutter.plain.source_lengths, recutter.plain.target_lengths), cut[:2], strict=True
  ):
    assert (lengths >= plain).all() and lengths.max() <= MAX_LENGTH
    assert lengths.sum() == pytest.approx(real.sum(), rel=0.1)


def test_the_symbols_of_trees_stay(recutter):
  parser = ParsingTokenizer(recutter.tokenizer, WordListTokenizer(["x"]))
  cut = Recutter(recutter.plain, parser, 0.3, 5).cut(0, range(120))
  assert cut.target_lengths.tolist() == recutter.plain.target_lengths.tolist()
  assert cut.source_lengths.sum() > recutter.plain.source_lengths.sum()


def test_a_process_that_ends_is_an_expected_error(recutter, monkeypatch):
  monkeypatch.setattr(sys, "executable", "/bin/false")
  with pytest.raises(WorkdirError, match="words ended with status 1"):
    EpochCuts(recutter, MAX_LENGTH).pairs(0, [(99, 99)])


def test_processes_end_with_the_stream(recutter):
  cuts = EpochCuts(recutter, MAX_LENGTH, 2)
  cuts.pairs(0, [(99, 99)])
  processes = [process._process for process in cuts._processes]
  assert all(process.poll() is None for process in processes)
  del cuts
  assert all(process.poll() is not None for process in processes)
