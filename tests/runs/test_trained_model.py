"""The Python API that README describes."""

import inspect
import pathlib
import re
import textwrap

import jax
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

import transformer_jax
from transformer_jax.config import EOS_ID, DecodeConfig
from transformer_jax.errors import ConfigError, DataError, WorkdirError
from transformer_jax.runs import search
from transformer_jax.runs.search import make_decode_batch
from transformer_jax.runs.trained_model import TrainedModel


@pytest.fixture(scope="module")
def model(trained):
  return transformer_jax.load(trained, beam_size=2)


def test_translates_lists_and_streams(model):
  three = model.translate(["forty two", "", "six"])
  assert len(three) == 3 and three[1] == "" and all(isinstance(text, str) for text in three)
  best = list(model.n_best(iter(["forty two", ""]), 2))
  assert [len(n_best) for n_best in best] == [2, 0] and best[0][0].score >= best[0][1].score
  assert next(model.n_best(["forty two", "six"], 1))[0].score == pytest.approx(
    best[0][0].score, rel=1e-4
  )


def test_one_text_is_no_list_of_texts(model):
  for call in (
    lambda: model.translate("forty two"),
    lambda: model.outputs("forty two"),
    lambda: model.n_best("forty two", 1),
    lambda: model.translate(b"forty two"),
    lambda: model.log_probs("ab"),
    lambda: list(model.log_probs(("ab", "cd"))),
    lambda: model.translate([b"forty two"]),
    lambda: model.translate([None]),
    lambda: list(model.log_probs([("one", 1)])),
    lambda: model.attention(["forty two"]),
    lambda: model.attention("forty two", ["x"]),
  ):
    with pytest.raises(TypeError, match="string"):
      call()


@pytest.mark.parametrize("num_best", [0, 3])
def test_so_many_outputs_as_the_search_keeps(num_best, model):
  with pytest.raises(ValueError, match=f"num_best is {num_best}, .* from 1 to beam_size=2"):
    model.n_best(["forty two"], num_best)


def test_fewer_outputs_are_the_first_ones(model):
  """A search for one output ends sooner. One sentence at a time, for batches of one shape."""
  for text in ("forty two", "nine hundred"):
    (two,), (one,) = list(model.n_best([text], 2)), list(model.n_best([text], 1))
    assert one[0].log_prob == pytest.approx(two[0].log_prob, rel=1e-4)
  source_BS = np.array([[5, 6, 1, 0]], np.int32)
  for num_best in (1, 2):
    decode_batch = make_decode_batch(model.model, model.config.decode, num_best=num_best)(
      model._params
    )
    assert decode_batch(source_BS, np.array([6]), np.array([0])).scores_BM.shape == (1, num_best)


def test_a_batch_of_pairs_is_no_larger_than_the_setting_says(trained, monkeypatch):
  model = transformer_jax.load(trained, decode_batch_tokens=256)
  pairs = [("one", "eins"), ("two", "zwei " * 30), ("six " * 50, "sechs"), *[("one", "eins")] * 60]
  expected = list(transformer_jax.load(trained).log_probs(pairs))
  shapes, inner = set(), model._log_probs
  monkeypatch.setattr(
    model,
    "_log_probs",
    lambda params, *sides: (
      shapes.add(tuple(side.shape[1:] for side in sides)) or inner(params, *sides)
    ),
  )
  np.testing.assert_allclose(list(model.log_probs(pairs)), expected, rtol=1e-4)
  assert shapes and all(rows * max(source, target) <= 256 for (rows, source), (_, target) in shapes)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="for processors alone")
def test_a_search_on_few_cores_has_small_batches_and_the_same_answers(trained, monkeypatch):
  lines = ["forty two", "six", "nine hundred"] * 96
  answers, most = {}, {}
  for cores in (1, 64):
    monkeypatch.setattr(search, "usable_cores", lambda cores=cores: cores)
    model = transformer_jax.load(trained, beam_size=1)
    inner, positions = model._search(1), []

    def decode_batch(source_BS, *rest, inner=inner, positions=positions):
      positions.append(source_BS.size)
      return inner(source_BS, *rest)

    monkeypatch.setattr(model, "_search", lambda num_best, searched=decode_batch: searched)
    answers[cores], most[cores] = list(model.translate(lines)), max(positions)
  assert most == {1: 1024, 64: model.config.decode.decode_batch_tokens}
  assert answers[1] == answers[64]


def test_batches_of_several_processes_do_not_depend_on_the_cores_of_one(monkeypatch):
  monkeypatch.setattr(search, "usable_cores", lambda: 1)
  monkeypatch.setattr(search.parallel, "num_processes", lambda: 2)
  assert search._batch_tokens(DecodeConfig(decode_batch_tokens=5000)) == 5000


def test_a_target_beyond_what_is_computed_at_once_is_named(trained):
  model = transformer_jax.load(trained, max_source_length=20, decode_batch_tokens=64)
  with pytest.raises(
    DataError, match=r"target 2: has .* tokens, but a batch holds only --decode_batch_tokens=64"
  ):
    list(model.log_probs([("one", "eins"), ("two", "zwei " * 100)]))


def test_attention_is_a_distribution_over_what_may_be_seen(model):
  weights = model.attention("forty two", "zweiundvierzig")
  num_source, num_target = len(weights["source"]), len(weights["target"])
  assert weights["source"][-1] == weights["target"][-1] == "</s>"
  assert weights["encoder"].shape == (1, 2, num_source, num_source)
  assert weights["decoder"].shape == (1, 2, num_target, num_target)
  assert weights["cross"].shape == (1, 2, num_target, num_source)
  for name in ("encoder", "decoder", "cross"):
    np.testing.assert_allclose(weights[name].sum(-1), 1, atol=1e-5)
  assert np.all(np.triu(weights["decoder"], 1) == 0)


def test_attention_of_the_models_own_translation(model, monkeypatch):
  """The translation is made up here: a model that has learned little may return an empty one."""
  monkeypatch.setattr(model, "translate", lambda *_: ["zwei"])
  own = model.attention("forty two")
  assert own["target_text"] == "zwei" and own["target"][-1] == "</s>"


def test_what_is_no_pair_and_no_head_is_a_type_error(model):
  with pytest.raises(TypeError, match=r"pair 1 has 3 texts, but must be \(source, target\)"):
    list(model.log_probs([("one", "eins", "uno")]))
  with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
    model.with_heads_closed([("cross", 0, 1.0)])


def test_log_probs_do_not_depend_on_neighbors(model):
  pairs = [("one", "eins"), ("nine hundred ninety nine", "neunhundertneunundneunzig"), ("two", "")]
  together = list(model.log_probs(pairs))
  alone = [next(iter(model.log_probs([pair]))) for pair in pairs]
  np.testing.assert_allclose(together, alone, rtol=1e-5)
  assert together[2][1] == 1  # only EOS


def test_wrong_settings_and_folders_are_named(trained, tmp_path):
  with pytest.raises(ConfigError, match="--beam_size: 0 is too small"):
    transformer_jax.load(trained, beam_size=0)
  with pytest.raises(WorkdirError, match="there is no run here"):
    transformer_jax.load(tmp_path)


PAIR = ("forty two", "zweiundvierzig")


def test_tokens_and_pieces_of_both_sides(model):
  for side, text in zip(("source", "target"), PAIR, strict=True):
    tokens = model.encode(text, side=side)
    pieces = model.pieces(tokens, side=side)
    assert tokens[-1] == EOS_ID and pieces[-1] == "</s>" and len(tokens) == len(pieces) > 1
    assert "".join(pieces[:-1]).replace("▁", " ").strip() == text
  assert model.encode("") == [EOS_ID] and model.pieces([]) == []
  assert model.pieces(np.array([EOS_ID])) == ["</s>"]
  for call in (
    lambda: model.encode(["forty two"]),
    lambda: model.encode(b"forty two"),
    lambda: model.pieces("forty two"),
    lambda: model.logits("forty two", None),
    lambda: model.logits(["forty two"], "x"),
  ):
    with pytest.raises(TypeError, match=r"text|string"):
      call()
  for call in (lambda: model.encode("x", side="left"), lambda: model.pieces([1], side="left")):
    with pytest.raises(ValueError, match="side is 'left'"):
      call()
  for side, size in (
    ("source", model.task.source_vocab_size),
    ("target", model.task.target_vocab_size),
  ):
    for token in (-1, size):
      with pytest.raises(ValueError, match=f"^{token} is not a token: the {side}'s are 0 to"):
        model.pieces([EOS_ID, token], side=side)


@pytest.mark.parametrize("number", [2.0, True, "1", None])
def test_a_number_of_outputs_is_whole(model, number):
  with pytest.raises(TypeError, match="must be a whole number"):
    model.n_best(["six"], number)


def test_logits_are_those_of_the_log_probabilities(model):
  for pair in (PAIR, ("six", ""), ("", "sechs")):
    logits_TC = model.logits(*pair)
    target_T = model.encode(pair[1], side="target")
    assert logits_TC.shape == (len(target_T), model.task.target_vocab_size)
    assert logits_TC.dtype == np.float32
    of_targets_T = jax.nn.log_softmax(logits_TC)[np.arange(len(target_T)), np.array(target_T)]
    ((expected, _),) = model.log_probs([pair])
    assert float(of_targets_T.sum()) == pytest.approx(expected, rel=1e-4)


def test_logits_do_not_look_ahead(model):
  """Row t follows from the source and the targets before t: another ending changes no row before.

  The two texts begin with the same tokens.
  """
  one, other = "zwei eins eins", "zwei eins zwei zwei"
  tokens, other_tokens = (model.encode(text, side="target") for text in (one, other))
  common = next(
    t for t, pair in enumerate(zip(tokens, other_tokens, strict=False)) if len(set(pair)) == 2
  )
  logits_TC, other_TC = model.logits("two", one), model.logits("two", other)
  np.testing.assert_allclose(logits_TC[: common + 1], other_TC[: common + 1], atol=1e-4)
  assert common > 0 and np.abs(logits_TC[common + 1] - other_TC[common + 1]).max() > 1e-4


def test_parameters_are_copies_with_dotted_names(model):
  parameters = model.parameters()
  leaves = jax.tree_util.tree_leaves_with_path(model.params)
  assert len(parameters) == len(leaves)
  for path, leaf in leaves:
    name = ".".join(key.key for key in path)
    np.testing.assert_array_equal(parameters[name], leaf)
    parameters[name] += 1  # of the caller's own
  assert parameters["encoder.layer_0.self_attention.query.kernel"].shape == (32, 2, 16)
  np.testing.assert_array_equal(
    model.parameters()["shared_embedding.embedding"] + 1, parameters["shared_embedding.embedding"]
  )


MODULES = dict(
  encoder="encoder.layer_0.self_attention",
  decoder="decoder.layer_0.self_attention",
  cross="decoder.layer_0.cross_attention",
)


@pytest.mark.parametrize(
  "attention",
  ["cross", *(pytest.param(name, marks=pytest.mark.slow) for name in ("encoder", "decoder"))],
)
def test_a_closed_head_is_one_whose_output_matrix_is_zero(model, attention):
  """The same numbers come from a model whose W^O has no rows for this head."""
  parameters = model.parameters()
  parameters[f"{MODULES[attention]}.out.kernel"][1] = 0
  params = unflatten_dict(parameters, sep=".")
  expected = TrainedModel(model.config, model.task, model.model, params, model.steps)
  closed = model.with_heads_closed([(attention, 0, 1)])
  np.testing.assert_allclose(closed.logits(*PAIR), expected.logits(*PAIR), atol=1e-5)
  ours, theirs = list(closed.log_probs([PAIR])), list(expected.log_probs([PAIR]))
  np.testing.assert_allclose(ours, theirs, rtol=1e-5)
  (ours,), (theirs,) = closed.n_best([PAIR[0]], 2), expected.n_best([PAIR[0]], 2)
  assert [answer.score for answer in ours] == pytest.approx([a.score for a in theirs], rel=1e-4)
  ours, theirs = closed.attention(*PAIR), expected.attention(*PAIR)
  for name in MODULES:
    np.testing.assert_allclose(ours[name], theirs[name], atol=1e-5)
    for kind, vectors in ours["vectors"][name].items():
      np.testing.assert_allclose(vectors, theirs["vectors"][name][kind], atol=1e-4)
  assert np.abs(closed.logits(*PAIR) - model.logits(*PAIR)).max() > 1e-4


def test_closing_heads_leaves_the_model_as_it_is(model):
  before = model.logits(*PAIR), list(model.log_probs([PAIR])), model.translate([PAIR[0]])
  first = model.with_heads_closed([("cross", 0, 0)])
  both = first.with_heads_closed([("encoder", 0, 1)])
  at_once = model.with_heads_closed([("encoder", 0, 1), ("cross", 0, 0)])
  np.testing.assert_array_equal(both.logits(*PAIR), at_once.logits(*PAIR))
  assert np.abs(both.logits(*PAIR) - first.logits(*PAIR)).max() > 1e-5
  none = model.with_heads_closed([])
  np.testing.assert_allclose(none.logits(*PAIR), before[0], atol=1e-5)
  np.testing.assert_array_equal(model.logits(*PAIR), before[0])
  assert list(model.log_probs([PAIR])) == before[1] and model.translate([PAIR[0]]) == before[2]


def test_nothing_is_compiled_anew_for_another_head(model):
  model.with_heads_closed([("cross", 0, 0)]).translate([PAIR[0]])
  assert (
    model.with_heads_closed([("cross", 0, 0)])._searches[1]
    is model.with_heads_closed([("cross", 0, 1)])._searches[1]
  )


def test_heads_that_there_are_not(model):
  for head, message in {
    ("self", 0, 0): "'self' is no attention: choose from encoder, decoder, cross",
    ("cross", 1, 0): "there is no head 0 in layer 1: the cross attention has 1 layers of 2 heads",
    ("cross", 0, 2): "there is no head 2 in layer 0",
    ("cross", -1, 0): "there is no head 0 in layer -1",
    ("encoder", 0, -1): "there is no head -1",
  }.items():
    with pytest.raises(ValueError, match=message):
      model.with_heads_closed([head])


DOCUMENTED = [
  name for name, each in vars(TrainedModel).items() if "Example:" in (each.__doc__ or "")
]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_examples_of_the_docstrings_run(model, name):
  example = inspect.getdoc(getattr(TrainedModel, name)).partition("Example:\n")[2]
  exec(textwrap.dedent(example), dict(model=model))


def test_every_method_of_a_loaded_run_has_an_example():
  assert {"translate", "encode", "pieces", "logits", "attention", "log_probs"} < set(DOCUMENTED)
  assert {"with_heads_closed", "parameters"} < set(DOCUMENTED)


@pytest.mark.slow
def test_the_page_on_python_runs(trained, tmp_path, monkeypatch, capsys):
  """Its blocks follow each other, as a reader would type them."""
  pytest.importorskip("safetensors", reason="needs the package safetensors")
  (tmp_path / "runs").mkdir()
  (tmp_path / "runs/quickstart").symlink_to(trained)
  monkeypatch.chdir(tmp_path)
  page = pathlib.Path(__file__).resolve().parents[2] / "docs/python.md"
  blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
  assert len(blocks) == 5
  names = {}
  for block in blocks:
    exec(block, names)
  printed = capsys.readouterr().out
  assert "cross 0.1: " in printed and f"{sum_of_sizes(names['model'])} parameters" in printed


def sum_of_sizes(model):
  return sum(leaf.size for leaf in jax.tree.leaves(model.params))
