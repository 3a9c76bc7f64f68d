"""Order, streaming, shapes and limits of `generate`, with a made-up search."""

import itertools

import numpy as np
import pytest

from transformer_jax.config import EOS_ID, PAD_ID
from transformer_jax.decoding.generate import Hypothesis, Source, generate, plan_batches
from transformer_jax.decoding.search_state import SearchResult


class Echo:
  """A decode_batch with three slots a row.

  The first output is the source, the second is its first word, unfinished; the third slot is empty.
  """

  def __init__(self):
    self.calls = []

  def __call__(self, source_BS, max_lengths_B, num_words_B):
    self.calls.append((source_BS, max_lengths_B, num_words_B))
    rows, width = source_BS.shape
    tokens = np.zeros((rows, 3, width), np.int32)
    tokens[:, 0] = source_BS
    tokens[:, 1, 0] = source_BS[:, 0]
    lengths = np.tile(np.array([0, 1, 0], np.int32), (rows, 1))
    lengths[:, 0] = (source_BS != PAD_ID).sum(1)
    log_probs = np.tile(np.array([-1.0, -2.0, -np.inf], np.float32), (rows, 1))
    is_finished = np.tile([True, False, False], (rows, 1))
    return SearchResult(tokens, lengths, log_probs, log_probs / 2, is_finished)


def sentences(count, seed=0, longest=90):
  """Returns so many token lists of geometric lengths, each with EOS."""
  rng = np.random.default_rng(seed)
  lengths = np.minimum(rng.geometric(0.05, count), longest) - 1
  return [[*rng.integers(2, 1000, n).tolist(), EOS_ID] for n in lengths]


def run(sources, decode_batch=None, **options):
  """Yields the answers to token lists."""
  settings = {"batch_tokens": 1024, "max_extra_length": 50, **options}
  return generate(map(Source, sources), decode_batch or Echo(), **settings)


def test_a_process_builds_only_its_own_rows_of_a_batch():
  sources = sentences(500)
  whole, halves = Echo(), [Echo(), Echo()]
  list(run(sources, whole, row_multiple=2))
  for number, half in enumerate(halves):
    own_rows = lambda rows, number=number: range(number * rows // 2, (number + 1) * rows // 2)
    numbers = iter(whole.calls)

    def decode_batch(*own, half=half, numbers=numbers):  # the answers of all, as processes share
      half(*own)
      return Echo()(*next(numbers))

    answers = list(run(sources, decode_batch, row_multiple=2, own_rows=own_rows))
    assert [n_best[0].tokens for n_best in answers] == [source[:-1] for source in sources]
  for all_rows, *own in zip(whole.calls, halves[0].calls, halves[1].calls, strict=True):
    for array, first, second in zip(all_rows, *own, strict=True):
      assert len(first) == len(second) == len(array) // 2
      np.testing.assert_array_equal(np.concatenate([first, second]), array)


def test_ten_thousand_lines_come_back_in_order():
  sources = sentences(10_000)
  echo = Echo()
  answers = list(run(sources, echo))
  assert [n_best[0].tokens for n_best in answers] == [source[:-1] for source in sources]
  assert all(len(n_best) == 1 for n_best in answers)
  shapes = {source_BS.shape for source_BS, *_ in echo.calls}
  assert len(shapes) <= 8, "each shape is compiled"
  assert all(rows * width <= 1024 for rows, width in shapes)
  used = sum((source_BS != PAD_ID).any(axis=1).sum() for source_BS, *_ in echo.calls)
  assert used == 10_000
  assert used > 0.9 * sum(source_BS.shape[0] for source_BS, *_ in echo.calls), "rows are wasted"
  real = sum((source_BS != PAD_ID).sum() for source_BS, *_ in echo.calls)
  assert real > 0.6 * sum(source_BS.size for source_BS, *_ in echo.calls), "positions are wasted"


def test_nothing_is_read_before_it_is_needed():
  taken = 0

  def endless():
    nonlocal taken
    for source in itertools.cycle(sentences(50)):
      taken += 1
      yield source

  answers = run(endless(), window=200)
  next(answers)
  assert taken <= 40
  list(itertools.islice(answers, 500))
  assert taken <= 501 + 200


def test_sentences_at_hand_are_answered_before_the_next_is_awaited():
  """A writer that sends its next sentence only when it has its answers."""
  echo = Echo()
  waiting = [[5, EOS_ID], None, [6, EOS_ID], [7, EOS_ID]]
  sent = []
  answers = []

  def source():
    for number, tokens in enumerate(waiting):
      assert len(answers) == min(number, 2), "the last one is at hand, the others are waited for"
      sent.append(number)
      yield None if tokens is None else Source(tokens)

  for n_best in generate(
    source(), echo, batch_tokens=1024, max_extra_length=50, is_at_hand=lambda: len(sent) == 3
  ):
    answers.append([h.tokens for h in n_best])
  assert answers == [[[5]], [], [[6]], [[7]]]
  assert [int((source_BS != PAD_ID).any(axis=1).sum()) for source_BS, *_ in echo.calls] == [1, 2]


def test_a_source_of_none_is_not_decoded():
  echo = Echo()
  settings = dict(batch_tokens=1024, max_extra_length=50)
  answers = list(generate([None, Source([5, EOS_ID]), None], echo, **settings))
  assert [len(n_best) for n_best in answers] == [0, 1, 0]
  assert len(echo.calls) == 1
  assert list(generate([None], echo, **settings)) == [[]]
  assert len(echo.calls) == 1


@pytest.mark.parametrize(
  "beam_size, max_extra_length", [(1, 50), (4, 50), (200, 50), (4, 5000), (32, 500)]
)
def test_the_positions_of_a_search_are_bounded(beam_size, max_extra_length):
  echo = Echo()
  settings = dict(batch_tokens=4096, beam_size=beam_size, max_extra_length=max_extra_length)
  list(run(sentences(3000), echo, **settings))
  shapes = [source_BS.shape for source_BS, *_ in echo.calls]
  for rows, width in shapes:
    if rows > 1:
      assert rows * width <= 4096
      assert rows * beam_size * (width + max_extra_length) <= 17 * 4096
  # The paper's search has the batches that the setting says.
  if beam_size <= 4 and max_extra_length == 50:
    assert max(rows for rows, _ in shapes) == 256


def test_long_sentences_make_short_windows():
  taken = 0

  def long_ones():
    nonlocal taken
    for _ in range(2000):
      taken += 1
      yield [5] * 1000

  answers = run(long_ones(), batch_tokens=1000)
  list(itertools.islice(answers, 33 + 65))
  assert taken <= 32 + 64 + 64


def test_a_source_that_fails_late_loses_no_earlier_answer():
  def breaks():
    yield from sentences(40)
    raise OSError("gone")

  answers = run(breaks(), window=40)
  assert len([next(answers) for _ in range(32)]) == 32
  with pytest.raises(OSError, match="gone"):
    next(answers)


def test_no_lines_no_answers():
  assert not list(run([]))


def test_limits_follow_each_source_and_filling_rows_have_none():
  echo = Echo()
  sources = [[5, 6, 7, EOS_ID], [EOS_ID], [8, EOS_ID]]
  list(run(sources, echo, max_extra_length=3))
  ((source_BS, max_lengths_B, _),) = echo.calls
  assert source_BS.dtype == max_lengths_B.dtype == np.int32
  assert source_BS[:3, :4].tolist() == [[5, 6, 7, 1], [8, 1, 0, 0], [1, 0, 0, 0]]  # longest first
  assert max_lengths_B[:3].tolist() == [6, 4, 3]
  assert not source_BS[3:].any() and not max_lengths_B[3:].any() and len(max_lengths_B) > 3


def test_words_to_cover_go_with_their_sentence():
  echo = Echo()
  sources = [Source([5, EOS_ID], 1), Source([5, 6, EOS_ID], 7)]
  list(generate(sources, echo, batch_tokens=1024, max_extra_length=3))
  assert echo.calls[0][2][:3].tolist() == [7, 1, 0]


def test_an_empty_source_is_answered_even_without_room():
  echo = Echo()
  answers = list(run([[EOS_ID], []], echo, max_extra_length=0))
  assert answers == [[Hypothesis([], -1.0, -0.5, True)]] * 2
  assert echo.calls[0][1][:2].tolist() == [1, 1]


def test_n_best_leaves_out_empty_places_and_says_what_is_unfinished():
  (n_best,) = run([[7, 8, EOS_ID]], num_best=10)
  assert n_best == [Hypothesis([7, 8], -1.0, -0.5, True), Hypothesis([7], -2.0, -1.0, False)]
  assert all(type(t) is int for t in n_best[0].tokens) and type(n_best[0].score) is float


def test_a_search_without_any_output_still_answers():
  def nothing(source_BS, max_lengths_B, num_words_B):
    shape = (len(max_lengths_B), 2)
    none = np.full(shape, -np.inf, np.float32)
    return SearchResult(
      tokens_BMT=np.zeros((*shape, 4), np.int32),
      lengths_BM=np.zeros(shape, np.int32),
      log_probs_BM=none,
      scores_BM=none,
      is_finished_BM=np.zeros(shape, bool),
    )

  assert list(run([[4, EOS_ID]], nothing, num_best=2)) == [
    [Hypothesis([], -np.inf, -np.inf, False)]
  ]


@pytest.mark.parametrize("row_multiple", [1, 3, 8])
def test_rows_are_a_multiple_and_every_sentence_has_one(row_multiple):
  rng = np.random.default_rng(row_multiple)
  for count in (1, 5, 400):
    lengths = rng.integers(0, 300, count).tolist()
    batches = plan_batches(lengths, 512, row_multiple)
    assert sorted(i for indices, _ in batches for i in indices) == list(range(count))
    for indices, (rows, width) in batches:
      assert rows % row_multiple == 0 and 0 < len(indices) <= rows
      assert width >= max(lengths[i] for i in indices)
      assert rows * width <= 512 or rows == row_multiple
    assert all(len(indices) == rows for indices, (rows, _) in batches[:-1])


def test_one_sentence_does_not_pay_for_a_full_batch():
  ((_, (rows, width)),) = plan_batches([5], 4096, 1)
  assert width == 16 and rows == 1
  assert plan_batches([5], 4096, 8)[0][1] == (8, 16)
