"""Translation (Section 6.1): sentences to tokens and back, and BLEU."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from transformer_jax.config import EOS_ID, DataConfig
from transformer_jax.data.preprocessing import Preprocessor, moses_code
from transformer_jax.data.tokenizers.tokenizer import Tokenizer
from transformer_jax.data.words_of_pieces import words_of_pieces
from transformer_jax.metrics.bleu import (
  corpus_bleu,
  has_spaces,
  paper_bleu_or_why_not,
  sentence_statistics,
  test_set_note,
  tokenized_bleu,
  tokenizer_of,
)
from transformer_jax.tasks.task import Output


@dataclasses.dataclass(frozen=True)
class TranslationTask:
  """Translates sentences between two languages that share a vocabulary. Implements `Task`."""

  config: DataConfig
  tokenizer: Tokenizer
  source_preprocessor: Preprocessor
  target_preprocessor: Preprocessor
  logged_scores: ClassVar[tuple[str, ...]] = ("bleu", "exact_match")

  @property
  def source_vocab_size(self) -> int:
    """Number of entries in the vocabulary."""
    return self.tokenizer.vocab_size

  @property
  def target_vocab_size(self) -> int:
    """Number of entries in the vocabulary."""
    return self.tokenizer.vocab_size

  @property
  def main_score(self) -> str:
    """The score that models are chosen by. A number is one word in German: too short for BLEU."""
    return "exact_match" if self.config.data_source == "numbers" else "bleu"

  def bleu_tokenizer(self, references_are_preprocessed: bool = False) -> str:
    """Returns sacreBLEU's tokenizer: "none" if the text is tokenized, else the target language's.

    Text counts as tokenized if it was preprocessed. In a language without spaces the preprocessing
    does not separate words, so there only references that came preprocessed count.
    """
    language = self.config.target_language
    is_cut = references_are_preprocessed or has_spaces(language)
    has_words = self.config.preprocessing != "none" and is_cut
    return "none" if has_words else tokenizer_of(language)

  def headline(self, result: dict[str, Any]) -> str:
    """Returns the main figures of an evaluation in one line."""
    score = f"{result['name']} {result['bleu']:.2f}"
    if self.main_score == "exact_match":
      score = f"exact match {result['exact_match']:.1%}"
    warning = f" ({result['warning']})" if "warning" in result else ""
    return f"{result['test_set']}, {score}{warning}"

  def count_words(self, text: str) -> int:
    """Returns 0: a translation need not cover words."""
    return 0

  def problem_of(self, source: str, target: str) -> str:
    """Returns "": any pair can be scored."""
    return ""

  def encode_source(self, text: str, is_preprocessed: bool = False) -> list[int]:
    """Returns the tokens of a source sentence, EOS at the end."""
    if not is_preprocessed:
      text = self.source_preprocessor(text)
    return [*self.tokenizer.encode(text), EOS_ID]

  def encode_target(self, text: str, is_preprocessed: bool = False) -> list[int]:
    """Returns the tokens of a target sentence, EOS at the end."""
    if not is_preprocessed:
      text = self.target_preprocessor(text)
    return [*self.tokenizer.encode(text, is_target=True), EOS_ID]

  def decode_target(self, tokens: Sequence[int], source: str, detokenize: bool = False) -> Output:
    """Returns the text of target tokens, on one line.

    `detokenize` also undoes the preprocessing's tokenization.
    """
    text = self.tokenizer.decode(tokens)
    if detokenize:
      text = self.target_preprocessor.undo(text)
    return Output(text.replace("\n", " "))

  def source_pieces(self, tokens: Iterable[int]) -> list[str]:
    """Returns the sub-words of source tokens, for display."""
    return self.tokenizer.pieces(tokens)

  def target_pieces(self, tokens: Iterable[int]) -> list[str]:
    """Returns the sub-words of target tokens, for display."""
    return self.tokenizer.pieces(tokens)

  def source_words(self, text: str, is_preprocessed: bool = False) -> list[int | None]:
    """Returns the word of the line that each token of `encode_source(text)` belongs to.

    Words are numbered from 0, as `words_of_pieces` does; EOS has none.
    """
    preprocessed = text if is_preprocessed else self.source_preprocessor(text)
    return [*words_of_pieces(self.tokenizer.texts(preprocessed), text), None]

  def target_words(self, tokens: Sequence[int], text: str) -> list[int | None]:
    """Returns the word of the output `text` that each of its tokens (without EOS) belongs to."""
    return words_of_pieces(self.tokenizer.texts_of(tokens), text)

  def brackets(self) -> None:
    """Returns None: no token is part of a tree."""
    return None

  def word_marks(self) -> tuple[bytes, bytes]:
    """Returns nothing: words are not counted."""
    return b"", b""

  def score(
    self,
    outputs: Sequence[Output],
    references: Sequence[str],
    references_are_preprocessed: bool = False,
  ) -> dict[str, Any]:
    """Returns "exact_match" (the share of equal sentences), "bleu", and how BLEU was computed.

    If the preprocessing tokenizes, BLEU is that of the tokens that the model was trained on
    (`tokenized_bleu`), else it is sacreBLEU.
    """
    hypotheses, references = self._compared(outputs, references, references_are_preprocessed)
    tokenize = self.bleu_tokenizer(references_are_preprocessed)
    if tokenize == "none":
      result = tokenized_bleu(hypotheses, references)
    else:
      result = corpus_bleu(hypotheses, references, tokenize)
    num_exact = sum(map(str.__eq__, hypotheses, references))
    bleu = result.pop("score")
    return dict(bleu=bleu, exact_match=num_exact / len(references), **result)

  def statistics(
    self,
    outputs: Sequence[Output],
    references: Sequence[str],
    references_are_preprocessed: bool = False,
  ) -> np.ndarray:
    """Returns the counts of each sentence that sum to the main score.

    Returns:
      int64 array. For BLEU [sentences, 10] (`bleu.sentence_statistics`); for exact match
      [sentences, 2], each row (1 if equal else 0, 1).
    """
    hypotheses, references = self._compared(outputs, references, references_are_preprocessed)
    if self.main_score == "exact_match":
      pairs = zip(hypotheses, references, strict=True)
      return np.array([(hypothesis == reference, 1) for hypothesis, reference in pairs], np.int64)
    tokenize = self.bleu_tokenizer(references_are_preprocessed)
    return sentence_statistics(hypotheses, references, tokenize)

  def report(
    self,
    outputs: Sequence[Output],
    references: Sequence[str],
    references_are_preprocessed: bool = False,
  ) -> dict[str, Any]:
    """Returns `score`, and more for a test set.

    The rest is the name of the test set of this size, if one is known, and for plain text the
    paper's BLEU (Moses-tokenized, in-word hyphens split) with its signature, or why it could not be
    computed.
    """
    result = self.score(outputs, references, references_are_preprocessed)
    result["test_set"] = test_set_note(len(references))
    if self.config.preprocessing == "none":
      hypotheses = [output.text for output in outputs]
      language = moses_code(self.config.target_language) or self.config.target_language
      result["paper_bleu"] = paper_bleu_or_why_not(hypotheses, references, language)
    return result

  def _compared(
    self,
    outputs: Sequence[Output],
    references: Sequence[str],
    references_are_preprocessed: bool,
  ) -> tuple[list[str], list[str]]:
    """Returns hypotheses and references as they are compared: both preprocessed."""
    hypotheses = [output.text for output in outputs]
    if self.config.preprocessing == "none" or references_are_preprocessed:
      return hypotheses, list(references)
    return hypotheses, [self.target_preprocessor(text) for text in references]
