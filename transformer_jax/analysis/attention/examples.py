"""Six sentences to begin with, for languages and tasks that readers of a page may not know."""

from transformer_jax.config import DataConfig

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
    "Wo ist der Bahnhof?",
    "Ich habe das Buch nicht gelesen.",
    "Kannst du mir bitte helfen?",
    "Er weiß, dass sie ihn liebt.",
    "Wenn es morgen regnet, bleiben wir zu Hause.",
  ),
  "en": (
    "Yesterday I bought a new car with my brother.",
    "Where is the station?",
    "I have not read the book.",
    "Can you help me, please?",
    "He knows that she loves him.",
    "If it rains tomorrow, we will stay at home.",
  ),
}


def examples(data: DataConfig) -> tuple[str, ...]:
  """Returns the examples for a run's source language; () where there are none."""
  if data.data_source == "numbers":
    return _NUMBERS
  return _BY_LANGUAGE.get(data.source_language, ())
