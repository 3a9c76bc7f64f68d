"""Six sentences to begin with, for languages and tasks that readers of a page may not know."""

from transformer_jax.config import DataConfig
from transformer_jax.metrics.bleu import short_code

_NUMBERS = (
  "forty two",
  "seven",
  "ninety nine",
  "three hundred six",
  "two hundred forty two",
  "one hundred thousand and one",
)
_BY_LANGUAGE = {
  "de": (
    "Ich habe gestern mit meinem Bruder ein neues Auto gekauft.",
    "Ich habe das Buch nicht gelesen.",
    "Gestern hat mir meine Schwester einen Brief geschrieben.",
    "Der Mann, den ich gestern gesehen habe, ist mein Lehrer.",
    "Wenn es morgen regnet, bleiben wir zu Hause.",
    "Tom hat Maria nie gefragt, warum sie nach Boston gezogen ist.",
  ),
  "en": (
    "Yesterday I bought a new car with my brother.",
    "I have not read the book.",
    "My sister wrote me a letter yesterday.",
    "The man I saw yesterday is my teacher.",
    "If it rains tomorrow, we will stay at home.",
    "Tom never asked Mary why she moved to Boston.",
  ),
}


def examples(data: DataConfig) -> tuple[str, ...]:
  """Returns the examples for a run's source language; () where there are none."""
  if data.data_source == "numbers":
    return _NUMBERS
  return _BY_LANGUAGE.get(short_code(data.source_language), ())
