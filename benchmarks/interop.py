"""How many translations of exported models equal the run's own, from raw text.

    python benchmarks/interop.py --workdir=runs/quickstart

It needs ctranslate2, safetensors, transformers and torch: `make test-interop` sets up .venv-interop
with these. A text goes the way that the folder's README.md shows: through the library of its
tokenizer, not through this package. All searches have the penalty length^alpha, which all three
have, the same stopping rule (patience=8, early_stopping="never"), and the same limits. Scores are
compared where the translations are equal: log-probabilities of greedy ones, penalized ones of a
beam. "lost" is what the run's main score (BLEU, or exact match) loses. Forms that end in _back are
read back by `transformer_jax.load`, which needs safetensors alone; their logits are compared too,
given the references, without PAD's where the form is tied. They are also compared with the run's
own epsilon of LayerNorm, which Marian's form cannot have. Prints JSON lines.
"""

import argparse
import json
import os
import pathlib
import tempfile
from importlib import metadata

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
from peers.exported_tokenizer import tokenizer_of
from side_by_side import where

import transformer_jax
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.data.text import read_parallel
from transformer_jax.interop.checks import Form
from transformer_jax.interop.export import export_model
from transformer_jax.tasks.task import Output

LIBRARIES = ("ctranslate2", "transformers", "torch", "sentencepiece", "subword-nmt", "jax")


def arguments() -> argparse.Namespace:
  """Returns the command line's options."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument("--workdir", required=True)
  parser.add_argument("--source", help="text file; default: the run's test split")
  parser.add_argument("--reference", help="its references")
  parser.add_argument("--data_root", default=os.environ.get("TRANSFORMER_JAX_DATA", "."))
  parser.add_argument("--lines", type=int, default=400)
  parser.add_argument(
    "--formats",
    default="ctranslate2,int8,huggingface,untied,safetensors_back,huggingface_back,untied_back",
  )
  parser.add_argument("--json", help="a file to which the lines are appended")
  return parser.parse_args()


def by_limit(model, sentences):
  """Yields (the most tokens of an output, places of the sentences that have this limit)."""
  found = {}
  for place, text in enumerate(sentences):
    limit = len(model.task.encode_source(text)) - 1 + model.config.decode.max_extra_length
    found.setdefault(limit, []).append(place)
  yield from sorted(found.items())


def through_ctranslate2(model, folder, sentences, beam_size):
  """Returns [(text, score)]."""
  import ctranslate2

  translator = ctranslate2.Translator(str(folder), device="cpu")
  encode, decode = tokenizer_of(folder)
  found = [None] * len(sentences)
  for limit, places in by_limit(model, sentences):
    results = translator.translate_batch(
      [encode(sentences[place]) for place in places],
      beam_size=beam_size,
      patience=8,
      length_penalty=model.config.decode.length_penalty if beam_size > 1 else 0,
      min_decoding_length=0,
      max_decoding_length=limit,
      return_scores=True,
      max_batch_size=64,
    )
    for place, result in zip(places, results, strict=True):
      found[place] = decode(result.hypotheses[0]), result.scores[0]
  return found


def through_transformers(model, folder, sentences, beam_size):
  """Returns [(text, score)]; the score of a greedy search is None."""
  import torch
  import transformers

  transformers.logging.set_verbosity_error()
  marian = transformers.MarianMTModel.from_pretrained(folder).eval()
  tokenizer = transformers.MarianTokenizer.from_pretrained(folder)
  found = [None] * len(sentences)
  for limit, places in by_limit(model, sentences):
    texts = [sentences[place] for place in places]
    with torch.no_grad():
      output = marian.generate(
        **tokenizer(texts, return_tensors="pt", padding=True),
        num_beams=beam_size,
        max_length=limit + 1,  # it counts the token that the decoder starts from
        return_dict_in_generate=True,
        output_scores=True,
      )
    answers = tokenizer.batch_decode(output.sequences, skip_special_tokens=True)
    scores = output.sequences_scores.tolist() if beam_size > 1 else [None] * len(places)
    for place, answer in zip(places, zip(answers, scores, strict=True), strict=True):
      found[place] = answer
  return found


def read_back(model, folder, beam_size, **settings):
  """Returns the model of a folder, with the run's own search."""
  decode = model.config.decode
  return transformer_jax.load(
    folder,
    beam_size=beam_size,
    length_penalty=decode.length_penalty,
    length_penalty_form=decode.length_penalty_form,
    max_extra_length=decode.max_extra_length,
    **settings,
  )


def through_ourselves(model, folder, sentences, beam_size):
  """Returns [(text, score)]."""
  answers = [n_best[0] for n_best in read_back(model, folder, beam_size).n_best(sentences, 1)]
  return [(answer.text, answer.score if beam_size > 1 else answer.log_prob) for answer in answers]


def logit_difference(model, other, pairs, first_class):
  """Returns the largest difference of logits, and the largest logit, of the classes from one on."""
  differences, sizes = [], []
  for pair in pairs:
    logits_TC = model.logits(*pair)[:, first_class:]
    differences.append(np.abs(other.logits(*pair)[:, first_class:] - logits_TC).max())
    sizes.append(np.abs(logits_TC).max())
  return float(max(differences)), float(max(sizes))


def quality(model, texts, references):
  """Returns the run's main score."""
  return model.task.score([Output(text) for text in texts], references)[model.task.main_score]


def main() -> None:
  """Prints a JSON line for each format and search."""
  options = arguments()
  load = lambda **settings: transformer_jax.load(
    options.workdir, length_penalty_form="power", **settings
  )
  model = load()
  if options.source:
    sources, references = read_parallel(options.source, options.reference)
  else:
    pairs = open_source(model.config.data, options.data_root).pairs("test")
    sources, references = map(list, zip(*pairs, strict=True))
  sources, references = sources[: options.lines], references[: options.lines]
  forms = {
    "ctranslate2": Form("ctranslate2"),
    "int8": Form("ctranslate2", quantization="int8"),
    "huggingface": Form("huggingface"),
    "untied": Form("huggingface", is_untied=True),
    "safetensors_back": Form("safetensors"),
    "huggingface_back": Form("huggingface"),
    "untied_back": Form("huggingface", is_untied=True),
  }
  versions = {name: metadata.version(name) for name in LIBRARIES}
  names = options.formats.split(",")
  with tempfile.TemporaryDirectory() as temporary:
    folders = {name: pathlib.Path(temporary) / name for name in names}
    for name, folder in folders.items():
      export_model(model, folder, forms[name])
    for beam_size in (1, model.config.decode.beam_size):
      ours = [n_best[0] for n_best in load(beam_size=beam_size).n_best(sources, 1)]
      for name, folder in folders.items():
        through = (
          through_ctranslate2 if forms[name].format == "ctranslate2" else through_transformers
        )
        if name.endswith("_back"):
          through = through_ourselves
        texts, scores = zip(*through(model, folder, sources, beam_size), strict=True)
        equal = [i for i, text in enumerate(texts) if text == ours[i].text]
        our_scores = [answer.score if beam_size > 1 else answer.log_prob for answer in ours]
        record = dict(
          workdir=pathlib.Path(options.workdir).name,
          form=name,
          beam_size=beam_size,
          lines=len(sources),
          equal=len(equal),
          score=model.task.main_score,
          ours=quality(model, [answer.text for answer in ours], references),
          theirs=quality(model, texts, references),
          bytes=sum(path.stat().st_size for path in folder.glob("model.*")),
        )
        record["lost"] = record["ours"] - record["theirs"]
        if None not in scores:
          differences = [abs(our_scores[i] - scores[i]) for i in equal]
          record["largest_score_difference"] = float(np.max(differences))
        if name.endswith("_back") and beam_size == 1:
          pairs = list(zip(sources, references, strict=True))
          sharing = model.config.model.embedding_sharing
          is_tied = name == "huggingface_back" and sharing in ("all", "target")
          own = dict(layer_norm_epsilon=model.config.model.layer_norm_epsilon)
          for suffix, settings in dict(_difference={}, _difference_with_own_epsilon=own).items():
            difference, largest = logit_difference(
              model, read_back(model, folder, 1, **settings), pairs, 1 if is_tied else 0
            )
            record.update({f"logit{suffix}": difference}, largest_logit=largest)
        line = json.dumps(record | where() | dict(versions=versions))
        print(line, flush=True)
        if options.json:
          with open(options.json, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")


main()
