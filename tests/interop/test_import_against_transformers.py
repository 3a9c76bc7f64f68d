"""An imported Marian model against transformers itself: ids, logits, texts, weights, gradients."""

import json

import jax
import jax.numpy as jnp
import marian_folder as marian
import numpy as np
import pytest

import transformer_jax
from transformer_jax import parallel
from transformer_jax.cli import main
from transformer_jax.config import EOS_ID, PAD_ID
from transformer_jax.data.pipeline import pad_rows
from transformer_jax.interop.import_run import import_run
from transformer_jax.interop.marian_settings import MarianSettings
from transformer_jax.interop.marian_tensors import MarianTensors
from transformer_jax.training import label_smoothing
from transformer_jax.training.state import initial_state
from transformer_jax.training.step import TrainStep, loss_sums

pytestmark = pytest.mark.interop
torch = pytest.importorskip("torch", reason="needs torch")
transformers = pytest.importorskip("transformers", reason="needs transformers")

LINES = marian.lines(200)
SMOOTHING = 0.1
ROOM = 24  # tokens of an answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A folder as `save_pretrained` writes it, of random arrays with biases everywhere."""
  by_hand = tmp_path_factory.mktemp("by_hand") / "model"
  marian.write_marian(by_hand, by_hand_tensors(by_hand.parent))
  path = tmp_path_factory.mktemp("saved")
  loaded = transformers.MarianMTModel.from_pretrained(by_hand)
  loaded.generation_config.update(num_beams=4, early_stopping="never", length_penalty=1.0)
  loaded.save_pretrained(path)
  transformers.MarianTokenizer.from_pretrained(by_hand).save_pretrained(path)
  return path


def by_hand_tensors(scratch):
  """Returns the arrays; EOS is likely, so that the answers end."""
  (scratch / "tokenizer").mkdir()
  tensors = marian.random_tensors(marian.write_tokenizer(scratch / "tokenizer"))
  tensors["final_logits_bias"][0, 0] += 4.5
  return tensors


@pytest.fixture(scope="module")
def theirs(folder):
  loaded = transformers.MarianMTModel.from_pretrained(folder, attn_implementation="eager")
  return loaded.eval()


@pytest.fixture(scope="module")
def their_tokenizer(folder):
  return transformers.MarianTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def workdir(folder, tmp_path_factory):
  path = tmp_path_factory.mktemp("runs") / "imported"
  import_run(str(folder), path)
  return path


@pytest.fixture(scope="module")
def ours(workdir):
  return transformer_jax.load(workdir, max_extra_length=ROOM)


def in_their_ids(ours, tokens):
  order = ours.task.tokenizer.marian_order()
  return [order[token] for token in tokens]


def test_the_ids_are_equal(ours, their_tokenizer):
  for text in LINES:
    found = in_their_ids(ours, ours.task.encode_source(text))
    assert found == their_tokenizer(text).input_ids, text
  for text in marian.sentences(marian.TARGET_WORDS, 50, 3):
    found = in_their_ids(ours, ours.task.encode_target(text))
    assert found == their_tokenizer(text_target=text).input_ids, text


def test_the_logits_are_equal(ours, theirs):
  pad = theirs.config.pad_token_id
  apply = jax.jit(lambda params, *tokens: ours.model.apply({"params": params}, *tokens))
  for text, answer in zip(LINES[:20], marian.sentences(marian.TARGET_WORDS, 20, 4), strict=True):
    source, target = ours.task.encode_source(text), ours.task.encode_target(answer)
    labels = in_their_ids(ours, target)
    with torch.no_grad():
      expected_TC = theirs(
        input_ids=torch.tensor([in_their_ids(ours, source)]),
        decoder_input_ids=torch.tensor([[pad, *labels[:-1]]]),
      ).logits[0].numpy()  # fmt: skip
    found_TC = np.asarray(apply(ours.params, pad_rows([source], 1, 32), pad_rows([target], 1, 32)))
    order = ours.task.tokenizer.marian_order()
    difference = np.abs(found_TC[0, : len(target)] - expected_TC[:, order]).max()
    assert difference < 1e-5 * np.abs(expected_TC).max(), text


def their_translations(theirs, tokenizer, beams):
  found = []
  for start in range(0, len(LINES), 50):
    batch = tokenizer(LINES[start : start + 50], padding=True, return_tensors="pt")
    with torch.no_grad():
      answers = theirs.generate(
        **batch,
        num_beams=beams,
        max_length=ROOM,
        early_stopping="never" if beams > 1 else False,
        length_penalty=1.0,
        bad_words_ids=[[theirs.config.pad_token_id]],
      )
    found += answers.tolist()
  return found


@pytest.mark.parametrize("beams", [1, 4])
def test_the_translations_are_equal(workdir, theirs, their_tokenizer, beams):
  """Translations that end are equal; greedy ones that do not end are equal up to the limit.

  The limits of the two programs differ, and so does the rank of an unfinished hypothesis.
  """
  model = transformer_jax.load(workdir, beam_size=beams, max_extra_length=ROOM)
  expected = their_translations(theirs, their_tokenizer, beams)
  num_ended = 0
  found = [answer.text for (answer,) in model.n_best(LINES, 1)]
  for text, ids in zip(found, expected, strict=True):
    wanted = their_tokenizer.decode(
      ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    if 0 in ids:
      num_ended += 1
      assert text == wanted
    elif beams == 1:
      assert text.startswith(wanted)
  assert num_ended > len(LINES) // 2 and len(set(found)) > 5


def test_the_attention_weights_are_equal(ours, workdir, theirs, tmp_path):
  """Those that Python returns, and those that the command writes beside its page."""
  source, target = ">>deu<< the small green frog 漢 sat", "der kleiner frosch saß"
  flags = [f"--source={source}", f"--target={target}", f"--output={tmp_path}", "--nofigures"]
  assert main.run(["attention", f"--workdir={workdir}", *flags]) == 0
  assert (tmp_path / "attention.html").exists()
  written = json.loads((tmp_path / "attention.json").read_text(encoding="utf-8"))
  found = ours.attention(source, target)
  labels = in_their_ids(ours, ours.task.encode_target(target))
  with torch.no_grad():
    outputs = theirs(
      input_ids=torch.tensor([in_their_ids(ours, ours.task.encode_source(source))]),
      decoder_input_ids=torch.tensor([[theirs.config.pad_token_id, *labels[:-1]]]),
      output_attentions=True,
    )
  for name, layers in (
    ("encoder", outputs.encoder_attentions),
    ("decoder", outputs.decoder_attentions),
    ("cross", outputs.cross_attentions),
  ):
    expected = torch.stack(layers)[:, 0].numpy()
    assert found[name].shape == expected.shape
    np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(written[name]["weights"], expected, rtol=0, atol=1e-5)


def pairs_of(ours, count):
  task = ours.task
  texts = zip(LINES, marian.sentences(marian.TARGET_WORDS, count, 8), strict=False)
  return [(task.encode_source(text), task.encode_target(answer)) for text, answer in texts]


def their_gradients(ours, theirs, pairs):
  """Returns name -> gradient of the summed, smoothed loss, by torch."""
  pad, size = theirs.config.pad_token_id, theirs.config.vocab_size
  theirs.zero_grad()
  theirs.final_logits_bias.grad = None
  theirs.final_logits_bias.requires_grad_(True)
  loss = torch.zeros(())
  for source, target in pairs:
    labels = in_their_ids(ours, target)
    logits_TC = theirs(
      input_ids=torch.tensor([in_their_ids(ours, source)]),
      decoder_input_ids=torch.tensor([[pad, *labels[:-1]]]),
    ).logits[0]
    wanted_TC = torch.full(logits_TC.shape, SMOOTHING / (size - 1))
    wanted_TC[torch.arange(len(labels)), labels] = 1 - SMOOTHING
    loss = loss - (wanted_TC * torch.log_softmax(logits_TC, -1)).sum()
  loss.backward()
  trained = {
    name: leaf for name, leaf in theirs.named_parameters() if "embed_positions" not in name
  }
  found = {name: leaf.grad.numpy() for name, leaf in trained.items()}
  return float(loss.detach()), found | {"final_logits_bias": theirs.final_logits_bias.grad.numpy()}


def expected_gradients(ours, theirs, folder, pairs, tmp_path, monkeypatch):
  """Returns (loss, gradients) of torch in our form: as an import of the gradients makes them."""
  loss, gradients = their_gradients(ours, theirs, pairs)
  path = tmp_path / "gradients.safetensors"
  marian.write_tensors(path, gradients)
  monkeypatch.setattr(MarianTensors, "_check_start", lambda *_: None)  # PAD's row has a gradient
  tensors = MarianTensors(path, MarianSettings(folder), ours.task.tokenizer.marian_order())
  expected = tensors.parameters()
  tensors.check_all_taken()
  return loss, expected


def check_gradients(found, expected):
  """Compares each array; the difference is at most 1e-4 of the largest number in it."""
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  names = []
  for (path, leaf), wanted in zip(
    jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True
  ):
    name = jax.tree_util.keystr(path)
    names.append(name)
    if "'key'" in name and "bias" in name:
      # The softmax does not see a key's bias: both gradients are rounding.
      assert max(np.abs(leaf).max(), np.abs(wanted).max()) < 1e-4
      continue
    assert np.abs(wanted).max() > 1e-4, name
    assert np.abs(leaf - wanted).max() <= 1e-4 * np.abs(wanted).max(), name
  assert "['output_bias']" in names
  # Four products of each attention: one in a layer of the encoder, two in one of the decoder.
  biases = [name for name in names if "attention']" in name and name.endswith("['bias']")]
  assert len(biases) == 4 * 3 * marian.LAYERS


@pytest.mark.parametrize("rematerialize", [False, True])
@pytest.mark.parametrize("chunk", [1 << 26, 300], ids=["whole", "chunks"])
def test_the_gradients_are_torchs(
  ours, theirs, folder, tmp_path, monkeypatch, chunk, rematerialize
):
  """Gradients of all parameters, biases of attention and of the output too, agree to 1e-4."""
  monkeypatch.setattr(label_smoothing, "_CHUNK", chunk)
  pairs = pairs_of(ours, 6)
  expected_loss, expected = expected_gradients(ours, theirs, folder, pairs, tmp_path, monkeypatch)
  sources, targets = zip(*pairs, strict=True)
  tokens = (jnp.asarray(pad_rows(sources, 6, 32)), jnp.asarray(pad_rows(targets, 6, 32)))
  model = ours.model.clone(config=ours.config.replace(rematerialize=rematerialize).model)
  loss = lambda params: loss_sums(model, params, *tokens, SMOOTHING)[0]
  found_loss, found = jax.jit(jax.value_and_grad(loss))(ours.params)
  assert float(found_loss) == pytest.approx(expected_loss, rel=1e-5)
  check_gradients(found, expected)


def sharded_batch(pairs, num_rows):
  sources, targets = zip(*pairs, strict=True)
  assert all(target[-1] == EOS_ID and PAD_ID not in target for target in targets)
  return tuple(parallel.shard_rows(pad_rows(side, num_rows, 32)) for side in (sources, targets))


@pytest.mark.parametrize("batches", [1, 2])
def test_an_update_has_torchs_gradients(ours, theirs, folder, tmp_path, monkeypatch, batches):
  """Adam's first moment after one update is (1 - b1) times the gradient of the mean loss.

  The whole update is compared: of one batch, and of two whose gradients are summed; without
  dropout, with the chunked loss and rematerialization.
  """
  monkeypatch.setattr(label_smoothing, "_CHUNK", 300)
  pairs = pairs_of(ours, 24)
  _, expected = expected_gradients(ours, theirs, folder, pairs, tmp_path, monkeypatch)
  settings = dict(dropout_rate=0.0, label_smoothing=SMOOTHING, rematerialize=True)
  config = ours.config.replace(accumulation_steps=batches, **settings)
  model = ours.model.clone(config=config.model)
  state = parallel.replicate(jax.jit(lambda: initial_state(config, model, ours.params))())
  parts = [pairs[number::batches] for number in range(batches)]
  state, _ = TrainStep(config, model)(state, [sharded_batch(part, 24) for part in parts])
  state = parallel.to_host(state)
  tokens = sum(len(target) for _, target in pairs)
  assert state.sums.target_tokens == tokens and state.step == 1
  scale = tokens / (1 - config.train.adam_beta1)
  check_gradients(jax.tree.map(lambda moment: moment * scale, state.opt_state[0].mu), expected)


def test_fine_tuning_lowers_its_loss(ours):
  """The updates have two batches, dropout and the chunked loss."""
  settings = dict(warmup_steps=10, accumulation_steps=2, dropout_rate=0.1, rematerialize=True)
  config = ours.config.replace(**settings)
  model = ours.model.clone(config=config.model)
  state = jax.jit(lambda: initial_state(config, model, ours.params))()
  pairs = pairs_of(ours, 32)
  batches = [sharded_batch(half, 16) for half in (pairs[:16], pairs[16:])]
  step = TrainStep(config, model)

  @jax.jit
  def summed_loss(params):
    source, target = (jnp.concatenate(side, axis=1)[0] for side in zip(*batches, strict=True))
    return loss_sums(model, params, source, target, SMOOTHING)[0]

  first = summed_loss(ours.params)
  state = parallel.replicate(state)
  for _ in range(30):
    state, _ = step(state, batches)
  params = parallel.to_host(state.params)
  assert summed_loss(params) < 0.8 * first
  assert np.abs(params["output_bias"] - ours.params["output_bias"]).max() > 1e-3
