"""The README.md of an exported folder."""

import json
import pathlib

import pytest
from random_models import random_model

import transformer_jax
from transformer_jax.data.tokenizers.folder import train_tokenizer
from transformer_jax.interop.checks import Form
from transformer_jax.interop.readme import kept_scores, readme

TEXT = dict(data_source="text", train_source="a", train_target="b", valid_source="c")
TEXT |= dict(valid_target="d", source_language="fr", target_language="en")


@pytest.fixture(scope="module")
def run(trained):
  return transformer_jax.load(trained)


def test_scores_of_this_checkpoint_only(run_copy, run):
  folder = pathlib.Path(run_copy) / "evaluations"
  folder.mkdir(exist_ok=True)
  result = dict(set="test", headline="2 sentences, BLEU 12.50", beam_size=4, perplexity=3.25)
  result |= dict(length_penalty=0.6, length_penalty_form="gnmt", main_score="bleu", signature="s|1")
  (folder / "a.json").write_text(json.dumps(dict(result, steps=[40])))
  (folder / "b.json").write_text(json.dumps(dict(result, steps=[30])))
  together = dict(result, steps=[40], ensemble=["other"])
  (folder / "e.json").write_text(json.dumps(together))
  (folder / "c.json").write_text("{")
  (folder / "d.json").write_text("[1]")
  scores = kept_scores(run_copy, [40])
  assert [score["steps"] for score in scores] == [[40]]
  text = readme(run, Form("ctranslate2", "int8"), "mine", scores)
  line = "- test: 2 sentences, BLEU 12.50; beam 4, alpha 0.6 (gnmt); perplexity 3.250; `s|1`\n"
  assert line in text and text.startswith("# mine: a Transformer for CTranslate2\n")
  assert "Matrices are rounded to int8" in text and "step 40 of a training run" in text
  assert "There are none for this checkpoint" in readme(run, Form("ctranslate2"), "mine", [])


def test_the_readme_of_each_format(run):
  tied, untied = (readme(run, Form("huggingface", is_untied=u), "x", []) for u in (False, True))
  assert tied.startswith("---\nlanguage:\n- en\n- de\nlibrary_name: transformers\n")
  assert "1e-5" in tied and "share of the softmax" in tied and "share of the softmax" not in untied
  text = readme(run, Form("safetensors"), "x", [])
  assert 'transformer_jax.load(".")' in text and "transformer-jax import --from=." in text


@pytest.mark.parametrize("form, says", [("gnmt", "does not exist here"), ("power", "So does")])
def test_the_form_of_the_penalty(run, form, says):
  model = random_model(run.config, run.task.tokenizer, length_penalty_form=form)
  assert says in readme(model, Form("ctranslate2"), "x", [])


def test_text_that_the_caller_must_prepare(run):
  texts = ["the cat sat on the mat", "le chat est assis"] * 3
  settings = dict(tokenizer="subword_nmt", bpe_merges=20, preprocessing="moses_lowercase", **TEXT)
  data = run.config.replace(**settings).data
  model = random_model(run.config, train_tokenizer(data, iter(texts)), **settings)
  text = readme(model, Form("ctranslate2"), "x", [])
  assert 'BPE(open("codes.txt"' in text and "pip install ctranslate2 subword-nmt" in text
  assert "MosesTokenizer(lang='fr')" in text and "MosesDetokenizer(lang='en')" in text
  assert "is lower-cased" in text
