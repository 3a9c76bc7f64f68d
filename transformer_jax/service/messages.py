"""The requests and the answers of the service, for one model."""

from transformer_jax.config import Config
from transformer_jax.model.head_gates import ATTENTIONS
from transformer_jax.service.kinds import Field, Kind, ListOf, Number, OneOf, Record, Switch, Text
from transformer_jax.service.limits import Limits

MAX_RIVALS = 20

PROBLEM = Record(
  error=Field(
    Record(
      where=Field(Text(), "the part of the request"),
      problem=Field(Text(), "what is wrong with it"),
      remedy=Field(Text(), "what to do about it, or an empty text"),
    ),
    "why there is no answer",
  )
)


class Messages:
  """What may be asked of a model, and what is answered.

  Args:
    config: the model's settings.
    vocab_size: number of target tokens.
    limits: the service's limits.
  """

  translate: Record
  attention: Record
  step: Record

  def __init__(self, config: Config, vocab_size: int, limits: Limits) -> None:
    sentence = Text(limits.max_characters)
    search = _search(config, limits)
    prefix = dict(prefix=_prefix(config, vocab_size))
    source = Field(sentence, "the sentence")
    self.translate = Record(
      lines=Field(ListOf(sentence, limits.max_lines), "sentences"),
      num_best=Field(
        Number(1, limits.max_beam_size, is_whole=True),
        "translations of each sentence, at most beam_size",
        1,
      ),
      **search,
    )
    self.attention = Record(
      source=source,
      target=Field(sentence, "its translation; without it, the model's own", None),
      **prefix,
      **search,
    )
    self.step = Record(
      source=source,
      **prefix,
      complete=Field(Switch(), "first go on from the prefix to the end, as the search does", False),
      num_rivals=Field(
        Number(1, min(MAX_RIVALS, vocab_size), is_whole=True), "likeliest tokens to report", 5
      ),
      **search,
    )


def _search(config: Config, limits: Limits) -> dict[str, Field]:
  """Returns the fields that say how the model is asked."""
  decode, model = config.decode, config.model
  head = Record(
    attention=Field(OneOf(tuple(ATTENTIONS)), "which of the three attentions"),
    layer=Field(Number(1, model.num_layers, is_whole=True), "from 1"),
    head=Field(Number(1, model.num_heads, is_whole=True), "from 1"),
  )
  num_heads = len(ATTENTIONS) * model.num_layers * model.num_heads
  return dict(
    beam_size=Field(
      Number(1, limits.max_beam_size, is_whole=True),
      "hypotheses of the search; 1 is greedy search",
      min(decode.beam_size, limits.max_beam_size),
    ),
    length_penalty=Field(Number(0, 10), "alpha", decode.length_penalty),
    closed_heads=Field(ListOf(head, num_heads), "heads whose output is multiplied by 0", ()),
    divide=Field(Switch(), "divide scores by the square root of d_k, as the paper does", True),
  )


def _prefix(config: Config, vocab_size: int) -> Field:
  token = Number(2, vocab_size - 1, is_whole=True)  # neither PAD nor EOS
  return Field(
    ListOf(token, max(0, config.decode.max_extra_length - 1)),
    "tokens that the output begins with, by number, as /step reports them",
    (),
  )


_TOKEN = dict(
  token=Field(Number(0, is_whole=True), "its number"),
  piece=Field(Text(), "its sub-word"),
  log_prob=Field(Number(high=0), "its log-probability in nats"),
)
_ANSWER = Record(
  text=Field(Text(), "the translation, or the tree"),
  log_prob=Field(Number(), "log-probability in nats, the end included"),
  score=Field(Number(), "log-probability / length penalty"),
)
_WEIGHTS: Kind = Number(0, 1)
for _axis in "TSHN":
  _WEIGHTS = ListOf(_WEIGHTS)
_MAP = Record(
  queries=Field(ListOf(Text()), "sub-words that attend"),
  keys=Field(ListOf(Text()), "sub-words that are attended to"),
  weights=Field(_WEIGHTS, "by layer, head, query and key"),
)
_MAPS = {name: Field(_MAP, f"attention: {title}") for name, title in ATTENTIONS.items()}

TRANSLATIONS = Record(
  translations=Field(
    ListOf(ListOf(_ANSWER)), "for each line its translations, best first; none for an empty line"
  )
)
ATTENTION = Record(
  source=Field(Text(), "the sentence"), target=Field(Text(), "its translation"), **_MAPS
)
STEPS = Record(
  **ATTENTION.fields,
  source_tokens=Field(ListOf(Number(0, is_whole=True)), "the sentence's tokens, by number"),
  steps=Field(
    ListOf(
      Record(
        chosen=Field(ListOf(Record(**_TOKEN), 1), "the output's token; none at a last open place"),
        rivals=Field(ListOf(Record(**_TOKEN), MAX_RIVALS), "the likeliest tokens, best first"),
      )
    ),
    "for each place of the output what the model expected there",
  ),
)
HEALTH = Record(
  status=Field(OneOf(("ok",)), "the service answers"),
  task=Field(Text(), "translation or parsing"),
  layers=Field(Number(1, is_whole=True), "of the encoder, and of the decoder"),
  heads=Field(Number(1, is_whole=True), "of each attention"),
  steps=Field(ListOf(Number(0, is_whole=True)), "the checkpoints that the parameters are from"),
  waiting=Field(Number(0, is_whole=True), "requests that wait"),
)
