"""Writes the pictures, tables and sentences of understanding-attention.md that come from a model.

    python docs/walk_through.py [--model=FOLDER] [--check]

The model is the demo's, which the package carries, so every number stays true. In the page they
stand between two comments; NAME is a function of this file, LANGUAGE is `en` or `ja`:

    <!-- demo: NAME LANGUAGE -->
    <!-- end of demo -->

With --check nothing is written. It fails if the page or a picture is not what the model gives.
"""

import argparse
import pathlib
import re
import shutil
import sys
import tempfile

import numpy as np
from matplotlib.image import imread

import transformer_jax
from transformer_jax.analysis.attention import figures
from transformer_jax.analysis.attention.maps import sentence_attention
from transformer_jax.analysis.markdown import table
from transformer_jax.cli.demo import MODEL
from transformer_jax.files import atomic_write
from transformer_jax.model.head_gates import ATTENTIONS
from transformer_jax.runs.trained_model import TrainedModel

PAGE = pathlib.Path(__file__).with_name("understanding-attention.md")
PICTURES = PAGE.parent / "figures" / "attention"
DRAWN = (
  "cross_one_head",
  "cross_maps",
  "cross_all_heads",
  "decoder_all_heads",
  "positional_encoding",
)
MOST_DIFFERENT = 0.01  # mean of a picture's shares of black: other versions draw letters otherwise

SENTENCE = "Ich habe gestern ein neues Auto gekauft."
LONGER = "Ich habe gestern mit meinem Bruder ein neues Auto gekauft."
LAYER, HEAD, WORD = 1, 0, 1  # from 0: the head of the tables and pictures, and "bought"
_BLOCK = re.compile(r"(<!-- demo: (\w+) (en|ja) -->\n).*?(<!-- end of demo -->)", re.DOTALL)
_NUMBER = re.compile(r"-?\d\.\d\d")


class Demo:
  """The demo's model, and what the page says about it, as lines of Markdown."""

  def __init__(self, model: TrainedModel) -> None:
    self.model = model
    self.cross = sentence_attention(model, SENTENCE).maps["cross"]

  def translation(self, language: str) -> list[str]:
    """The sentence and its translation."""
    del language
    return [f"> {SENTENCE} → {self._translate(SENTENCE)}"]

  def weights(self, language: str) -> list[str]:
    """One head's weights: a row for each piece written, a column for each piece read."""
    corner = {"en": "writes", "ja": "書く断片"}[language]
    rows = [
      [_piece(query), *(_bold_if_large(weight) for weight in weights_S)]
      for query, weights_S in zip(self.cross.queries, self._weights_TS, strict=True)
    ]
    name = {"en": "Layer {}, head {}.", "ja": "第{}層、ヘッド{}です。"}[language]
    lines = table([corner, *map(_piece, self.cross.keys)], rows)
    return [*lines, "", name.format(LAYER + 1, HEAD + 1)]

  def importance(self, language: str) -> list[str]:
    """How much the same word counts for two words that look."""
    key = int(np.argmax(self._weights_TS[WORD]))
    other = WORD + 3
    read, first, second = (
      _word(each)
      for each in (self.cross.keys[key], self.cross.queries[WORD], self.cross.queries[other])
    )
    one, two = (f"{self._weights_TS[query, key]:.2f}" for query in (WORD, other))
    if language == "ja":
      return [f"*{read}* が *{first}* から受け取る割合は {one}、*{second}* からは {two} です。"]
    return [f"*{read}* gets {one} from *{first}*, and {two} from *{second}*."]

  def division(self, language: str) -> list[str]:
    """What the division by the square root of d_k does: largest weights, and a translation."""
    header = {
      "en": ["", "with the division", "without"],
      "ja": ["", "割り算あり", "割り算なし"],
    }[language]
    names = {
      "en": ("largest weight, median over words and heads", "translation"),
      "ja": ("最大の重み（単語とヘッドの中央値）", "翻訳"),
    }[language]
    models = (self.model, self.model.without_division())
    target = self._translate(LONGER)
    largest = [
      np.median(np.asarray(model.attention(LONGER, target)["cross"]).max(-1)) for model in models
    ]
    translations = [model.translate([LONGER])[0] for model in models]
    return table(header, [[names[0], *(f"{x:.2f}" for x in largest)], [names[1], *translations]])

  def resting(self, language: str) -> list[str]:
    """The share of all cross attention that rests on the full stop and the end sign."""
    keys = self.cross.keys
    signs = [place for place, key in enumerate(keys) if _word(key) in (".", "</s>")]
    share = float(self.cross.weights_NHTS[..., signs].sum(-1).mean())
    if language == "ja":
      return [f"この文では、クロスアテンション全体の {share:.2f} が句点と文末記号に向いています。"]
    return [
      f"In this sentence {share:.2f} of all cross attention goes to the full stop and the end."
    ]

  def closed(self, language: str) -> list[str]:
    """What the longer sentence becomes if a head is closed, for all heads that change it."""
    words = {
      "en": (["closed head", "translation"], "none"),
      "ja": (["閉じたヘッド", "翻訳"], "なし"),
    }[language]
    whole = self._translate(LONGER)
    rows = [[words[1], whole]]
    for name, layer, head in self._heads():
      found = self.model.with_heads_closed([(name, layer, head)]).translate([LONGER])[0]
      if found != whole:
        rows.append([f"{_ATTENTION[language][name]} {layer + 1}.{head + 1}", found])
    changed, heads = len(rows) - 1, len(self._heads())
    if language == "ja":
      return [*table(words[0], rows), "", f"{heads}個のうち{changed}個が翻訳を変えます。"]
    return [*table(words[0], rows), "", f"{changed} of {heads} heads change it."]

  def sharpness(self, language: str) -> list[str]:
    """For each cross head how sharply it looks, and what closing it costs."""
    header = {
      "en": ["head", "largest weight, mean over words", "log-probability lost, nats"],
      "ja": ["ヘッド", "最大の重み（単語の平均）", "失われる対数確率（nat）"],
    }[language]
    pair = (SENTENCE, self._translate(SENTENCE))
    rows = []
    for name, layer, head in self._heads():
      if name == "cross":
        sharpness = self.cross.weights_NHTS[layer, head].max(-1).mean()
        lost = _log_prob(self.model, pair) - _log_prob(
          self.model.with_heads_closed([(name, layer, head)]), pair
        )
        rows.append((f"{layer + 1}.{head + 1}", f"{sharpness:.2f}", f"{lost:.2f}"))
    return table(header, rows)

  def blind(self, language: str) -> list[str]:
    """The translation of a decoder that cannot look at the source."""
    del language
    cross = [each for each in self._heads() if each[0] == "cross"]
    return [f"> {SENTENCE} → {self.model.with_heads_closed(cross).translate([SENTENCE])[0]}"]

  @property
  def _weights_TS(self) -> np.ndarray:
    return self.cross.weights_NHTS[LAYER, HEAD]

  def _translate(self, sentence: str) -> str:
    return self.model.translate([sentence])[0]

  def _heads(self) -> list[tuple[str, int, int]]:
    settings = self.model.config.model
    return [
      (name, layer, head)
      for name in ATTENTIONS
      for layer in range(settings.num_layers)
      for head in range(settings.num_heads)
    ]


_ATTENTION = {
  "en": dict(encoder="encoder", decoder="decoder", cross="cross"),
  "ja": dict(encoder="エンコーダ", decoder="デコーダ", cross="クロス"),
}


def _log_prob(model: TrainedModel, pair: tuple[str, str]) -> float:
  ((log_prob, _),) = model.log_probs([pair])
  return log_prob


def _word(piece: str) -> str:
  return piece.removeprefix("▁")


def _piece(piece: str) -> str:
  """Returns a piece as the page writes it: the end sign would be taken for HTML."""
  return f"`{piece}`" if "<" in piece else piece


def _bold_if_large(weight: float) -> str:
  return f"**{weight:.2f}**" if weight >= 0.5 else f"{weight:.2f}"


def blocks(text: str) -> list[tuple[str, str]]:
  """Returns (name, language) of each block of a page's text."""
  return [(block[2], block[3]) for block in _BLOCK.finditer(text)]


def with_blocks(text: str, demo: Demo) -> str:
  """Returns the page's text with its blocks made anew."""

  def made(block: re.Match[str]) -> str:
    lines = getattr(demo, block[2])(block[3])
    return "\n".join([block[1], *lines, "", block[4]])

  # mdformat writes the rule below a table's header shorter.
  return re.sub(r" --- \|", " -- |", _BLOCK.sub(made, text)).replace("| --- ", "| -- ")


def same_text(text: str, other: str) -> bool:
  """Returns whether two texts are equal, apart from a last digit: processors round differently."""
  numbers = [np.array([float(x) for x in _NUMBER.findall(each)]) for each in (text, other)]
  rest = [_NUMBER.sub("#", each).replace("**", "") for each in (text, other)]
  return rest[0] == rest[1] and bool((np.abs(numbers[0] - numbers[1]) < 0.015).all())


def draw(demo: Demo, folder: pathlib.Path) -> list[pathlib.Path]:
  """Draws a sentence's figures into an empty folder; returns the paths of the page's."""
  attention = sentence_attention(demo.model, SENTENCE)
  selection = figures.Selection(layer=LAYER + 1, head=HEAD + 1, word=WORD + 1)
  figures.draw(attention, demo.model.config, folder, selection)
  return [folder / f"{name}.png" for name in DRAWN]


def differs(path: pathlib.Path, other: pathlib.Path) -> bool:
  """Returns whether two pictures differ by more than the drawing of letters."""
  first, second = imread(path), imread(other)
  return first.shape != second.shape or bool(np.abs(first - second).mean() > MOST_DIFFERENT)


def load(folder: str) -> Demo:
  """Returns the Demo of a model's folder; "": of the model in the package."""
  return Demo(transformer_jax.load(folder or MODEL, beam_size=1))


def main() -> int:
  """Writes the page and its pictures; with --check returns 1 if they are not the model's."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--model", default="", help="folder of a model; default: the demo's")
  parser.add_argument("--check", action="store_true")
  options = parser.parse_args()
  demo = load(options.model)
  before = PAGE.read_text(encoding="utf-8")
  after = with_blocks(before, demo)
  wrong = [] if same_text(before, after) else [PAGE.name]
  with tempfile.TemporaryDirectory() as folder:
    for path in draw(demo, pathlib.Path(folder)):
      if not options.check:
        shutil.copyfile(path, PICTURES / path.name)
      elif differs(path, PICTURES / path.name):
        wrong.append(path.name)
  if not options.check:
    atomic_write(PAGE, after)
    return 0
  for name in wrong:
    print(f"{name} is not what the model gives; remedy: python docs/walk_through.py")
  return int(bool(wrong))


if __name__ == "__main__":
  sys.exit(main())
