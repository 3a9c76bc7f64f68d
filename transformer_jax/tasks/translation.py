"""Translation (Section 6.1): sentences to tokens and back, and BLEU."""

import dataclasses

from transformer_jax.config import EOS_ID, DataConfig
from transformer_jax.metrics.bleu import corpus_bleu, paper_bleu_or_why_not, tokenized_bleu


@dataclasses.dataclass(frozen=True)
class TranslationTask:
  """Sentences of two languages in one vocabulary.

  `is_preprocessed` says of a text that it has been through the configured preprocessing already.
  """

  config: DataConfig
  tokenizer: object
  source_preprocessor: object
  target_preprocessor: object

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

  def encode_source(self, text, is_preprocessed=False):
    """Tokens of a source sentence, EOS at the end."""
    return self._encode(text, self.source_preprocessor, is_preprocessed)

  def encode_target(self, text, is_preprocessed=False):
    """Tokens of a target sentence, EOS at the end."""
    return self._encode(text, self.target_preprocessor, is_preprocessed)

  def decode_target(self, tokens, detokenize=False):
    """The sentence of some target tokens; `detokenize` also undoes the preprocessing's tokenisation."""
    text = self.tokenizer.decode(tokens)
    return self.target_preprocessor.undo(text) if detokenize else text

  def source_pieces(self, tokens):
    """The sub-words of source tokens, for showing."""
    return self.tokenizer.pieces(tokens)

  def target_pieces(self, tokens):
    """The sub-words of target tokens, for showing."""
    return self.tokenizer.pieces(tokens)

  def score(self, hypotheses, references, references_are_preprocessed=False):
    """Scores of whole output against references, a dict: "exact_match" (share of equal sentences), "bleu" and how it was counted.

    Where preprocessing tokenises, it is BLEU on the tokens the model was trained on (`tokenized_bleu`); else sacreBLEU.
    """
    hypotheses, references = list(hypotheses), list(references)
    if self.config.preprocessing == "none":
      result = corpus_bleu(hypotheses, references)
    else:
      if not references_are_preprocessed:
        references = [self.target_preprocessor(text) for text in references]
      result = tokenized_bleu(hypotheses, references)
    exact_match = sum(map(str.__eq__, hypotheses, references)) / len(references)
    return dict(bleu=result.pop("score"), exact_match=exact_match, **result)

  def paper_score(self, hypotheses, references):
    """The paper's BLEU of plain text (Moses-tokenised, in-word hyphens split), with its signature; or why there is none."""
    return paper_bleu_or_why_not(hypotheses, references, self.config.target_language)

  def _encode(self, text, preprocessor, is_preprocessed):
    return [*self.tokenizer.encode(text if is_preprocessed else preprocessor(text)), EOS_ID]
