"""Translation (Section 6.1): sentences to tokens and back, and BLEU."""

import dataclasses

import numpy as np

from transformer_jax.config import EOS_ID, DataConfig
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
  """Sentences of two languages in one vocabulary.

  `is_preprocessed` says of a text that it has been through the configured preprocessing already.
  """

  config: DataConfig
  tokenizer: object
  source_preprocessor: object
  target_preprocessor: object
  logged_scores = ("bleu", "exact_match")

  @property
  def source_vocab_size(self):
    """Entries of the source's vocabulary."""
    return self.tokenizer.vocab_size

  @property
  def target_vocab_size(self):
    """Entries of the target's vocabulary."""
    return self.tokenizer.vocab_size

  @property
  def main_score(self):
    """Which of `score`'s figures models are chosen by: a number is one word, too short for BLEU."""
    return "exact_match" if self.config.data_source == "numbers" else "bleu"

  def bleu_tokenizer(self, references_are_preprocessed: bool = False) -> str:
    """sacreBLEU's tokeniser for what is scored: the target language's, or none where it is words.

    Moses' scripts cut no words in a language without spaces; a preprocessed split's files have them.
    """
    language = self.config.target_language
    is_cut = references_are_preprocessed or has_spaces(language)
    has_words = self.config.preprocessing != "none" and is_cut
    return "none" if has_words else tokenizer_of(language)

  def headline(self, result):
    """The figures of an evaluation in a line."""
    score = (
      f"exact match {result['exact_match']:.1%}"
      if self.main_score == "exact_match"
      else f"{result['name']} {result['bleu']:.2f}"
    )
    warning = f" ({result['warning']})" if "warning" in result else ""
    return f"{result['test_set']}, {score}{warning}"

  def count_words(self, text):
    """Words that the output must cover: none, for translations are free."""
    return 0

  def problem_of(self, source, target):
    """Why a pair is none to score: any pair is one."""
    return ""

  def encode_source(self, text, is_preprocessed=False):
    """Tokens of a source sentence, EOS at the end."""
    return self._encode(text, self.source_preprocessor, is_preprocessed)

  def encode_target(self, text, is_preprocessed=False):
    """Tokens of a target sentence, EOS at the end."""
    return self._encode(text, self.target_preprocessor, is_preprocessed)

  def decode_target(self, tokens, source, detokenize=False):
    """The Output of some target tokens, one line; `detokenize` also undoes the preprocessing's tokenisation."""
    text = self.tokenizer.decode(tokens)
    return Output((self.target_preprocessor.undo(text) if detokenize else text).replace("\n", " "))

  def source_pieces(self, tokens):
    """The sub-words of source tokens, for showing."""
    return self.tokenizer.pieces(tokens)

  def target_pieces(self, tokens):
    """The sub-words of target tokens, for showing."""
    return self.tokenizer.pieces(tokens)

  def brackets(self):
    """What each target token does in a tree: there is none."""
    return None

  def score(self, outputs, references, references_are_preprocessed=False):
    """Scores of Outputs against references, a dict: "exact_match" (share of equal sentences), "bleu" and how it was counted.

    Where preprocessing tokenises, it is BLEU on the tokens the model was trained on (`tokenized_bleu`); else sacreBLEU.
    """
    hypotheses, references = self._scored(outputs, references, references_are_preprocessed)
    tokenize = self.bleu_tokenizer(references_are_preprocessed)
    if tokenize == "none":
      result = tokenized_bleu(hypotheses, references)
    else:
      result = corpus_bleu(hypotheses, references, tokenize)
    exact_match = sum(map(str.__eq__, hypotheses, references)) / len(references)
    return dict(bleu=result.pop("score"), exact_match=exact_match, **result)

  def statistics(
    self, outputs: list, references: list, references_are_preprocessed: bool = False
  ) -> np.ndarray:
    """What the main score is made of, sentence by sentence: sums give `score`'s figure.

    Returns:
      int array: of BLEU [sentences, 10] (`bleu.sentence_statistics`), of exact match
      [sentences, 2]: (equal or not, 1).
    """
    hypotheses, references = self._scored(outputs, references, references_are_preprocessed)
    if self.main_score == "exact_match":
      pairs = zip(hypotheses, references, strict=True)
      return np.array([(hypothesis == reference, 1) for hypothesis, reference in pairs], np.int64)
    tokenize = self.bleu_tokenizer(references_are_preprocessed)
    return sentence_statistics(hypotheses, references, tokenize)

  def _scored(self, outputs, references, references_are_preprocessed):
    """(hypotheses, references) as they are compared: both as the preprocessing leaves text."""
    hypotheses, references = [output.text for output in outputs], list(references)
    if self.config.preprocessing != "none" and not references_are_preprocessed:
      references = [self.target_preprocessor(text) for text in references]
    return hypotheses, references

  def report(self, outputs, references, references_are_preprocessed=False):
    """`score`, and more for a test set: which one it may be, and, of plain text, the paper's BLEU (Moses-tokenised, in-word hyphens split) with its
    signature, or why there is none."""
    result = dict(
      self.score(outputs, references, references_are_preprocessed),
      test_set=test_set_note(len(references)),
    )
    if self.config.preprocessing == "none":
      result["paper_bleu"] = paper_bleu_or_why_not(
        [output.text for output in outputs], references, self.config.target_language
      )
    return result

  def _encode(self, text, preprocessor, is_preprocessed):
    return [*self.tokenizer.encode(text if is_preprocessed else preprocessor(text)), EOS_ID]
