"""Reads the settings of a Marian model, and refuses those that ours cannot have."""

import json
import pathlib
from typing import Any

from transformer_jax.config import Config
from transformer_jax.data.text import read_problem
from transformer_jax.data.tokenizers.marian import VOCABULARY
from transformer_jax.errors import ConfigError
from transformer_jax.strict_json import json_text

CONFIG = "config.json"
GENERATION = "generation_config.json"
# Settings of `generate` that our search lacks -> the value with which they do nothing.
_NOT_TAKEN_OVER = dict(
  no_repeat_ngram_size=0,
  encoder_no_repeat_ngram_size=0,
  repetition_penalty=1.0,
  encoder_repetition_penalty=1.0,
  diversity_penalty=0.0,
  num_beam_groups=1,
  min_length=0,
  min_new_tokens=0,
  do_sample=False,
)
TOKENIZER_CONFIG = "tokenizer_config.json"

SAVE_PRETRAINED = "load it with transformers and write it with save_pretrained"
_OF_ONE_MODEL = "fetch the files of one model"
NO_REMEDY = "such a model cannot be imported"
_ACTIVATIONS = {"relu": "relu", "swish": "swish", "silu": "swish", "gelu": "gelu"}
_LONGEST_SOURCE = 512  # tokens of the longest sentences that the published models were trained on
# A setting -> (the only value that can be imported, its value where config.json lacks it, why). The
# second is the default of transformers; old releases wrote all settings.
_ONE_FORM = {
  "scale_embedding": (True, False, "embeddings are multiplied by sqrt(d_model) here, always"),
  "normalize_before": (False, False, "only norms after each sub-layer can be imported"),
  "normalize_embedding": (False, False, "there is no norm after the embeddings here"),
  "add_final_layer_norm": (False, False, "there is no norm after the last layer here"),
  "static_position_embeddings": (True, True, "only the paper's sinusoids can be imported"),
}


class MarianSettings:
  """What config.json, generation_config.json and tokenizer_config.json say."""

  def __init__(self, folder: pathlib.Path) -> None:
    self._path = folder / CONFIG
    self._model = _read_json(self._path)
    self._generation_path = folder / GENERATION
    self._generation = _read_json(self._generation_path, is_optional=True)
    self._tokenizer = _read_json(folder / TOKENIZER_CONFIG, is_optional=True)

  @property
  def width(self) -> int:
    """D."""
    return self._whole("d_model")

  @property
  def num_layers(self) -> int:
    """N of each stack."""
    return self._whole("encoder_layers")

  @property
  def num_heads(self) -> int:
    """H of each attention."""
    return self._whole("encoder_attention_heads")

  @property
  def is_shared(self) -> bool:
    """Whether both embeddings are one matrix."""
    return self._boolean("share_encoder_decoder_embeddings")

  @property
  def is_tied(self) -> bool:
    """Whether the output matrix is the target's embedding."""
    return self._boolean("tie_word_embeddings")

  @property
  def inner_width(self) -> int:
    """F of each feed-forward network."""
    return self._whole("encoder_ffn_dim")

  def check(self) -> None:
    """Raises a ConfigError for the first setting that cannot be expressed."""
    kind = self._model.get("model_type")
    if kind != "marian":
      raise self._refusal("model_type", f"is {kind}", "import a Marian model")
    for ours, theirs in (
      ("encoder_layers", "decoder_layers"),
      ("encoder_ffn_dim", "decoder_ffn_dim"),
      ("encoder_attention_heads", "decoder_attention_heads"),
    ):
      if self._whole(ours) != self._whole(theirs):
        raise self._refusal(
          f"{ours} {self._whole(ours)}, {theirs} {self._whole(theirs)}",
          "differ, but the two stacks have one form here",
        )
    if self.width % self.num_heads:
      raise self._refusal(f"d_model {self.width}", f"is not a multiple of {self.num_heads} heads")
    for name, (required, default, problem) in _ONE_FORM.items():
      value = self._model.get(name, default)
      if value is not required:
        raise self._refusal(f"{name} {json_text(value)}", problem)
    activation = self._model.get("activation_function", "gelu")
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
      known = ", ".join(_ACTIVATIONS)
      raise self._refusal(f"activation_function {activation}", f"is not one of {known}")
    start, pad = self._model.get("decoder_start_token_id"), self._model.get("pad_token_id")
    if start != pad:
      raise self._refusal(f"decoder_start_token_id {start}", f"is not pad_token_id, {pad}")
    if self._tokenizer.get("separate_vocabs"):
      raise ConfigError(
        f"{self._path.parent / TOKENIZER_CONFIG}: separate_vocabs",
        "is true, but both languages have one vocabulary here",
        NO_REMEDY,
      )

  def check_vocabulary(self, size: int) -> None:
    """Raises a ConfigError if the model has another number of pieces than the tokenizer."""
    for name in ("vocab_size", "decoder_vocab_size"):
      theirs = self._model.get(name)
      if theirs is not None and theirs != size:
        problem = f"is not the number of pieces in {VOCABULARY}, {size}"
        raise self._refusal(f"{name} {theirs}", problem, _OF_ONE_MODEL)

  def check_ids(self, pad: int, eos: int) -> None:
    """Raises a ConfigError if the model has other ids for PAD and EOS than the tokenizer."""
    for name, ours in (("pad_token_id", pad), ("eos_token_id", eos)):
      theirs = self._model.get(name)
      if theirs != ours:
        problem = f"is not the id in {VOCABULARY}, {ours}"
        raise self._refusal(f"{name} {theirs}", problem, _OF_ONE_MODEL)

  def config(self) -> Config:
    """Returns our settings, except those that the tokenizer and the arrays decide.

    Raises:
      ConfigError: one of them is of a wrong type or out of range.
    """
    try:
      return Config.from_flat(self._flat())
    except ConfigError as error:
      if not error.where.startswith("--"):
        raise
      # It names a flag, but no flag was given.
      raise ConfigError(self._path.parent, f"cannot be expressed: {error}") from None

  def _flat(self) -> dict[str, Any]:
    head_width = self.width // self.num_heads
    longest = self._number("max_position_embeddings", _LONGEST_SOURCE, is_whole=True)
    languages = dict(
      source_language=self._tokenizer.get("source_lang"),
      target_language=self._tokenizer.get("target_lang"),
    )
    return dict(
      num_layers=self.num_layers,
      d_model=self.width,
      d_ff=self.inner_width,
      num_heads=self.num_heads,
      d_k=head_width,
      d_v=head_width,
      dropout_rate=self._number("dropout", 0.1),
      attention_dropout_rate=self._number("attention_dropout", 0.0),
      relu_dropout_rate=self._number("activation_dropout", 0.0),
      activation=_ACTIVATIONS[self._model.get("activation_function", "gelu")],
      layer_norm_epsilon=1e-5,  # torch's; Marian's modules do not change it
      data_source="text",
      tokenizer="marian",
      beam_size=self._number("num_beams", 1, is_whole=True),
      length_penalty=self._number("length_penalty", 1.0),
      length_penalty_form="power",
      early_stopping="first" if self._of_generation("early_stopping", False) is True else "exact",
      max_source_length=min(_LONGEST_SOURCE, longest),
      **{name: code for name, code in languages.items() if isinstance(code, str)},
    )

  def notes(self) -> list[str]:
    """Returns lines on settings of generation that are not taken over."""
    pad = self._model.get("pad_token_id")
    words = self._of_generation("bad_words_ids", None) or []
    found = []
    if words not in ([], [[pad]]):
      found.append("bad_words_ids forbids more than PAD; only PAD is forbidden here")
    for name, without_effect in _NOT_TAKEN_OVER.items():
      value = self._of_generation(name, None)
      if value not in (None, without_effect):
        found.append(f"{name} is {json_text(value)}, which is not taken over")
    return [f"{self._generation_path}: {note}" for note in found]

  def _whole(self, name: str) -> int:
    value = self._model.get(name)
    if type(value) is not int or value < 1:
      problem = f"is {json_text(value)}, not a number above 0"
      raise self._refusal(name, problem, "fetch or write it again")
    return value

  def _boolean(self, name: str) -> bool:
    """Returns true unless config.json says otherwise."""
    value = self._model.get(name, True)
    if type(value) is not bool:
      raise self._refusal(name, f"is {json_text(value)}, neither true nor false")
    return value

  def _of_generation(self, name: str, default: Any) -> Any:
    """Returns a setting of generation, which older folders have in config.json."""
    return self._generation.get(name, self._model.get(name, default))

  def _number(self, name: str, default: float, is_whole: bool = False) -> Any:
    """Returns a number of either file; `default`, as transformers has it, if there is none."""
    value = self._of_generation(name, None)
    if value is None:
      return default
    if type(value) is not int and (is_whole or type(value) is not float):
      path = self._generation_path if name in self._generation else self._path
      what = "a whole number" if is_whole else "a number"
      raise ConfigError(f"{path}: {name}", f"is {json_text(value)}, not {what}")
    return value

  def _refusal(self, what: str, problem: str, remedy: str = NO_REMEDY) -> ConfigError:
    return ConfigError(f"{self._path}: {what}", problem, remedy)


def _read_json(path: pathlib.Path, is_optional: bool = False) -> dict[str, Any]:
  try:
    content = json.loads(path.read_bytes())
    if isinstance(content, dict):
      return content
  except FileNotFoundError:
    if is_optional:
      return {}
    raise ConfigError(path, "is missing", SAVE_PRETRAINED) from None
  except OSError as error:
    raise ConfigError(path, f"cannot be read: {read_problem(error)}") from None
  except (ValueError, RecursionError):
    pass
  raise ConfigError(path, "is not a JSON object", "fetch or write it again")
