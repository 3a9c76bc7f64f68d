"""Hyperparameters of the data."""

import dataclasses

from transformer_jax.config.setting import setting

# Source tokens of an update in the paper, and as many target tokens (Section 5.1).
PAPER_TOKENS_PER_UPDATE = 25_000

_NUMBERS = dict(data_source=("numbers",))
_TEXT = dict(data_source=("text",))
_TFDS = dict(data_source=("tfds",))
_TREEBANK = dict(data_source=("treebank",))
_GRAMMAR = dict(data_source=("grammar",))
_HUGGINGFACE = dict(data_source=("huggingface",))
_LANGUAGES = dict(data_source=("text", "tfds", "huggingface"))
_SPLITS = ("train", "valid", "test")
_PARSING = dict(task=("parsing",))
_SUBWORD_NMT = dict(tokenizer=("subword_nmt",))


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """The source of text, how text becomes tokens, and how tokens become batches."""

  task: str = setting(
    "translation",
    "what the model learns: sentences to sentences, or sentences to constituency trees",
    choices=("translation", "parsing"),
  )

  data_source: str = setting(
    "numbers",
    "for translation: built-in number words, parallel text files, or a dataset by name, of "
    "TensorFlow (tfds) or of Hugging Face; for parsing: bracketed trees from files, or a built-in "
    "grammar",
    choices=("numbers", "text", "tfds", "huggingface", "treebank", "grammar"),
  )

  source_language: str = setting("en", "language translated from", only_for=_LANGUAGES)

  target_language: str = setting("de", "language translated into", only_for=_LANGUAGES)

  train_source: str = setting(
    "",
    "text files of the training sources, comma-separated, .gz allowed; relative to --data_root",
    is_path=True,
    only_for=_TEXT,
  )

  train_target: str = setting(
    "",
    "text files of the training targets, parallel to train_source line by line",
    is_path=True,
    only_for=_TEXT,
  )

  valid_source: str = setting(
    "", "text files of the validation sources", is_path=True, only_for=_TEXT
  )

  valid_target: str = setting(
    "", "text files of the validation targets", is_path=True, only_for=_TEXT
  )

  test_source: str = setting("", "text files of the test sources", is_path=True, only_for=_TEXT)

  test_target: str = setting(
    "", "text files of the test targets (references)", is_path=True, only_for=_TEXT
  )

  tfds_name: str = setting(
    "wmt14_translate/de-en",
    "TensorFlow dataset of translations, with its configuration",
    only_for=_TFDS,
  )

  tfds_data_dir: str = setting(
    "",
    "folder of prepared TensorFlow datasets; empty: the library's default",
    is_path=True,
    only_for=_TFDS,
  )

  tfds_splits: str = setting(
    "train,validation,test",
    "the dataset's splits for train, valid and test; slices such as train[:99%] are allowed",
    only_for=_TFDS,
  )

  dataset: str = setting(
    "",
    "dataset of the Hugging Face Hub, such as wmt/wmt14, or a folder of Parquet or JSON lines; a "
    "folder is relative to --data_root",
    is_path=True,
    added_later=True,
    only_for=_HUGGINGFACE,
  )

  dataset_config: str = setting(
    "", "configuration of the dataset, such as de-en", added_later=True, only_for=_HUGGINGFACE
  )

  dataset_splits: str = setting(
    "train,validation,test",
    "the dataset's splits for train, valid and test; slices such as train[:99%] are allowed",
    added_later=True,
    only_for=_HUGGINGFACE,
  )

  source_column: str = setting(
    "",
    "column of the dataset that has the source text, or a field of its column translation; empty: "
    "the one named as the source language",
    added_later=True,
    only_for=_HUGGINGFACE,
  )

  target_column: str = setting(
    "", "the same for the target text", added_later=True, only_for=_HUGGINGFACE
  )

  treebank: str = setting(
    "",
    "folder of the Penn Treebank's wsj_SSNN.mrg files, from which the sections are taken",
    is_path=True,
    added_later=True,
    only_for=_TREEBANK,
  )

  train_sections: str = setting(
    "", "WSJ sections to train on, such as 2-21", added_later=True, only_for=_TREEBANK
  )

  valid_sections: str = setting(
    "", "WSJ sections to validate on, such as 22", added_later=True, only_for=_TREEBANK
  )

  test_sections: str = setting(
    "", "WSJ sections to test on, such as 23", added_later=True, only_for=_TREEBANK
  )

  train_trees: str = setting(
    "",
    "files, folders or wildcards of bracketed trees to train on, comma-separated, .gz allowed; "
    "used after the sections",
    is_path=True,
    added_later=True,
    only_for=_TREEBANK,
  )

  valid_trees: str = setting(
    "", "the same for validation", is_path=True, added_later=True, only_for=_TREEBANK
  )

  test_trees: str = setting(
    "", "the same for the test", is_path=True, added_later=True, only_for=_TREEBANK
  )

  linearization: str = setting(
    "vinyals",
    "symbols that a tree is written in: vinyals has XX for every word, as in (NP XX )NP (Vinyals "
    "et al. 2015); t2t has the words' tags, as in NP NN /NP (the authors' code)",
    choices=("vinyals", "t2t"),
    added_later=True,
    only_for=_PARSING,
  )

  grammar_train_size: int = setting(
    40_000,
    "training trees of the built-in grammar",
    low=1,
    high=1_000_000,
    added_later=True,
    only_for=_GRAMMAR,
  )

  numbers_limit: int = setting(
    1_000_000,
    "numbers source: its numbers are those from 0 up to this limit, which is left out",
    low=100,
    high=1_000_000,
    only_for=_NUMBERS,
  )

  numbers_train_size: int = setting(
    40_000, "training pairs of the numbers source", low=1, high=1_000_000, only_for=_NUMBERS
  )

  numbers_all_below: int = setting(
    0,
    "numbers source: all numbers below this are training pairs, about 1 in 9 of them; 0: none",
    low=0,
    high=10_000,
    added_later=True,
    only_for=_NUMBERS,
  )

  preprocessing: str = setting(
    "none",
    "steps before segmentation: none, Moses punctuation normalization and tokenization, or these "
    "and lowercasing",
    choices=("none", "moses", "moses_lowercase"),
  )

  preprocessed_splits: str = setting(
    "",
    "splits whose files are preprocessed already, comma-separated",
    only_for=dict(preprocessing=("moses", "moses_lowercase")),
  )

  tokenizer: str = setting(
    "sentencepiece",
    "sub-words: SentencePiece BPE, subword-nmt BPE, text that is segmented already, or the two "
    "SentencePiece models of an imported Marian model",
    choices=("sentencepiece", "subword_nmt", "segmented", "marian"),
  )

  vocab_size: int = setting(
    37_000,
    "size of the vocabulary shared by both languages (Section 5.1: about 37000); an upper bound "
    "for subword_nmt and segmented",
    low=8,
    high=1_000_000,
    only_for=dict(vocabulary_file=("",)),
  )

  tokenizer_sentences: int = setting(
    1_000_000,
    "the most sentences, of both languages together, that sub-words are learned from; of a larger "
    "text, pairs drawn at random, always the same; 0: all. SentencePiece advises a sample above a "
    "million",
    low=0,
    high=1_000_000_000,
    added_later=True,
    only_for=dict(tokenizer=("sentencepiece", "subword_nmt")),
  )

  bpe_codes: str = setting(
    "",
    "subword-nmt merge operations to use; empty: learn them",
    is_path=True,
    only_for=_SUBWORD_NMT,
  )

  bpe_merges: int = setting(
    10_000,
    "number of merge operations to learn if bpe_codes is empty",
    low=1,
    high=1_000_000,
    only_for=dict(_SUBWORD_NMT, bpe_codes=("",)),
  )

  bpe_dropout: float = setting(
    0.0,
    "probability of leaving out each merge when training text is cut into sub-words, anew in each "
    "epoch (BPE-dropout, Provilkov et al. 2020), such as 0.1; not in the paper's text",
    low=0.0,
    high=0.99,
    added_later=True,
    only_for=dict(tokenizer=("sentencepiece", "subword_nmt")),
  )

  vocabulary_file: str = setting(
    "",
    "vocabulary of segmented text, one symbol a line (a count after it is ignored); empty: made "
    "from the text",
    is_path=True,
    only_for=dict(tokenizer=("segmented",)),
  )

  max_length: int = setting(
    256,
    "longest side of a training pair, in tokens with EOS; longer pairs are dropped",
    low=4,
    high=100_000,
  )

  max_length_ratio: float = setting(
    0.0,
    "drop training pairs of which one side has more than this many times the tokens of the other, "
    "EOS included; 0: none",
    low=0.0,
    high=1000.0,
    added_later=True,
  )

  drop_identical: bool = setting(
    False, "drop training pairs whose two sides are the same text", added_later=True
  )

  drop_wordless: bool = setting(
    False,
    "drop training pairs of which a side is empty once cleaned: without a letter or a digit",
    added_later=True,
  )

  drop_duplicates: bool = setting(
    False, "drop training pairs that came before, both sides alike", added_later=True
  )

  num_buckets: int = setting(
    8,
    "largest number of (source, target) shapes that batches are padded to; each is compiled once",
    low=1,
    high=64,
  )

  batch_tokens: int = setting(
    25_000,
    "padded source positions, and padded target positions, of one batch over all devices",
    low=1,
    high=100_000_000,
  )

  accumulation_steps: int = setting(
    1, "batches whose gradients are summed for one update", low=1, high=100_000
  )

  @property
  def has_no_text(self) -> bool:
    """True for an imported model, which was not trained here: no setting names text."""
    names = [self.files(split, side) for split in _SPLITS for side in ("source", "target")]
    return self.data_source == "text" and self.tokenizer == "marian" and not any(names)

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
