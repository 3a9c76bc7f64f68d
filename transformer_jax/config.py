"""Every hyper-parameter of the system, declared once (floor 1).

A field's name is its flag's name; its default is the paper's base model (Table 3, first row) wherever the paper
says. The four groups below make one `Config`; names are unique over the groups, so flags and config.json are flat.
Nothing here imports jax: a wrong flag is reported before it loads.
"""

import dataclasses
import math
import os
import pathlib
import re
import stat
import tempfile

from transformer_jax.errors import ConfigError, WorkdirError

PAD_ID, EOS_ID, UNK_ID = (
  0,
  1,
  2,
)  # no BOS: the decoder starts from PAD, whose embedding is the zero vector

PAPER_TOKENS_PER_UPDATE = 25_000  # source tokens, and as many target tokens (Section 5.1)


def _field(default, help_text, low=None, high=None, choices=None, is_younger=False, only_for=None):
  """A hyper-parameter; `low` and `high` are inclusive bounds.

  `is_younger`: there were runs before it, which did as its default says; a config.json without it has the default.
  `only_for`: other settings -> the values of theirs with which this one is read.
  """
  metadata = dict(help=help_text, low=low, high=high, choices=choices, is_younger=is_younger)
  return dataclasses.field(default=default, metadata=dict(metadata, only_for=only_for or {}))


_NUMBERS, _TEXT, _TFDS, _TREEBANK, _GRAMMAR = (
  dict(data_source=(name,)) for name in ("numbers", "text", "tfds", "treebank", "grammar")
)
_LANGUAGES = dict(data_source=("text", "tfds"))


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """The model of Section 3. h, d_k and d_v are independent of d_model (Table 3, rows A and B)."""

  num_layers: int = _field(
    6, "N, layers in the encoder and in the decoder (Section 3.1)", low=1, high=1000
  )
  d_model: int = _field(512, "width of every sub-layer's output (Section 3.1)", low=2, high=1 << 16)
  d_ff: int = _field(
    2048, "inner width of the feed-forward networks (Section 3.3)", low=1, high=1 << 20
  )
  num_heads: int = _field(8, "h, attention heads (Section 3.2.2)", low=1, high=1 << 12)
  d_k: int = _field(64, "width of a head's queries and keys", low=1, high=1 << 16)
  d_v: int = _field(64, "width of a head's values", low=1, high=1 << 16)
  dropout_rate: float = _field(
    0.1,
    "P_drop, on sub-layer outputs and on embeddings plus positions (Section 5.4)",
    low=0.0,
    high=0.99,
  )
  attention_dropout_rate: float = _field(
    0.0, "dropout on attention weights; not in the paper's text", low=0.0, high=0.99
  )
  relu_dropout_rate: float = _field(
    0.0, "dropout inside the feed-forward networks; not in the paper's text", low=0.0, high=0.99
  )
  positions: str = _field(
    "sinusoidal",
    "positional encoding: the paper's interleaved sinusoids, the authors' code's layout "
    "(all sines, then all cosines), a learned table (Table 3, row E), or none",
    choices=("sinusoidal", "sinusoidal_concatenated", "learned", "none"),
  )
  # Not `only_for` learned positions: the base of a table of rows sets it for the row that has them.
  max_positions: int = _field(1024, "rows of a learned position table", low=1, high=1 << 20)
  norm: str = _field(
    "post",
    "LayerNorm after each residual sum, as the paper, or before each sub-layer",
    choices=("post", "pre"),
  )
  embedding_sharing: str = _field(
    "all",
    "which of source embedding, target embedding and output projection are one matrix: "
    "all three (Section 3.4), the target's two, or none",
    choices=("all", "target", "none"),
  )
  attention_kernel: str = _field(
    "auto",
    "how attention is computed; auto picks from a committed table",
    choices=("auto", "reference", "blocked", "xla", "cudnn"),
  )
  rematerialize: bool = _field(
    False,
    "compute a layer's activations again in the backward pass instead of keeping them: slower, for what "
    "does not fit an accelerator otherwise; on a CPU XLA undoes it",
    is_younger=True,
  )
  dtype: str = _field(
    "float32",
    "dtype of activations; parameters, softmax, LayerNorm and loss stay float32",
    choices=("float32", "bfloat16"),
  )


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Where text comes from, how it becomes tokens, how tokens become batches."""

  task: str = _field(
    "translation",
    "what the model learns: sentences to sentences, or sentences to constituency trees",
    choices=("translation", "parsing"),
  )
  data_source: str = _field(
    "numbers",
    "for translation: built-in number words, parallel text files, or a TensorFlow dataset by name; "
    "for parsing: bracketed trees from files, or a built-in grammar",
    choices=("numbers", "text", "tfds", "treebank", "grammar"),
  )
  source_language: str = _field("en", "language translated from", only_for=_LANGUAGES)
  target_language: str = _field("de", "language translated into", only_for=_LANGUAGES)
  train_source: str = _field(
    "",
    "text files of the training sources, comma-separated, .gz allowed; relative to --data_root",
    only_for=_TEXT,
  )
  train_target: str = _field(
    "", "text files of the training targets, line by line beside train_source", only_for=_TEXT
  )
  valid_source: str = _field("", "text files of the validation sources", only_for=_TEXT)
  valid_target: str = _field("", "text files of the validation targets", only_for=_TEXT)
  test_source: str = _field("", "text files of the test sources", only_for=_TEXT)
  test_target: str = _field("", "text files of the test targets (references)", only_for=_TEXT)
  tfds_name: str = _field(
    "wmt14_translate/de-en",
    "TensorFlow dataset of translations, with its configuration",
    only_for=_TFDS,
  )
  tfds_data_dir: str = _field(
    "", "folder of prepared TensorFlow datasets; empty: the library's default", only_for=_TFDS
  )
  tfds_splits: str = _field(
    "train,validation,test",
    "the dataset's splits for train, valid and test; slices such as train[:99%] allowed",
    only_for=_TFDS,
  )
  treebank: str = _field(
    "",
    "folder of the Penn Treebank's wsj_SSNN.mrg files, which the sections below choose from",
    is_younger=True,
    only_for=_TREEBANK,
  )
  train_sections: str = _field(
    "", "WSJ sections to train on, such as 2-21", is_younger=True, only_for=_TREEBANK
  )
  valid_sections: str = _field(
    "", "WSJ sections to validate on, such as 22", is_younger=True, only_for=_TREEBANK
  )
  test_sections: str = _field(
    "", "WSJ sections to test on, such as 23", is_younger=True, only_for=_TREEBANK
  )
  train_trees: str = _field(
    "",
    "files, folders or wildcards of bracketed trees to train on, comma-separated, .gz allowed; they follow the "
    "sections",
    is_younger=True,
    only_for=_TREEBANK,
  )
  valid_trees: str = _field("", "the same for validation", is_younger=True, only_for=_TREEBANK)
  test_trees: str = _field("", "the same for test", is_younger=True, only_for=_TREEBANK)
  linearization: str = _field(
    "vinyals",
    "trees as symbols: (NP XX )NP with words as XX (Vinyals et al. 2015), or NP NN /NP with tags "
    "kept, as the authors' code",
    choices=("vinyals", "t2t"),
    is_younger=True,
    only_for=dict(task=("parsing",)),
  )
  grammar_train_size: int = _field(
    40_000,
    "training trees of the built-in grammar",
    low=1,
    high=1_000_000,
    is_younger=True,
    only_for=_GRAMMAR,
  )
  numbers_limit: int = _field(
    1_000_000,
    "the numbers source draws from 0 to this, exclusive",
    low=100,
    high=1_000_000,
    only_for=_NUMBERS,
  )
  numbers_train_size: int = _field(
    40_000, "training pairs of the numbers source", low=1, high=1_000_000, only_for=_NUMBERS
  )
  numbers_all_below: int = _field(
    0,
    "numbers below this are all in training, about 1 pair in 9, and none is held out",
    low=0,
    high=10_000,
    is_younger=True,
    only_for=_NUMBERS,
  )
  preprocessing: str = _field(
    "none",
    "what is done to text before segmentation: nothing, Moses punctuation normalisation and "
    "tokenisation, or these and lower-casing",
    choices=("none", "moses", "moses_lowercase"),
  )
  preprocessed_splits: str = _field(
    "",
    "splits whose files are preprocessed already, comma-separated",
    only_for=dict(preprocessing=("moses", "moses_lowercase")),
  )
  tokenizer: str = _field(
    "sentencepiece",
    "sub-words: SentencePiece BPE, subword-nmt BPE, or text that is segmented already",
    choices=("sentencepiece", "subword_nmt", "segmented"),
  )
  vocab_size: int = _field(
    37_000,
    "size of the vocabulary shared by both languages (Section 5.1: about 37000); an upper bound "
    "for subword_nmt and segmented",
    low=8,
    high=1_000_000,
    only_for=dict(vocabulary_file=("",)),
  )
  bpe_codes: str = _field(
    "",
    "subword-nmt merge operations to use; empty: learn them",
    only_for=dict(tokenizer=("subword_nmt",)),
  )
  bpe_merges: int = _field(
    10_000,
    "merge operations to learn where bpe_codes is empty",
    low=1,
    high=1_000_000,
    only_for=dict(tokenizer=("subword_nmt",), bpe_codes=("",)),
  )
  vocabulary_file: str = _field(
    "",
    "vocabulary of segmented text, one symbol a line (a count after it is ignored); empty: from the text",
    only_for=dict(tokenizer=("segmented",)),
  )
  max_length: int = _field(
    256, "training pairs with a longer side, in tokens with EOS, are dropped", low=4, high=100_000
  )
  num_buckets: int = _field(
    8,
    "(source, target) shapes that batches are padded to, at most; each is compiled once",
    low=1,
    high=64,
  )
  batch_tokens: int = _field(
    25_000,
    "padded source positions, and padded target positions, of one batch over all devices",
    low=1,
    high=100_000_000,
  )
  accumulation_steps: int = _field(
    1, "batches whose gradients are summed for one update", low=1, high=100_000
  )

  def files(self, split: str, side: str) -> str:
    """Returns the setting that names a split's files.

    Args:
      split: "train", "valid" or "test".
      side: "source" or "target" of parallel text; "sections" or "trees" of a treebank.
    """
    names = dict(
      train=dict(
        source=self.train_source,
        target=self.train_target,
        sections=self.train_sections,
        trees=self.train_trees,
      ),
      valid=dict(
        source=self.valid_source,
        target=self.valid_target,
        sections=self.valid_sections,
        trees=self.valid_trees,
      ),
      test=dict(
        source=self.test_source,
        target=self.test_target,
        sections=self.test_sections,
        trees=self.test_trees,
      ),
    )
    return names[split][side]


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """Sections 5.2 to 5.4: optimizer, schedule, regularisation; and what a run writes when."""

  seed: int = _field(1, "seed of initialisation, dropout and data order", low=0, high=2**31 - 1)
  train_steps: int = _field(100_000, "updates", low=1, high=1_000_000_000)
  warmup_steps: int = _field(
    4000, "updates over which the learning rate rises (Section 5.3)", low=1, high=1_000_000_000
  )
  learning_rate_scale: float = _field(1.0, "multiplies the paper's schedule", low=0.0, high=1e30)
  adam_beta1: float = _field(0.9, "Adam's decay of the mean gradient", low=0.0, high=0.999999)
  adam_beta2: float = _field(
    0.98, "Adam's decay of the mean squared gradient", low=0.0, high=0.999999
  )
  adam_epsilon: float = _field(1e-9, "Adam's epsilon", low=0.0, high=1.0)
  label_smoothing: float = _field(
    0.1, "eps_ls, probability spread over the wrong classes (Section 5.4)", low=0.0, high=0.99
  )
  log_every: int = _field(100, "updates between lines of metrics.jsonl", low=1, high=10_000)
  evaluate_every: int = _field(1500, "updates between evaluations on the validation split", low=1)
  bleu_sentences: int = _field(
    1000, "validation sentences translated at each evaluation; 0: none", low=0
  )
  evaluation_beam_size: int = _field(
    1, "hypotheses kept in these translations; 1 is greedy search", low=1, high=1000
  )
  checkpoint_every: int = _field(1500, "updates between checkpoints (paper: 10 minutes)", low=1)
  keep_checkpoints: int = _field(5, "latest checkpoints kept", low=1)
  keep_best: int = _field(1, "best checkpoints by validation score kept besides", low=0)
  max_nonfinite_updates: int = _field(10, "non-finite updates in a row that end the run", low=1)
  deterministic: bool = _field(
    False, "on a GPU, use only kernels that give the same bits each time"
  )


@dataclasses.dataclass(frozen=True)
class DecodeConfig:
  """Section 6.1: how translations are searched for."""

  beam_size: int = _field(4, "hypotheses kept; 1 is greedy search", low=1, high=1000)
  length_penalty: float = _field(0.6, "alpha", low=0.0, high=10.0)
  length_penalty_form: str = _field(
    "gnmt", "((5 + length) / 6)^alpha, as the paper, or length^alpha", choices=("gnmt", "power")
  )
  constrained: bool = _field(
    False,
    "of a parser: only prefixes of well-formed trees over the sentence's words",
    is_younger=True,
  )
  max_extra_length: int = _field(
    50, "output is at most this many tokens longer than the input", low=0, high=100_000
  )
  decode_batch_tokens: int = _field(
    4096, "padded source positions decoded at once, over all devices", low=1, high=10_000_000
  )
  max_source_length: int = _field(
    1024, "source sentences are cut after this many tokens when translating", low=2, high=1 << 20
  )
  average_last: int = _field(
    1, "checkpoints whose parameters are averaged (paper: base 5, big 20)", low=1
  )


# Settings that name files or folders.
PATHS = frozenset(
  {
    "tfds_data_dir",
    "treebank",
    "bpe_codes",
    "vocabulary_file",
    "train_source",
    "train_target",
    "train_trees",
    "valid_source",
    "valid_target",
    "valid_trees",
    "test_source",
    "test_target",
    "test_trees",
  }
)

_GROUPS = dict(model=ModelConfig, data=DataConfig, train=TrainConfig, decode=DecodeConfig)


@dataclasses.dataclass(frozen=True)
class Config:
  """One experiment. `Config()` is the paper's base model on the built-in task."""

  model: ModelConfig = ModelConfig()
  data: DataConfig = DataConfig()
  train: TrainConfig = TrainConfig()
  decode: DecodeConfig = DecodeConfig()

  def to_flat(self):
    """All hyper-parameters as one dict, name -> value."""
    return {
      name: value
      for group in _GROUPS
      for name, value in dataclasses.asdict(getattr(self, group)).items()
    }

  @classmethod
  def from_flat(cls, values):
    """Builds and checks a Config from name -> value; names left out keep their default.

    Raises:
      ConfigError: an unknown name, a value of the wrong type or out of range, or a contradiction.
    """
    unknown = sorted(set(values) - set(fields()))
    if unknown:
      raise ConfigError(f"--{unknown[0]}", "there is no such setting", "see --help for the names")
    groups = {}
    for group, group_cls in _GROUPS.items():
      names = [f.name for f in dataclasses.fields(group_cls)]
      groups[group] = group_cls(**{n: _checked(n, values[n]) for n in names if n in values})
    config = cls(**groups)
    _check_together(config)
    return config

  def replace(self, **values):
    """A checked copy with some hyper-parameters changed, by their flat names."""
    return Config.from_flat({**self.to_flat(), **values})

  def override(self, values):
    """A checked copy with the values of a dict that are not None."""
    return self.replace(**{name: value for name, value in values.items() if value is not None})


def fields():
  """name -> dataclasses.Field of every hyper-parameter, in the order of the groups."""
  return {f.name: f for group_cls in _GROUPS.values() for f in dataclasses.fields(group_cls)}


def groups():
  """Group name -> its dataclass; the sections of `--help`."""
  return dict(_GROUPS)


def _checked(name, value):
  """`value` if it has the type and the range of field `name`."""
  field = fields()[name]
  rule = field.metadata
  if field.type is float and type(value) is int:
    value = float(value)
  if type(value) is not field.type:
    raise ConfigError(f"--{name}", f"{value!r} is not of type {field.type.__name__}")
  if field.type is float and not math.isfinite(value):
    raise ConfigError(f"--{name}", f"{value} is not a finite number")
  if rule["choices"] and value not in rule["choices"]:
    raise ConfigError(
      f"--{name}", f"'{value}' is not known", f"choose one of {', '.join(rule['choices'])}"
    )
  if rule["low"] is not None and value < rule["low"]:
    raise ConfigError(f"--{name}", f"{value} is too small", f"at least {rule['low']}")
  if rule["high"] is not None and value > rule["high"]:
    raise ConfigError(f"--{name}", f"{value} is too large", f"at most {rule['high']}")
  return value


def _check_together(config):
  """Contradictions between settings."""
  model, data, train = config.model, config.data, config.train
  if model.positions.startswith("sinusoidal") and model.d_model % 2:
    raise ConfigError(
      "--d_model",
      f"{model.d_model} is odd, and sinusoids come in pairs",
      "use an even width or --positions=learned",
    )
  if data.max_length > data.batch_tokens:
    raise ConfigError(
      "--batch_tokens",
      f"{data.batch_tokens} does not hold one pair of --max_length={data.max_length}",
      "raise --batch_tokens or lower --max_length",
    )
  if model.positions == "learned" and model.max_positions < data.max_length:
    raise ConfigError(
      "--max_positions",
      f"{model.max_positions} positions cannot serve --max_length={data.max_length}",
      "raise --max_positions or lower --max_length",
    )
  if data.data_source == "text":
    for name in ("train_source", "train_target", "valid_source", "valid_target"):
      if not getattr(data, name):
        raise ConfigError(
          f"--{name}", "is empty, and --data_source=text reads it", "name one or more files"
        )
    for split in ("train", "valid", "test"):
      count = [len(split_list(getattr(data, f"{split}_{side}"))) for side in ("source", "target")]
      if count[0] != count[1]:
        raise ConfigError(
          f"--{split}_target",
          f"{count[1]} files beside {count[0]} of --{split}_source",
          "name as many",
        )
  if data.data_source == "tfds" and len(split_list(data.tfds_splits)) != 3:
    raise ConfigError(
      "--tfds_splits",
      f"'{data.tfds_splits}' does not name three splits",
      "such as train,validation,test",
    )
  if config.decode.average_last > train.keep_checkpoints:
    raise ConfigError(
      "--average_last",
      f"{config.decode.average_last} checkpoints are to be averaged, and --keep_checkpoints="
      f"{train.keep_checkpoints} are kept",
      "keep as many",
    )
  wrong = set(split_list(data.preprocessed_splits)) - {"train", "valid", "test"}
  if wrong:
    raise ConfigError(
      "--preprocessed_splits", f"'{sorted(wrong)[0]}' is not a split", "use train, valid, test"
    )
  if data.numbers_all_below > min(data.numbers_limit, data.numbers_train_size):
    raise ConfigError(
      "--numbers_all_below",
      f"{data.numbers_all_below} numbers are not there",
      "at most --numbers_limit and --numbers_train_size",
    )
  if data.data_source in ("numbers", "tfds") and data.tokenizer == "segmented":
    raise ConfigError("--tokenizer", "segmented text comes from files", "use --data_source=text")
  _check_task(config)


# Told, not refused: without them a run does what it would with them.
_HARMLESS_UNREAD = (
  "source_language",
  "target_language",
  "numbers_limit",
  "numbers_train_size",
  "numbers_all_below",
  "vocab_size",
)


def refuse_unread(config):
  """Refuses what is given for nothing: a setting that another source, task or tokenizer would read.

  For new runs; one that holds such a setting stays readable and goes on.

  Raises:
    ConfigError: it names the first one.
  """
  for name, problem, remedy in _unread(config):
    if name not in _HARMLESS_UNREAD:
      raise ConfigError(f"--{name}={config.to_flat()[name]}", problem, remedy)


def unread_warnings(config) -> list[str]:
  """A line for each setting that nothing reads."""
  values = config.to_flat()
  return [f"warning: --{name}={values[name]}: {problem}" for name, problem, _ in _unread(config)]


def _unread(config):
  """Yields (name, problem, remedy) of each setting that is not its default and that nothing reads."""
  values = config.to_flat()
  for name, field in fields().items():
    if values[name] == field.default:
      continue
    for other, wanted in field.metadata["only_for"].items():
      if values[other] not in wanted:
        choices = " or ".join(f"--{other}={value}" for value in wanted)
        yield (
          name,
          f"is read with {choices} alone, and here is --{other}={values[other]}",
          f"give {choices}, or leave --{name} out",
        )
        break
  sections = [values[f"{split}_sections"] for split in ("train", "valid", "test")]
  if values["treebank"] and not any(sections):
    yield (
      "treebank",
      "is read for sections alone, and none is named",
      "give --train_sections, or leave it out",
    )


def _check_task(config):
  """Contradictions between the task and the rest."""
  data = config.data
  sources = dict(translation=("numbers", "text", "tfds"), parsing=("treebank", "grammar"))[
    data.task
  ]
  if data.data_source not in sources:
    raise ConfigError(
      f"--data_source={data.data_source}",
      f"is no source for --task={data.task}",
      f"use {' or '.join(sources)}",
    )
  if config.decode.constrained and data.task != "parsing":
    raise ConfigError(
      "--constrained", "is about brackets, and the task is translation", "leave it out"
    )
  if data.task != "parsing":
    return
  if config.model.embedding_sharing == "all":
    raise ConfigError(
      "--embedding_sharing=all",
      "needs one vocabulary, and words and brackets have two",
      "use target or none",
    )
  if data.preprocessing != "none":
    raise ConfigError(
      f"--preprocessing={data.preprocessing}", "changes words, which trees stand on", "use none"
    )
  if data.data_source == "treebank":
    for split in ("train", "valid"):
      if not getattr(data, f"{split}_trees") and not getattr(data, f"{split}_sections"):
        raise ConfigError(
          f"--{split}_trees",
          "is empty, and --data_source=treebank reads it",
          f"name files, or --treebank and --{split}_sections",
        )
    for split in ("train", "valid", "test"):
      sections = getattr(data, f"{split}_sections")
      parse_sections(sections, f"--{split}_sections")
      if sections and not data.treebank:
        raise ConfigError(
          "--treebank",
          f"is empty, and --{split}_sections={sections} is read from it",
          "name the folder of the wsj_SSNN.mrg files",
        )


_MOST_TOKENS = 2**31 - 1  # what an int32 counts


def check_sums(config: Config) -> None:
  """Whether the tokens of a line of metrics can be counted.

  For training alone: a run that was trained with other settings stays readable.

  Raises:
    ConfigError: there may be too many.
  """
  log_every, data = config.train.log_every, config.data
  tokens = data.batch_tokens * data.accumulation_steps
  if tokens > _MOST_TOKENS:
    raise ConfigError(
      f"--accumulation_steps={data.accumulation_steps}",
      f"batches of --batch_tokens={data.batch_tokens} make an update of more than "
      f"{_MOST_TOKENS:,} tokens",
      f"at most {_MOST_TOKENS // data.batch_tokens}",
    )
  if log_every * tokens > _MOST_TOKENS:
    raise ConfigError(
      f"--log_every={log_every}",
      f"updates of up to {tokens:,} tokens (--batch_tokens x --accumulation_steps) "
      f"are more tokens than the {_MOST_TOKENS:,} that a line of metrics can count",
      f"at most {_MOST_TOKENS // tokens}",
    )


def parse_sections(text, flag):
  """The numbers of a list of sections such as "2-21" or "0,2-4".

  Raises:
    ConfigError: it is no such list.
  """
  numbers = []
  for item in split_list(text):
    first, _, last = item.partition("-")
    last = last or first
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last) <= 99):
      raise ConfigError(
        f"{flag}={text}", f"'{item}' is no section or range of sections", "such as 2-21"
      )
    numbers += range(int(first), int(last) + 1)
  return numbers


def split_list(text):
  """The items of a comma-separated setting; a comma within one is written "\\,"."""
  items = (item.strip().replace("\\,", ",") for item in re.split(r"(?<!\\),", text))
  return [item for item in items if item]


def cache_folder():
  """Where compiled programs, learned tokenizers and encoded text are kept.

  $TRANSFORMER_JAX_CACHE, or ~/.cache/transformer_jax.

  Raises:
    WorkdirError: there is no home, and the folder's place among the temporary ones is taken.
  """
  named = os.environ.get("TRANSFORMER_JAX_CACHE")
  if named:
    return pathlib.Path(os.path.expanduser(named))
  try:
    return pathlib.Path.home() / ".cache" / "transformer_jax"
  except RuntimeError:  # a user without a home
    return _own_folder(pathlib.Path(tempfile.gettempdir()) / f"transformer_jax-{os.getuid()}")


def _own_folder(path):
  """A folder that only this user can change, made if need be: programs are read from it."""
  try:
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
  except OSError as error:
    raise WorkdirError(
      path,
      f"cannot be made: {error.strerror or error}",
      "set TRANSFORMER_JAX_CACHE to a writable folder",
    ) from None
  if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
    raise WorkdirError(
      path, "may be changed by other users", "set TRANSFORMER_JAX_CACHE to a folder of your own"
    )
  return path
