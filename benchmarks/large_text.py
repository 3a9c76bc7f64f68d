"""Writes parallel text of the size of WMT from small real texts: English and German, seeded.

    python benchmarks/large_text.py --output=FOLDER [--pairs=4500000] [--seed=1] [--data_root=DIR]

Each pair joins sentence pairs that are drawn at random from those under --data_root (Europarl,
Multi30k, Tatoeba) until it has as many words as a length that is drawn too; lengths are spread as
WMT's are, 25 words in the mean. So words, letters and lengths are real, but no word is rarer than
in the small texts, and neighbors say nothing about each other. FOLDER gets train.en, train.de,
valid.en, valid.de and large.flags, the paper's base model on them.
"""

import argparse
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from transformer_jax.data.text import read_parallel

TEXTS = ("wmt_ende/europarl20k", "multi30k/train", "tatoeba_deu-eng/train")
LANGUAGES = ("en", "de")
VALID_PAIRS = 2000
BLOCK = 100_000  # pairs that are drawn at once
MEAN_LOG_WORDS, DEVIATION = 2.7, 0.6  # of the normal distribution of the logarithm of a length
MOST_WORDS = 120

FLAGS = """# The paper's base model on text that benchmarks/large_text.py wrote into this folder.
--flagfile=experiments/translation/wmt14_en_de_base.flags
--data_source=text
--train_source=train.en
--train_target=train.de
--valid_source=valid.en
--valid_target=valid.de
"""


def small_pairs(data_root: pathlib.Path) -> list[tuple[str, str]]:
  """Returns the sentence pairs that have text on both sides."""
  found = []
  for name in TEXTS:
    english, german = (data_root / f"{name}.{language}.gz" for language in LANGUAGES)
    lines = zip(*read_parallel(english, german), strict=True)
    found += [pair for pair in lines if all(side.strip() for side in pair)]
  return found


def joined_pairs(
  pairs: list[tuple[str, str]], count: int, rng: np.random.Generator
) -> Iterator[tuple[str, str]]:
  """Yields `count` pairs of joined sentences."""
  num_words = [len(english.split()) for english, _ in pairs]
  while count > 0:
    lengths = np.minimum(rng.lognormal(MEAN_LOG_WORDS, DEVIATION, min(count, BLOCK)), MOST_WORDS)
    draws = iter(())
    for length in lengths.tolist():
      chosen, words = [], 0
      while words < length:
        drawn = next(draws, None)
        if drawn is None:
          draws = iter(rng.integers(0, len(pairs), BLOCK).tolist())
          continue
        chosen.append(drawn)
        words += num_words[drawn]
      yield " ".join(pairs[i][0] for i in chosen), " ".join(pairs[i][1] for i in chosen)
    count -= len(lengths)


def write_split(
  folder: pathlib.Path, split: str, pairs: list[tuple[str, str]], count: int, seed: int
) -> None:
  """Writes the two files of a split."""
  rng = np.random.default_rng(seed)
  with (
    open(folder / f"{split}.en", "w", encoding="utf-8") as english_file,
    open(folder / f"{split}.de", "w", encoding="utf-8") as german_file,
  ):
    for english, german in joined_pairs(pairs, count, rng):
      english_file.write(f"{english}\n")
      german_file.write(f"{german}\n")


def main() -> None:
  """Writes the files."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--output", type=pathlib.Path, required=True)
  parser.add_argument("--pairs", type=int, default=4_500_000)
  parser.add_argument("--seed", type=int, default=1)
  default_root = os.environ.get("TRANSFORMER_JAX_DATA", "../shared/data")
  parser.add_argument("--data_root", type=pathlib.Path, default=pathlib.Path(default_root))
  options = parser.parse_args()
  options.output.mkdir(parents=True, exist_ok=True)
  pairs = small_pairs(options.data_root)
  write_split(options.output, "train", pairs, options.pairs, 2 * options.seed)
  write_split(options.output, "valid", pairs, VALID_PAIRS, 2 * options.seed + 1)
  (options.output / "large.flags").write_text(FLAGS, encoding="utf-8")


if __name__ == "__main__":
  main()
