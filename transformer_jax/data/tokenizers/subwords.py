"""Sub-words (Section 5.1): sentences to token ids and back. Ids 0, 1, 2 are PAD, EOS, UNK in every vocabulary."""

import collections
import contextlib
import io
import re
import sys

from transformer_jax.config import EOS_ID, PAD_ID, UNK_ID
from transformer_jax.data.text import expand_files, read_lines
from transformer_jax.data.tokenizers.bpe import Merges, characters_of
from transformer_jax.errors import DataError

_SPECIAL = ("<pad>", "</s>", "<unk>")


class SentencePieceTokenizer:
  """BPE by SentencePiece on raw text."""

  kind = "sentencepiece"

  def __init__(self, model_bytes):
    self._files = {"sentencepiece.model": model_bytes}
    self._processor = _sentencepiece().SentencePieceProcessor(model_proto=model_bytes)
    self.vocab_size = self._processor.vocab_size()

  @classmethod
  def train(cls, data, texts, data_root):
    """Learns `vocab_size` pieces from the texts. Unicode is normalised as NMT's NFKC; every character is covered."""
    model, failed = io.BytesIO(), []
    try:
      _sentencepiece().SentencePieceTrainer.train(
        sentence_iterator=_remembering(failed, texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=data.vocab_size,
        character_coverage=1.0,
        pad_id=PAD_ID,
        eos_id=EOS_ID,
        unk_id=UNK_ID,
        bos_id=-1,
        pad_piece=_SPECIAL[0],
        eos_piece=_SPECIAL[1],
        unk_piece=_SPECIAL[2],
        num_threads=1,
        input_sentence_size=0,
        max_sentence_length=1 << 20,
        minloglevel=2,
        hard_vocab_limit=False,
      )
    except (RuntimeError, OSError) as error:
      if failed:  # the library wraps what the reader of the text had to say
        raise failed[0] from None
      raise _cannot_learn(data, str(error)) from None
    return cls(model.getvalue())

  @classmethod
  def from_files(cls, files):
    """The tokenizer of a saved folder's files."""
    return cls(files["sentencepiece.model"])

  def files(self):
    """File name -> bytes."""
    return self._files

  def encode(self, text):
    """Token ids, without EOS."""
    return self._processor.encode(text)

  def decode(self, tokens):
    """The text of tokens up to EOS."""
    return self._processor.decode([token for token in _content(tokens) if token != UNK_ID])

  def pieces(self, tokens):
    """Each token's piece."""
    return [self._processor.id_to_piece(int(token)) for token in tokens]


class WordListTokenizer:
  """Text whose tokens are separated by spaces, over a list of known tokens. "@@" at a token's end joins it to the next."""

  kind = "segmented"

  def __init__(self, vocabulary):
    self._pieces = [*_SPECIAL, *vocabulary]
    self._ids = {piece: number for number, piece in enumerate(self._pieces)}
    for number, piece in enumerate(_SPECIAL):  # text that spells a control symbol is unknown text
      del self._ids[piece]
    self.vocab_size = len(self._pieces)

  @classmethod
  def train(cls, data, texts, data_root):
    """Takes the vocabulary file, or the most frequent tokens of the texts."""
    if data.vocabulary_file:
      path = _one_file(data.vocabulary_file, data_root, "vocabulary_file")
      words = [line.split(" ")[0].split("\t")[0] for line in read_lines(path)]
      return cls([word for word in dict.fromkeys(words) if word and word not in _SPECIAL])
    return cls(most_frequent(map(_words, texts), data.vocab_size))

  @classmethod
  def from_files(cls, files):
    """The tokenizer of a saved folder's files."""
    return cls(files["vocabulary.txt"].decode("utf-8").split("\n")[:-1])

  def files(self):
    """File name -> bytes."""
    return {
      "vocabulary.txt": "".join(f"{piece}\n" for piece in self._pieces[len(_SPECIAL) :]).encode()
    }

  def encode(self, text):
    """Token ids, without EOS."""
    return [self._ids.get(piece, UNK_ID) for piece in self.segment(text)]

  def segment(self, text):
    """The tokens of a text."""
    return _words(text)

  def decode(self, tokens):
    """The text of tokens up to EOS, with "@@ " joined."""
    return f"{' '.join(self.pieces(_content(tokens)))} ".replace("@@ ", "").rstrip(" ")

  def pieces(self, tokens):
    """Each token's piece."""
    return [self._pieces[int(token)] for token in tokens]


class SubwordNmtTokenizer(WordListTokenizer):
  """BPE by subword-nmt on text whose words are separated by spaces; codes given or learned."""

  kind = "subword_nmt"

  def __init__(self, codes, vocabulary, splits_unknown=False):
    super().__init__(vocabulary)
    self._codes, self._splits_unknown = codes, splits_unknown
    self._merges = _read_merges(codes, "codes.txt", self._ids if splits_unknown else None)

  @classmethod
  def train(cls, data, texts, data_root):
    """Reads or learns the merges; the vocabulary is the texts' sub-words that have room."""
    texts = list(texts)
    if data.bpe_codes:
      path = _one_file(data.bpe_codes, data_root, "bpe_codes")
      codes = "".join(f"{line}\n" for line in read_lines(path))
    else:
      codes = learn_bpe(texts, data.bpe_merges)
    _warn_of_joins(texts)
    merges = _read_merges(codes, data.bpe_codes or "the learned codes")
    counts = _count(_segment(merges, text) for text in texts)
    return cls(codes, _subwords(counts, data.vocab_size), splits_unknown=True)

  @classmethod
  def from_files(cls, files):
    """The tokenizer of a saved folder's files."""
    codes, vocabulary = (files[name].decode("utf-8") for name in ("codes.txt", "vocabulary.txt"))
    return cls(codes, vocabulary.split("\n")[:-1], _SPLITS_UNKNOWN in files)

  def files(self):
    """File name -> bytes."""
    files = {"codes.txt": self._codes.encode(), **super().files()}
    if self._splits_unknown:
      files[_SPLITS_UNKNOWN] = b"Sub-words that are not in the vocabulary are split further.\n"
    return files

  def segment(self, text):
    """The sub-words of a text."""
    return _segment(self._merges, text)


_SPLITS_UNKNOWN = "splits_unknown.txt"  # tokenizers from before this file go on as they did


def _segment(merges, text):
  """The sub-words of a text, as of subword-nmt's `process_line`.

  Carriage returns at the text's ends belong to the word beside them, uncut.
  """
  core = text.strip("\r\n ")
  start = text.index(core)
  pieces = " ".join(piece for word in _words(core) for piece in merges.pieces(word))
  return _words(text[:start] + pieces + text[start + len(core) :])


def _subwords(counts, vocab_size):
  """The most frequent sub-words, and the characters that spell the others.

  As many sub-words as leave room for these characters; where none do, the most frequent ones alone.
  """
  room, ordered = vocab_size - len(_SPECIAL), _most_frequent(counts)
  if len(ordered) <= room:
    return ordered
  place = {piece: number for number, piece in enumerate(ordered)}
  missing = set()  # characters that sub-words from `kept` on need, and that are not kept
  for kept in range(len(ordered) - 1, -1, -1):
    needed = characters_of(ordered[kept])
    missing.update(character for character in needed if place.get(character, kept) >= kept)
    if kept + len(missing) <= room:
      return ordered[:kept] + sorted(missing)
  return ordered[:room]


def _warn_of_joins(texts):
  """Says if text has words that end in subword-nmt's own mark."""
  lines = sum("@@ " in f"{text} " for text in texts)
  if lines:
    print(
      f"transformer-jax: {lines:,} lines of the training text have words that end in @@, which "
      "joins a word to the next: they will come back joined; text that is segmented already "
      "takes --tokenizer=segmented",
      file=sys.stderr,
    )


def learn_bpe(texts, num_merges):
  """subword-nmt's codes for `num_merges` merges learned from the texts, as its file's content.

  Raises:
    DataError: the texts have no pair of letters twice.
  """
  codes = io.StringIO()
  library = _subword_nmt("learn_bpe")
  try:
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
      library.learn_bpe(io.StringIO("".join(f"{text}\n" for text in texts)), codes, num_merges)
  except ValueError:  # it takes the most frequent of no pairs
    raise DataError(
      f"--bpe_merges={num_merges}",
      "the training text is too small to learn merges from",
      "give more text",
    ) from None
  # The library reads its own codes without the carriage returns in them.
  return "".join(f"{line}\n" for line in codes.getvalue().split("\n")[:-1] if "\r" not in line)


def _one_file(name, data_root, flag):
  """The path of a setting that names one file."""
  paths = expand_files(name, data_root, flag)
  if len(paths) != 1:
    raise DataError(f"--{flag}={name}", f"names {len(paths)} files", "name one")
  return paths[0]


def _words(text):
  """What stands between spaces; other white space is text."""
  return [word for word in text.split(" ") if word]


def _remembering(failed, texts):
  """The texts that are not empty; what goes wrong in reading them is also put into the list `failed`."""
  try:
    yield from (text for text in texts if text.strip())
  except DataError as error:
    failed.append(error)
    raise


def _cannot_learn(data, message):
  """The DataError for what SentencePiece says."""
  needed = re.search(r"required_chars\. (\d+) vs (\d+)", message)
  if needed:
    return DataError(
      f"--vocab_size={data.vocab_size}",
      "is less than the different characters of the training text, each a piece",
      f"raise --vocab_size to at least {needed[2]}",
    )
  if "sentences_.empty()" in message or "all_chars_count" in message:
    return no_text(data)
  return DataError(
    f"--vocab_size={data.vocab_size}",
    f"SentencePiece cannot learn it: {message.strip()}",
    "try another size, or other text",
  )


def no_text(data):
  """The DataError for training text in which there is nothing to learn from; names its files."""
  flags = dict(
    text=("train_source", "train_target"),
    tfds=("tfds_name", "tfds_splits"),
    treebank=("treebank", "train_sections", "train_trees"),
  )
  named = {name: getattr(data, name) for name in flags.get(data.data_source, ("data_source",))}
  return DataError(
    " ".join(f"--{name}={value}" for name, value in named.items() if value),
    "the training text holds nothing but empty lines, white space, or lines beyond 1 MiB",
    "give other files",
  )


def _read_merges(codes, name, known=None):
  """The Merges of a file of codes."""
  library = _subword_nmt("apply_bpe")
  try:
    if not codes.strip():
      raise ValueError("it is empty")
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
      bpe = library.BPE(io.StringIO(codes))
  except (SystemExit, ValueError, IndexError):  # the library prints and exits
    raise DataError(
      name,
      "does not hold merge operations of subword-nmt",
      "name a file that subword-nmt learn-bpe wrote",
    ) from None
  return Merges(bpe.bpe_codes, bpe.version, known)


def _content(tokens):
  """Token ids up to the first EOS, without PAD."""
  tokens = [int(token) for token in tokens]
  return [
    token
    for token in (tokens[: tokens.index(EOS_ID)] if EOS_ID in tokens else tokens)
    if token != PAD_ID
  ]


def most_frequent(segmented, vocab_size):
  """The most frequent pieces, at most `vocab_size` with the special ones; equal counts in the pieces' order."""
  return _most_frequent(_count(segmented))[: vocab_size - len(_SPECIAL)]


def _count(segmented):
  """Piece -> how often it occurs, of texts in pieces."""
  counts = collections.Counter()
  for pieces in segmented:
    counts.update(pieces)
  for piece in _SPECIAL:
    counts.pop(piece, None)
  return counts


def _most_frequent(counts):
  return sorted(counts, key=lambda piece: (-counts[piece], piece))


def _sentencepiece():
  try:
    import sentencepiece
  except ImportError:
    raise DataError(
      "--tokenizer=sentencepiece", "needs the package sentencepiece", "pip install sentencepiece"
    ) from None
  return sentencepiece


def _subword_nmt(module):
  try:
    from subword_nmt import apply_bpe, learn_bpe
  except ImportError:
    raise DataError(
      "--tokenizer=subword_nmt", "needs the package subword-nmt", "pip install subword-nmt"
    ) from None
  return dict(apply_bpe=apply_bpe, learn_bpe=learn_bpe)[module]
