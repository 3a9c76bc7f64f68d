"""Batches: right contents, few shapes, and the same stream from any position."""

import itertools
import json

import numpy as np
import pytest

from transformer_jax.config import EOS_ID, PAD_ID, UNK_ID
from transformer_jax.data.encoding import PairEncoder, encode_pairs
from transformer_jax.data.pipeline import BatchStream, make_batch, ordered_batches, pad_rows
from transformer_jax.errors import DataError

COUNT, BATCH_TOKENS = 300, 64


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
  """300 pairs; pair i starts with the token 1000 + i on both sides."""
  rng = np.random.default_rng(3)

  def side(number):
    return [1000 + number, *rng.integers(3, 999, rng.integers(0, 30)).tolist()]

  pairs = [(side(number), side(number)) for number in range(COUNT)]
  encode = lambda tokens: [*tokens, EOS_ID]
  cache = tmp_path_factory.mktemp("cache")
  return encode_pairs(lambda: iter(pairs), PairEncoder(encode, encode), cache, "pairs")


def stream_of(encoded, seed=1, position=None):
  return BatchStream(encoded, 4, BATCH_TOKENS, seed, position)


def rows_in(batch):
  """Returns the numbers of a batch's pairs; checks that sides match and padding is padding."""
  numbers = []
  for source, target in zip(batch.source_BS, batch.target_BT, strict=True):
    assert (source[0] == PAD_ID) == (target[0] == PAD_ID)
    if source[0] == PAD_ID:
      assert not source.any() and not target.any()
      continue
    assert source[0] == target[0]
    for tokens in (source, target):
      (ends,) = np.nonzero(tokens == EOS_ID)
      assert len(ends) == 1 and not tokens[ends[0] + 1 :].any() and tokens[: ends[0]].all()
    numbers.append(int(source[0]) - 1000)
  return numbers


def test_a_batch_holds_its_pairs_and_padding(encoded):
  batch = make_batch(encoded, [5, 299], (32, 36), range(3))
  assert batch.source_BS.shape == (3, 32) and batch.target_BT.shape == (3, 36)
  assert batch.source_BS.dtype == batch.target_BT.dtype == np.int32
  assert rows_in(batch) == [5, 299]
  assert batch.source_BS[1, : len(encoded.source(299))].tolist() == encoded.source(299).tolist()
  assert batch.target_BT[0, : len(encoded.target(5))].tolist() == encoded.target(5).tolist()


def test_rows_are_padded_up_to_the_number_and_the_width():
  padded = pad_rows([[5, 6, EOS_ID], np.array([7, EOS_ID])], num_rows=3, width=4)
  assert padded.dtype == np.int32
  assert padded.tolist() == [[5, 6, EOS_ID, 0], [7, EOS_ID, 0, 0], [0, 0, 0, 0]]
  assert pad_rows([], num_rows=2, width=0).shape == (2, 0)


def test_arrays_that_do_not_fit_are_not_cut():
  with pytest.raises(ValueError):
    pad_rows([[5, 6, EOS_ID]], num_rows=1, width=2)
  with pytest.raises(IndexError):
    pad_rows([[5], [6]], num_rows=1, width=2)


def test_an_epoch_is_every_pair_once_in_the_announced_shapes(encoded):
  stream = stream_of(encoded)
  for epoch in range(3):
    assert stream.position["epoch"] in (epoch, epoch - 1)
    batches = [stream.next() for _ in range(stream.batches_in_epoch)]
    assert sorted(number for batch in batches for number in rows_in(batch)) == list(range(COUNT))
    shapes = {(*batch.source_BS.shape, batch.target_BT.shape[1]) for batch in batches}
    assert shapes == set(stream.shapes()) and len(shapes) <= 4
    assert all(rows * max(widths) <= BATCH_TOKENS or rows == 1 for rows, *widths in shapes)


def test_the_first_batch_is_of_the_largest_shape(encoded):
  for seed in range(5):
    batch = stream_of(encoded, seed).next()
    largest = max(s + t for _, s, t in stream_of(encoded).shapes())
    assert batch.source_BS.shape[1] + batch.target_BT.shape[1] == largest


def test_any_position_goes_on_exactly(encoded):
  """Over two ends of an epoch; the position passes through JSON."""
  stream = stream_of(encoded)
  total = 2 * stream.batches_in_epoch + 5
  positions = []
  batches = []
  for _ in range(total):
    positions.append(json.dumps(stream.position))
    batches.append(stream.next())
  end = stream.batches_in_epoch
  for start in (0, 1, 7, end - 1, end, end + 1, total - 3):
    resumed = stream_of(encoded, position=json.loads(positions[start]))
    for expected in batches[start : start + 12]:
      batch = resumed.next()
      np.testing.assert_array_equal(batch.source_BS, expected.source_BS)
      np.testing.assert_array_equal(batch.target_BT, expected.target_BT)


def test_the_order_depends_on_the_seed_and_the_epoch(encoded):
  first = lambda seed, epoch: rows_in(stream_of(encoded, seed, dict(epoch=epoch, batch=0)).next())
  assert first(1, 3) == first(1, 3)
  assert len({tuple(first(*key)) for key in ((1, 3), (2, 3), (1, 4), (3, 1))}) == 4


def test_dropped_words_are_a_function_of_seed_and_position(encoded):
  """UNK in place of a share of the sources' tokens; EOS, padding and targets stay."""

  def epoch(seed=1, number=0, rate=0.3):
    stream = BatchStream(encoded, 4, BATCH_TOKENS, seed, dict(epoch=number, batch=0), rate)
    return [stream.next() for _ in range(stream.batches_in_epoch)]

  counts = dict(words=0, dropped=0)
  for batch, whole in zip(epoch(), epoch(rate=0.0), strict=True):
    assert batch.source_BS.dtype == np.int32
    np.testing.assert_array_equal(batch.target_BT, whole.target_BT)
    is_dropped = batch.source_BS != whole.source_BS
    assert set(batch.source_BS[is_dropped]) <= {UNK_ID}
    assert not np.isin(whole.source_BS[is_dropped], (PAD_ID, EOS_ID)).any()
    counts["words"] += (whole.source_BS > UNK_ID).sum()
    counts["dropped"] += is_dropped.sum()
  assert counts["dropped"] / counts["words"] == pytest.approx(0.3, abs=0.03)

  def dropped(batches):
    """Returns pair -> which of its tokens are UNK."""
    rows = [row for batch in batches for row in zip(batch.target_BT, batch.source_BS, strict=True)]
    return {target[0]: (source == UNK_ID)[:20].tobytes() for target, source in rows}

  first = dropped(epoch())
  assert dropped(epoch(number=1)) != first != dropped(epoch(seed=2))
  whole = BatchStream(encoded, 4, BATCH_TOKENS, 1, None, 0.3)
  for _ in range(3):
    whole.next()
  rest = BatchStream(encoded, 4, BATCH_TOKENS, 1, whole.position, 0.3)
  for _ in range(whole.batches_in_epoch):  # into the next epoch
    np.testing.assert_array_equal(whole.next().source_BS, rest.next().source_BS)


class Counted:
  """Encoded pairs that count which are read."""

  def __init__(self, encoded):
    self._encoded = encoded
    self.read = []

  def __getattr__(self, name):
    return getattr(self._encoded, name)

  def __len__(self):
    return len(self._encoded)

  def source(self, index):
    self.read.append(int(index))
    return self._encoded.source(index)


def share(number, count):
  """Returns `own_rows` of one of several processes; their rows may go beyond the batch."""

  def own_rows(num_rows):
    each = -(-num_rows // count)
    return range(number * each, (number + 1) * each)

  return own_rows


@pytest.mark.parametrize("count", [2, 8])
def test_each_process_reads_and_builds_only_its_own_rows(encoded, count):
  whole = BatchStream(encoded, 4, BATCH_TOKENS, 1, None, 0.3)
  counted = [Counted(encoded) for _ in range(count)]
  streams = [
    BatchStream(pairs, 4, BATCH_TOKENS, 1, None, 0.3, own_rows=share(number, count))
    for number, pairs in enumerate(counted)
  ]
  for _ in range(whole.batches_in_epoch):
    batch = whole.next()
    parts = [stream.next() for stream in streams]
    for side in ("source_BS", "target_BT"):
      rows = np.concatenate([getattr(part, side) for part in parts])
      np.testing.assert_array_equal(rows[: len(getattr(batch, side))], getattr(batch, side))
      assert not rows[len(getattr(batch, side)) :].any()
  assert sorted(itertools.chain(*(pairs.read for pairs in counted))) == list(range(COUNT))


def test_each_process_reads_only_its_own_rows_of_ordered_batches(encoded):
  whole = ordered_batches(encoded, 3, BATCH_TOKENS)
  counted = [Counted(encoded) for _ in range(2)]
  parts = [
    ordered_batches(pairs, 3, BATCH_TOKENS, share(number, 2))
    for number, pairs in enumerate(counted)
  ]
  for batch, *own in zip(whole, *parts, strict=True):
    rows = np.concatenate([part.target_BT for part in own])
    np.testing.assert_array_equal(rows[: len(batch.target_BT)], batch.target_BT)
  assert sorted(counted[0].read + counted[1].read) == list(range(COUNT))
  assert counted[1].read


def test_ordered_batches_hold_every_pair_once_whatever_its_length(encoded):
  batches = list(ordered_batches(encoded, 3, BATCH_TOKENS))
  numbers = [rows_in(batch) for batch in batches]
  assert sorted(number for rows in numbers for number in rows) == list(range(COUNT))
  assert all(rows == sorted(rows) for rows in numbers)
  for again, batch in zip(ordered_batches(encoded, 3, BATCH_TOKENS), batches, strict=True):
    np.testing.assert_array_equal(again.source_BS, batch.source_BS)


def test_a_pair_longer_than_the_batch_is_a_batch_by_itself(tmp_path):
  pairs = [([3] * 200, [4] * 10), ([5], [6])]
  encode = lambda tokens: [*tokens, EOS_ID]
  encoded = encode_pairs(lambda: iter(pairs), PairEncoder(encode, encode), tmp_path, "long")
  stream = BatchStream(encoded, 2, BATCH_TOKENS, 1)
  assert stream.shapes()[-1][0] == 1
  assert stream.next().source_BS.shape == (1, 204)


def test_no_pairs_at_all_is_an_expected_error(tmp_path):
  nothing = encode_pairs(lambda: iter([]), PairEncoder(list, list), tmp_path, "nothing")
  with pytest.raises(DataError, match="no pairs"):
    BatchStream(nothing, 2, BATCH_TOKENS, 1)


def test_a_position_beyond_the_epoch_is_an_expected_error(encoded):
  with pytest.raises(DataError, match="position"):
    stream_of(encoded, position=dict(epoch=0, batch=10_000)).next()
