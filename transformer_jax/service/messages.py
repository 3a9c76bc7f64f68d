"""The requests and the answers of the service, for one model."""

from transformer_jax.config import Config
from transformer_jax.model.head_gates import ATTENTIONS
from transformer_jax.runs.cut_sources import longest_source
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
    vocab_sizes: numbers of source and of target tokens.
    limits: the service's limits.
  """

  translate: Record
  attention: Record
  step: Record
  encode: Record
  decode: Record
  view: Record

  def __init__(self, config: Config, vocab_sizes: tuple[int, int], limits: Limits) -> None:
    sentence = Text(limits.max_characters)
    source = Field(sentence, "the sentence")
    search = _search(config, limits)
    switches = _switches(config)
    longest = longest_source(config)
    alignment = {}
    if config.data.task == "translation":
      alignment = dict(alignment=Field(Switch(), "also link the words of both sides", False))
    source_tokens = ListOf(Number(1, vocab_sizes[0] - 1, is_whole=True), longest)
    output = ListOf(
      Number(1, vocab_sizes[1] - 1, is_whole=True), longest + config.decode.max_extra_length
    )
    prefix = Field(output, "tokens that the output begins with, by number; the last may end it", ())
    self.translate = Record(
      lines=Field(ListOf(sentence, limits.max_lines), "sentences"),
      num_best=Field(
        Number(1, limits.max_beam_size, is_whole=True),
        "translations of each sentence, at most beam_size",
        1,
      ),
      **alignment,
      **search,
      **switches,
    )
    self.attention = Record(
      source=source,
      target=Field(sentence, "its translation; without it, the model's own", None),
      prefix=prefix,
      **search,
      **switches,
    )
    self.step = Record(
      source=Field(sentence, "the sentence", None),
      source_tokens=Field(
        source_tokens, "its tokens, the end (1) included, in place of those of its text", None
      ),
      prefix=prefix,
      complete=Field(Switch(), "first go on from the prefix to the end, as the search does", False),
      num_rivals=Field(
        Number(1, min(MAX_RIVALS, vocab_sizes[1] - 1), is_whole=True),
        "likeliest tokens to report",
        5,
      ),
      **search,
      **switches,
    )
    self.encode = Record(source=source)
    self.decode = Record(tokens=Field(output, "tokens of an output, by number"))
    self.view = Record(
      source=source, tokens=Field(output, "the output's tokens, by number"), **switches
    )


def _search(config: Config, limits: Limits) -> dict[str, Field]:
  """Returns the fields of a search."""
  decode = config.decode
  return dict(
    beam_size=Field(
      Number(1, limits.max_beam_size, is_whole=True),
      "hypotheses of the search; 1 is greedy search",
      min(decode.beam_size, limits.max_beam_size),
    ),
    length_penalty=Field(Number(0, 10), "alpha", decode.length_penalty),
  )


def _switches(config: Config) -> dict[str, Field]:
  """Returns the fields that change the model."""
  model = config.model
  head = Record(
    attention=Field(OneOf(tuple(ATTENTIONS)), "which of the three attentions"),
    layer=Field(Number(1, model.num_layers, is_whole=True), "from 1"),
    head=Field(Number(1, model.num_heads, is_whole=True), "from 1"),
  )
  num_heads = len(ATTENTIONS) * model.num_layers * model.num_heads
  return dict(
    closed_heads=Field(ListOf(head, num_heads), "heads whose output is multiplied by 0", ()),
    divide=Field(Switch(), "divide scores by the square root of d_k, as the paper does", True),
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
  alignment=Field(
    ListOf(ListOf(Number(0, is_whole=True), 2, 2)),
    "if asked for: the links, (word of the sentence, word of the translation), from 0",
    None,
  ),
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
ENCODED = Record(
  tokens=Field(
    ListOf(
      Record(
        token=_TOKEN["token"],
        piece=_TOKEN["piece"],
        text=Field(Text(), "what of the sentence it stands for, as far as that can be found"),
      )
    ),
    "the sentence's tokens, the end included",
  )
)
DECODED = Record(text=Field(Text(), "the text of the tokens"))
_BYTE = Number(0, is_whole=True)
_ARRAY = Record(
  values=Field(_BYTE, "the byte at which its float32 array [H, positions, width] begins"),
  count=Field(Number(0, is_whole=True), "positions"),
  width=Field(Number(0, is_whole=True), "numbers of a vector"),
)
_PLACES = Record(
  queries=Field(ListOf(Text()), "sub-words that attend"),
  keys=Field(ListOf(Text()), "sub-words that are attended to"),
  weights=Field(_BYTE, "the byte at which its uint16 array [N, H, T, S] begins, in 65535ths"),
  vectors=Field(
    ListOf(
      Record(
        query=Field(_ARRAY, "of each head"),
        key=Field(_ARRAY, "of each head"),
        value=Field(_ARRAY, "of each head"),
      )
    ),
    "by layer",
  ),
)
VIEW = Record(
  source_text=Field(Text(), "the sentence"),
  target_text=Field(Text(), "the output"),
  unknown=Field(ListOf(Text()), "words that the vocabulary lacks"),
  attentions=Field(
    Record(**{name: Field(_PLACES, title) for name, title in ATTENTIONS.items()}), "the three"
  ),
  packed=Field(Text(), "the arrays, little-endian, deflated, in base64"),
)
HEALTH = Record(
  status=Field(OneOf(("ok",)), "the service answers"),
  task=Field(Text(), "translation or parsing"),
  layers=Field(Number(1, is_whole=True), "of the encoder, and of the decoder"),
  heads=Field(Number(1, is_whole=True), "of each attention"),
  steps=Field(ListOf(Number(0, is_whole=True)), "the checkpoints that the parameters are from"),
  waiting=Field(Number(0, is_whole=True), "requests that wait"),
)
