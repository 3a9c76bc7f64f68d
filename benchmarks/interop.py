"""How many translations of exported models equal the run's own, from raw text.

    python benchmarks/interop.py --workdir=runs/quickstart

It needs ctranslate2, safetensors, transformers and torch: `make test-interop` sets up .venv-interop
with these. All searches have the penalty length^alpha, which all three have, and the same stopping
rule (patience=8, early_stopping="never"). Scores are compared where the translations are equal. The
quality of int8 is the run's main score. Forms that end in _back are read back by
`transformer_jax.load`, which needs safetensors alone; their logits are compared too, given the
references, without PAD's where the form is tied. They are also compared with the run's own epsilon
of LayerNorm, which Marian's form cannot have.
"""

import argparse
import json
import os
import pathlib
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np

import transformer_jax
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.data.text import read_parallel
from transformer_jax.interop.checks import Form
from transformer_jax.interop.export import export_model
from transformer_jax.tasks.task import Output

LONGEST = 200  # tokens of an output


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
  return parser.parse_args()


def through_ctranslate2(model, folder, sentences, beam_size, patience=8):
  """Returns (texts, scores)."""
  import ctranslate2

  translator = ctranslate2.Translator(str(folder), device="cpu")
  tokenizer = model.task.tokenizer
  tokens = [tokenizer.pieces(model.task.encode_source(text)[:-1]) for text in sentences]
  ids = {piece: i for i, piece in enumerate(tokenizer.pieces(range(tokenizer.vocab_size)))}
  results = translator.translate_batch(
    tokens,
    beam_size=beam_size,
    patience=patience,
    length_penalty=model.config.decode.length_penalty,
    min_decoding_length=0,
    max_decoding_length=LONGEST,
    return_scores=True,
    max_batch_size=64,
  )
  texts = [tokenizer.decode([ids[piece] for piece in r.hypotheses[0]]) for r in results]
  return texts, [result.scores[0] for result in results]


def through_transformers(_, folder, sentences, beam_size):
  """Returns (texts, scores); greedy search has no scores."""
  import torch
  import transformers

  transformers.logging.set_verbosity_error()
  marian = transformers.MarianMTModel.from_pretrained(folder).eval()
  tokenizer = transformers.MarianTokenizer.from_pretrained(folder)
  texts, scores = [], []
  for start in range(0, len(sentences), 50):
    batch = tokenizer(sentences[start : start + 50], return_tensors="pt", padding=True)
    with torch.no_grad():
      output = marian.generate(
        **batch,
        num_beams=beam_size,
        max_length=LONGEST,
        return_dict_in_generate=True,
        output_scores=True,
      )
    texts += tokenizer.batch_decode(output.sequences, skip_special_tokens=True)
    if beam_size > 1:
      scores += output.sequences_scores.tolist()
  return texts, scores


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
  """Returns (texts, scores)."""
  answers = [n_best[0] for n_best in read_back(model, folder, beam_size).n_best(sentences, 1)]
  return [answer.text for answer in answers], [answer.score for answer in answers]


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
  with tempfile.TemporaryDirectory() as temporary:
    for name in options.formats.split(","):
      folder = pathlib.Path(temporary) / name
      export_model(model, folder, forms[name])
      for beam_size in (1, model.config.decode.beam_size):
        ours = [n_best[0] for n_best in load(beam_size=beam_size).n_best(sources, 1)]
        through = (
          through_ctranslate2 if forms[name].format == "ctranslate2" else through_transformers
        )
        if name.endswith("_back"):
          through = through_ourselves
        texts, scores = through(model, folder, sources, beam_size)
        is_equal = [answer.text == text for answer, text in zip(ours, texts, strict=True)]
        record = dict(
          form=name,
          beam_size=beam_size,
          lines=len(sources),
          equal=sum(is_equal),
          score=model.task.main_score,
          ours=quality(model, [answer.text for answer in ours], references),
          theirs=quality(model, texts, references),
          bytes=sum(path.stat().st_size for path in folder.glob("model.*")),
        )
        if scores and beam_size > 1:
          both = zip(ours, scores, is_equal, strict=True)
          record["largest_score_difference"] = float(
            np.max([abs(a.score - score) for a, score, equal in both if equal])
          )
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
        print(json.dumps(record), flush=True)


main()
