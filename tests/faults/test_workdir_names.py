"""Of a hundred names of workdirs, each works for a whole run, or is refused in one line."""

import unicodedata

import jax
import pytest
from tiny_run import metrics_of, tiny_config

import transformer_jax
from transformer_jax.errors import TransformerJaxError
from transformer_jax.runs import resuming
from transformer_jax.runs import train as train_module
from transformer_jax.runs import trained_model as translator
from transformer_jax.runs.digest import digest_of
from transformer_jax.runs.train import train
from transformer_jax.training.state import initial_state

SIGNS = [chr(code) for code in range(32, 127) if not chr(code).isalnum() and chr(code) != "/"]
PATTERNS = [
  "**",
  "a**b",
  "[!a]",
  "[a-z]*",
  "{a,b}",
  "lr[0.1]/deep/er",
  "a\\[b]\\",
  "%5B",
  "$HOME",
  "`x`",
  "~x",
  "--workdir",
]
ADDRESSES = ["gs:", "s3:", "file:", "http:", "gs:/x", "a:b"]
BLANKS = ["a b", " a", "a ", "a\tb", "a\nb", "a\rb", "a\u00a0b", "a\u200bb", "\ufeffa"]
LETTERS = [
  *(unicodedata.normalize(form, "Übé") for form in ("NFC", "NFD")),
  "模型",
  "מודל",
  "نموذج",
  "\u202eabc",
  "\U0001f600",
  "\U0001f469\u200d\U0001f52c",
  "a\udcffb",
  "\x01",
]
PATHS = [
  "x" * 255,
  "/".join(["y" * 100] * 20),
  "x/",
  "x//y",
  "./x",
  "a/../b",
  ".hidden",
  "...",
  "checkpoints",
  "20",
  "writing-1",
]
REFUSED = ["x" * 256, "ü" * 128, "/".join(["z" * 200] * 30), "a\0b"]
ALONE = [sign for sign in SIGNS if sign not in ". "]
NAMES = list(
  dict.fromkeys(
    [*(f"a{sign}b" for sign in SIGNS), *ALONE, *PATTERNS, *ADDRESSES, *BLANKS, *LETTERS, *PATHS]
  )
)

SETTINGS = dict(
  d_model=8,
  d_ff=8,
  num_heads=1,
  d_k=4,
  d_v=4,
  numbers_limit=100,
  numbers_train_size=60,
  vocab_size=60,
  max_length=32,
  batch_tokens=128,
  num_buckets=1,
  bleu_sentences=0,
  train_steps=1,
  log_every=1,
  evaluate_every=2,
  checkpoint_every=1,
  beam_size=1,
  max_extra_length=1,
)


def once(function):
  """Returns a function that repeats its first result: a hundred runs compile only once."""
  results = []

  def call(*args, **settings):
    if not results:
      results.append(function(*args, **settings))
    return results[0]

  return call


def computed_state(config, model):
  """Returns the first state as numpy arrays, also when it is called to be compiled."""
  with jax.ensure_compile_time_eval():
    return jax.device_get(initial_state(config, model))


@pytest.fixture(scope="module", autouse=True)
def the_same_programs():
  with pytest.MonkeyPatch.context() as patch:
    for name in ("TrainStep", "make_reset", "Validation"):
      patch.setattr(train_module, name, once(getattr(train_module, name)))
    for name in ("make_decode_batch", "parameter_shapes"):
      patch.setattr(translator, name, once(getattr(translator, name)))
    patch.setattr(resuming, "initial_state", once(computed_state))
    yield


def train_and_use(workdir):
  """Trains, resumes and translates; returns the digest."""
  train(tiny_config(**SETTINGS), workdir, ".")
  train(tiny_config(**{**SETTINGS, "train_steps": 2}), workdir, ".")
  assert len(transformer_jax.load(workdir).translate(["one"])) == 1
  return digest_of(workdir)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
  """The result that every run must have."""
  workdir = tmp_path_factory.mktemp("plain") / "run"
  return train_and_use(workdir), metrics_of(workdir)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_run_in_a_folder_of_any_name(name, expected, tmp_path):
  workdir = f"{tmp_path}/{name}"
  assert train_and_use(workdir) == expected[0]
  assert metrics_of(tmp_path / name) == expected[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run", "lr[0.1]", "a\nb"])
def test_a_relative_name_and_a_link(name, expected, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert train_and_use(name) == expected[0]
  (tmp_path / "link \\[x]").symlink_to(name)
  assert digest_of("link \\[x]") == expected[0]
  (tmp_path / "elsewhere").mkdir()
  (tmp_path / "other").symlink_to("elsewhere")
  assert train_and_use("other") == expected[0]


@pytest.mark.parametrize("name", REFUSED, ids=lambda name: ascii(name)[:9])
def test_a_name_that_no_folder_can_have_is_refused_in_one_line(name, tmp_path):
  with pytest.raises(TransformerJaxError) as error:
    train(tiny_config(**SETTINGS), f"{tmp_path}/{name}", ".")
  assert len(str(error.value).splitlines()) == 1


def test_there_are_at_least_a_hundred_names():
  assert len(NAMES) >= 100
