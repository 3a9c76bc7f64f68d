"""Writes the README.md of an exported folder: its model, its scores, how to run it, differences."""

import json
from collections.abc import Iterable
from typing import Any

from transformer_jax import __version__
from transformer_jax.config import Config
from transformer_jax.data.preprocessing import moses_code
from transformer_jax.files import StrPath
from transformer_jax.interop.checks import Form
from transformer_jax.interop.parameters import NUM_POSITIONS
from transformer_jax.runs.trained_model import TrainedModel
from transformer_jax.workdir.folder import Workdir

_TITLES = {
  "ctranslate2": "a Transformer for CTranslate2",
  "huggingface": "a Transformer for Hugging Face transformers",
  "safetensors": "the parameters of a Transformer",
}

_SENTENCEPIECE = """\
import ctranslate2, sentencepiece
sentences = {sentences}
pieces = sentencepiece.SentencePieceProcessor("sentencepiece.model")
model, search = ctranslate2.Translator("."), dict({search})
answers = model.translate_batch(pieces.encode(sentences, out_type=str), **search)
for answer in answers:
  print(pieces.decode([piece for piece in answer.hypotheses[0] if piece != "<unk>"]))"""

_MARIAN = """\
import ctranslate2, sentencepiece
sentences = {sentences}
source, target = (
  sentencepiece.SentencePieceProcessor(f"{{side}}.spm") for side in ("source", "target"))
model, search = ctranslate2.Translator("."), dict({search})
answers = model.translate_batch(source.encode(sentences, out_type=str), **search)
for answer in answers:
  text = target.decode([piece for piece in answer.hypotheses[0] if piece != "<unk>"])
  print(text.replace("\u2581", " ").strip())  # pieces of the source's model keep their mark"""

_SEGMENTED = """\
import ctranslate2{segmenter}
sentences = {sentences}
model, search = ctranslate2.Translator("."), dict({search})
answers = model.translate_batch([{segment} for sentence in sentences], **search)
for answer in answers:
  print(f"{{' '.join(answer.hypotheses[0])}} ".replace("@@ ", "").rstrip(" "))"""

_SEGMENTER = """
from subword_nmt.apply_bpe import BPE
bpe = BPE(open("codes.txt", encoding="utf-8"){known})"""

_KNOWN = ', vocab=set(open("vocabulary.txt", encoding="utf-8").read().split("\\n"))'

_HUGGINGFACE = """\
from transformers import MarianMTModel, MarianTokenizer
sentences = {sentences}
model, tokenizer = MarianMTModel.from_pretrained("."), MarianTokenizer.from_pretrained(".")
answers = model.generate(**tokenizer(sentences, return_tensors="pt", padding=True))
print(*tokenizer.batch_decode(answers, skip_special_tokens=True), sep="\\n")"""

_SAFETENSORS = """\
import transformer_jax
sentences = {sentences}
model = transformer_jax.load(".")
print(*model.translate(sentences), sep="\\n")"""

_IMPORT = (
  "`transformer-jax import --from=. --workdir=DIR` makes a run of it, for the commands. The text "
  "that it was trained on need not be there."
)


def kept_scores(workdir: StrPath, steps: list[int]) -> list[dict[str, Any]]:
  """Returns the results of these checkpoints in a workdir's `evaluations`."""
  results = []
  for path in sorted(Workdir(workdir, primary=False).evaluations.glob("*.json")):
    try:
      result = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
      continue
    is_of_them = isinstance(result, dict) and result.get("steps") == steps and "headline" in result
    if is_of_them and not result.get("ensemble"):
      results.append(result)
  return results


def readme(model: TrainedModel, form: Form, name: str, scores: Iterable[dict[str, Any]]) -> str:
  """Returns the text of README.md.

  Args:
    model: the model that is exported.
    form: the format, and its options.
    name: the model's name.
    scores: results of evaluations.
  """
  config = model.config
  lines = [*_header(config, form), f"# {name}: {_TITLES[form.format]}", "", *_what(model, form)]
  lines += ["", "## Scores", "", *_scores(scores)]
  lines += ["", "## How to run it", "", *_how_to_run(model, form)]
  lines += ["", "## What differs", "", *(f"- {text}" for text in _differences(config, form))]
  return "\n".join(lines) + "\n"


def _header(config: Config, form: Form) -> list[str]:
  """Returns the header of a README.md that the Hugging Face Hub reads."""
  if form.format != "huggingface":
    return []
  languages = dict.fromkeys((config.data.source_language, config.data.target_language))
  tags = [*(f"- {language}" for language in languages), "library_name: transformers"]
  return ["---", "language:", *tags, "pipeline_tag: translation", "---", ""]


def _what(model: TrainedModel, form: Form) -> list[str]:
  """Returns a paragraph: where the model is from, and its sizes."""
  config = model.config
  sizes, data = config.model, config.data
  count = sum(array.size for array in model.parameters().values())
  steps = ", ".join(map(str, model.steps))
  of_steps = f"the average of steps {steps}" if len(model.steps) > 1 else f"step {steps}"
  task = "parses sentences"
  if data.task == "translation":
    task = f"translates {data.source_language} into {data.target_language}"
  lines = [
    f"It {task}. Written by transformer_jax {__version__} (`export --format={form.format}`) from "
    f"{of_steps} of a training run.",
    "",
    f"- Model: {count:,} parameters, {sizes.num_layers} + {sizes.num_layers} layers, d_model "
    f"{sizes.d_model}, d_ff {sizes.d_ff}, {sizes.num_heads} heads with d_k {sizes.d_k} and d_v "
    f"{sizes.d_v}, {sizes.norm}-norm, positions {sizes.positions}, embedding sharing "
    f"{sizes.embedding_sharing}.",
    f"- Text: {data.tokenizer}, {model.task.target_vocab_size:,} pieces, preprocessing "
    f"{data.preprocessing}; trained on data source {data.data_source}.",
  ]
  if form.quantization != "none":
    lines.append(f"- Matrices are stored as {form.quantization}.")
  return lines


def _scores(scores: Iterable[dict[str, Any]]) -> list[str]:
  """Returns a list of the evaluations, which this package made before any quantization."""
  lines = []
  for result in scores:
    search = f"beam {result.get('beam_size')}"
    if result.get("beam_size") != 1:
      search += f", alpha {result.get('length_penalty')} ({result.get('length_penalty_form')})"
    line = f"- {result.get('set')}: {result['headline']}; {search}"
    if isinstance(result.get("perplexity"), float):
      line += f"; perplexity {result['perplexity']:.3f}"
    if result.get("signature") and result.get("main_score") == "bleu":
      line += f"; `{result['signature']}`"
    lines.append(line)
  if not lines:
    return ["There are none for this checkpoint. `transformer-jax evaluate` makes some."]
  return ["By transformer_jax, whose parameters are float32:", "", *lines]


def _how_to_run(model: TrainedModel, form: Form) -> list[str]:
  """Returns the packages to install and the code, which runs in the folder."""
  packages, code = _code(model, form)
  lines = [f"In this folder, after `pip install {packages}`:", "", "```python", code, "```"]
  if form.format == "ctranslate2" and model.config.data.preprocessing != "none":
    lines += ["", _moses(model.config)]
  if form.format == "safetensors":
    lines += ["", _IMPORT]
  return lines


def _code(model: TrainedModel, form: Form) -> tuple[str, str]:
  """Returns (names of packages, code)."""
  is_numbers = model.config.data.data_source == "numbers"
  blanks = dict(sentences='["forty two", "nine"]' if is_numbers else '["...", "..."]')
  if form.format == "huggingface":
    return "transformers torch sentencepiece", _HUGGINGFACE.format(**blanks)
  if form.format == "safetensors":
    return "transformer_jax", _SAFETENSORS.format(**blanks)
  blanks["search"] = _search(model.config)
  kind = model.task.tokenizer.kind
  if kind == "sentencepiece":
    return "ctranslate2 sentencepiece", _SENTENCEPIECE.format(**blanks)
  if kind == "marian":
    return "ctranslate2 sentencepiece", _MARIAN.format(**blanks)
  if kind == "subword_nmt":
    known = _KNOWN if "splits_unknown.txt" in model.task.tokenizer.files() else ""
    blanks |= dict(
      segmenter=_SEGMENTER.format(known=known), segment='bpe.process_line(sentence).split(" ")'
    )
    return "ctranslate2 subword-nmt", _SEGMENTED.format(**blanks)
  blanks |= dict(segmenter="", segment='sentence.split(" ")')
  return "ctranslate2", _SEGMENTED.format(**blanks)


def _search(config: Config) -> str:
  """Returns CTranslate2's arguments for the run's search."""
  decode = config.decode
  beam = f"beam_size={decode.beam_size}"
  if decode.beam_size > 1:
    beam += f", length_penalty={decode.length_penalty}"
    if decode.early_stopping == "exact":
      beam += ", patience=8"
  return f"{beam}, min_decoding_length=0"


def _moses(config: Config) -> str:
  """Returns the steps before and after the model, if the text was preprocessed."""
  languages = config.data.source_language, config.data.target_language
  source, target = (moses_code(language) or language for language in languages)
  lower = " is lower-cased," if config.data.preprocessing == "moses_lowercase" else ""
  return (
    "The model reads and writes text that is tokenized as the Moses scripts do. "
    f"A sentence{lower} goes through "
    f"`sacremoses.MosesPunctNormalizer(lang={source!r}).normalize` and then "
    f"`sacremoses.MosesTokenizer(lang={source!r}).tokenize(..., return_str=True)`. "
    f"`sacremoses.MosesDetokenizer(lang={target!r}).detokenize(answer.split(' '))` makes an "
    "answer's text."
  )


def _differences(config: Config, form: Form) -> list[str]:
  """Returns the differences from the model in transformer_jax."""
  if form.format == "safetensors" and form.quantization != "none":
    return [f"Matrices are rounded to {form.quantization}: some answers change."]
  if form.format == "safetensors":
    return ["Nothing: the parameters are equal to the bit, under the names of the package."]
  penalty = "The length penalty divides by length^alpha, EOS counted. " + (
    "The run divides by the paper's ((5 + length) / 6)^alpha, which does not exist here: with "
    "the same alpha, long answers are preferred a little more."
    if config.decode.length_penalty_form == "gnmt"
    else "So does the run's."
  )
  limits = (
    f"At most {NUM_POSITIONS} tokens. The run allows an output "
    f"{config.decode.max_extra_length} tokens longer than its source; here the limit is a number."
  )
  empty = "An empty sentence gets an answer here. transformer_jax answers it with an empty line."
  if form.format == "ctranslate2":
    return [*_of_ctranslate2(config, form), penalty, limits, empty]
  return [*_of_huggingface(config, form), penalty, limits, empty]


def _of_ctranslate2(config: Config, form: Form) -> list[str]:
  lines = [
    "Search: by default CTranslate2 stops after beam_size finished hypotheses, and forbids an "
    "empty answer, which changes scores. `patience=8` and `min_decoding_length=0` give the answers "
    "of transformer_jax. Without them it is faster, and few answers change.",
  ]
  if config.data.tokenizer in ("subword_nmt", "segmented"):
    lines.append(
      "Tokens such as `</s>` in a text are unknown words in transformer_jax, and not here."
    )
  if config.data.tokenizer == "marian":
    lines.append(
      "A language such as `>>deu<<` at the beginning of a text is a token by itself: cut it off, "
      "and put it before the pieces."
    )
  if form.quantization not in ("none", "float32"):
    lines.append(f"Matrices are rounded to {form.quantization}: some answers change.")
  return lines


def _of_huggingface(config: Config, form: Form) -> list[str]:
  lines = [
    "LayerNorm adds 1e-5 to the variance, which Marian does not let one set; the model has "
    f"{config.model.layer_norm_epsilon:g}. Where that was 1e-6, logits moved by "
    "less than 1e-4 on two models, and no translation changed.",
    "If a text begins with `>>xx<<`, that part becomes one token.",
  ]
  if config.model.embedding_sharing != "none" and not form.is_untied:
    lines.append(
      "PAD can never be an answer: its share of the softmax goes to the other tokens, which moves "
      "scores by log(1 - p(PAD)) a token. `export --untied` keeps it."
    )
  return lines
