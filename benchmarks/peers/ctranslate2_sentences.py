"""Translates with an exported run in CTranslate2, for `sentences.py`.

python benchmarks/peers/ctranslate2_sentences.py FOLDER TYPE THREADS
"""

import pathlib
import sys

import ctranslate2
from exported_tokenizer import tokenizer_of
from serve_sentences import serve

FOLDER, TYPE, THREADS = sys.argv[1:]
EXTRA_LENGTH = 50  # tokens that an output may have more than the longest source
BATCH = 64  # sentences


def main() -> None:
  """Serves."""
  translator = ctranslate2.Translator(
    FOLDER, device="cpu", compute_type=TYPE, inter_threads=1, intra_threads=int(THREADS)
  )
  encode, decode = tokenizer_of(pathlib.Path(FOLDER))

  def search(sources, longest, beam_size, patience):
    results = translator.translate_batch(
      sources,
      beam_size=beam_size,
      patience=patience,
      length_penalty=0.6 if beam_size > 1 else 0,
      min_decoding_length=0 if patience > 1 else 1,
      max_decoding_length=longest,
      max_batch_size=BATCH,
    )
    return [decode(result.hypotheses[0]) for result in results]

  def translate(lines, beam_size, patience, max_extra_length=None):
    sources = [encode(line) for line in lines]
    if max_extra_length is None:
      return search(sources, max(map(len, sources)) + EXTRA_LENGTH, beam_size, patience)
    # A limit is of a call: each length has its own, and none is shorter than a token.
    answers = {}
    for length in sorted({len(source) for source in sources}):
      places = [place for place, source in enumerate(sources) if len(source) == length]
      longest = max(1, length + max_extra_length)
      found = search([sources[place] for place in places], longest, beam_size, patience)
      answers |= zip(places, found, strict=True)
    return [answers[place] for place in range(len(lines))]

  serve(translate, ctranslate2.__version__)


main()
