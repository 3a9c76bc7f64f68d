"""Scores decide which checkpoints stay besides the last ones."""

import pytest
from checkpoint_states import assert_same, make_state, save

from transformer_jax.checkpoints import checksums
from transformer_jax.errors import CheckpointError


def test_last_and_best_are_kept(opened):
  checkpoints = opened(2, 1)
  for step, score in [(1, 5.0), (2, 9.0), (3, None), (4, float("nan")), (5, 7.0)]:
    save(checkpoints, step, score=score)
  assert checkpoints.steps() == [2, 4, 5]
  assert (checkpoints.scores(), checkpoints.best_step()) == ({2: 9.0, 5: 7.0}, 2)
  save(checkpoints, 6, score=9.0)
  assert checkpoints.steps() == [2, 5, 6]  # the earliest of equals stays the best


def test_a_score_may_come_after_its_checkpoint(folder, opened):
  checkpoints = opened(1, 1)
  for step, score in [(1, 5.0), (2, 9.0), (3, float("nan")), (4, 7.0)]:
    save(checkpoints, step)
    checkpoints.add_score(step, score, "BLEU")
    checkpoints.wait()
    assert_same(opened(read_only=True).restore(make_state(0))[0], make_state(step))
  assert checkpoints.steps() == [2, 4]
  assert (opened(read_only=True).scores(), checkpoints.best_step()) == ({2: 9.0, 4: 7.0}, 2)
  checkpoints.add_score(77, 1.0, "BLEU")
  assert not (folder / "77").exists()


def test_a_score_counts_once_it_is_listed(folder, opened):
  """A kill before that leaves a checkpoint without a score; then its checksum guards it."""
  checkpoints = opened()
  save(checkpoints, 1)
  (folder / "1" / "score.json").write_text('{"sco')
  (folder / "1" / ".12-0123abcd.tmp").write_text("half a li")
  assert checkpoints.scores() == {} and checkpoints.read(1)[2] == 1
  checkpoints.add_score(1, 3.0)
  checkpoints.wait()
  assert checkpoints.scores() == {1: 3.0}
  (folder / "1" / "score.json").write_text('{"of": null, "score": 4.0}')
  with pytest.raises(CheckpointError, match=r"score\.json: has changed"):
    checkpoints.read(1)


def test_only_scores_of_a_kind_are_compared_and_the_best_of_each_kind_stay(opened):
  checkpoints = opened(1, 1)
  for step, score, of in [
    (1, 0.1, "match"),
    (2, 0.5, "match"),
    (3, -9.0, "loss"),
    (4, -2.0, "loss"),
    (5, -3.0, "loss"),
    (6, -4.0, "loss"),
  ]:
    save(checkpoints, step)
    checkpoints.add_score(step, score, {"name": of})
  checkpoints.wait()
  assert checkpoints.steps() == [2, 4, 6]
  assert (checkpoints.scores(), checkpoints.best_step()) == ({4: -2.0, 6: -4.0}, 4)
  save(checkpoints, 7)
  checkpoints.add_score(7, 0.2, {"name": "match"})
  assert (checkpoints.scores(), checkpoints.best_step()) == ({2: 0.5, 7: 0.2}, 2)


def test_no_best_is_kept_unless_asked_for(opened):
  checkpoints = opened(1, 0)
  for step in (1, 2):
    save(checkpoints, step, score=-step)
  assert checkpoints.steps() == [2]


def test_temporary_step_goes_with_the_next_and_displaces_none(opened):
  checkpoints = opened(2, 1)
  save(checkpoints, 1, 2)
  save(checkpoints, 3, score=99, temporary=True)
  assert checkpoints.steps() == [1, 2, 3]
  assert checkpoints.scores() == {}
  save(checkpoints, 4)
  assert checkpoints.steps() == [2, 4]


def test_a_temporary_step_can_be_made_one_that_stays(folder, opened):
  checkpoints = opened(2, 1)
  for step in (1, 3):
    save(checkpoints, step, temporary=step == 3)
  checkpoints.make_regular(1)
  assert not (folder / "1" / "regular").exists()
  checkpoints.make_regular(3)
  checkpoints.make_regular(4)
  checkpoints.add_score(3, 5.0)
  save(checkpoints, 5)
  assert checkpoints.steps() == checkpoints.regular_steps() == [3, 5]
  assert checkpoints.scores() == {3: 5.0}
  checkpoints.read(3)


def test_a_kill_while_a_score_is_replaced_does_no_damage(opened, monkeypatch):
  checkpoints = opened(2, 1)
  save(checkpoints, 1)
  checkpoints.add_score(1, 5.0)
  with monkeypatch.context() as patch:
    patch.setattr(checksums, "add_to_list", lambda path, name: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      checkpoints.add_score(1, 6.0)
  checkpoints.read(1)
  assert checkpoints.scores() == {}
  checkpoints.add_score(1, 6.0)
  checkpoints.read(1)
  assert checkpoints.scores() == {1: 6.0}
