"""Every flag file under experiments/ can be read, and its model can be built."""

import functools
import pathlib
import re

import jax
import numpy as np
import pytest

from transformer_jax.analysis.cost.formulas import parameter_counts
from transformer_jax.analysis.table3 import ROWS
from transformer_jax.cli import train
from transformer_jax.cli.flags import Command
from transformer_jax.config import Config, refuse_unread, unread_warnings
from transformer_jax.model.transformer import Transformer
from transformer_jax.runs.startup_report import difference_lines

EXPERIMENTS = pathlib.Path(__file__).resolve().parents[1] / "experiments"
FILES = sorted(EXPERIMENTS.rglob("*.flags"))


def config_of(path, *flags):
  command = Command("train", "", **train.SETTINGS)
  train.declare(command)
  command.parse([f"--flagfile={path}", *flags])
  return command.config()


@functools.cache
def parameters_of(model, vocab_size):
  """Returns how many parameters a model has that is built."""
  tokens = jax.ShapeDtypeStruct((1, 2), np.int32)
  no_words = bytes(vocab_size)  # for `positions="words"`
  built = Transformer(model, vocab_size, vocab_size, (no_words, no_words))
  params = jax.eval_shape(built.init, jax.random.key(0), tokens, tokens)["params"]
  return sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def name_of(path):
  return str(path.relative_to(EXPERIMENTS))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_its_header_says_what_it_needs(path):
  header = path.read_text(encoding="utf-8").split("\n")
  assert header[0].startswith("# ")
  assert any(line.startswith(("# Data: ", "# Needs ")) for line in header)
  assert any("transformer-jax train --flagfile=experiments/" in line for line in header)


# The paper's rows are large: tracing them takes half of this file's time.
@pytest.mark.parametrize(
  "path",
  [
    pytest.param(path, marks=[pytest.mark.slow] if path.parent.name == "paper" else [])
    for path in FILES
  ],
  ids=name_of,
)
def test_its_model_can_be_built(path):
  config = config_of(path).replace(attention_kernel="reference")
  refuse_unread(config)
  assert not unread_warnings(config)
  vocab_size = config.data.vocab_size
  counted = parameters_of(config.model, vocab_size)
  assert counted == sum(parameter_counts(config.model, vocab_size, vocab_size).values())


def test_the_papers_experiments_are_there():
  assert {path.stem for path in FILES} >= {
    "quickstart",
    "wmt14_en_de_base",
    "wmt14_en_de_big",
    "wmt14_en_fr_base",
    "wmt14_en_fr_big",
    "wmt14_en_de_base_v3",
    "multi30k",
    "multi30k_lc",
    "multi30k_short",
    "multi30k_by_name",
    "ted_pt_en",
    "tatoeba",
    "iwslt14_de_en",
    "wsj",
    "wsj_semi_supervised",
    "wsj_sample",
    "craft",
    "grammar",
  }


def test_multi30k_by_name_is_multi30k():
  ours, by_name = (
    config_of(EXPERIMENTS / f"translation/{name}.flags").to_flat()
    for name in ("multi30k", "multi30k_by_name")
  )
  different = {name for name, value in ours.items() if value != by_name[name]}
  files = {
    f"{split}_{side}" for split in ("train", "valid", "test") for side in ("source", "target")
  }
  assert different == {"data_source", "dataset", *files}


@pytest.mark.parametrize("name", ["wmt14_en_de_base", "wmt14_en_fr_base", "wmt14_en_fr_big"])
def test_wmt14_without_tensorflow_by_the_flags_of_the_header(name):
  base = name.replace("big", "base")
  header = (EXPERIMENTS / f"translation/{base}.flags").read_text(encoding="utf-8")
  flags = re.findall(r"--(?:data_source|dataset\w*|tfds_name)=[\w/-]+", header.split("#   ")[0])
  config = config_of(EXPERIMENTS / f"translation/{name}.flags", *flags)
  refuse_unread(config)
  assert (config.data.data_source, config.data.dataset) == ("huggingface", "wmt/wmt14")
  assert config.data.dataset_config == ("de-en" if "de" in name else "fr-en")


def test_base_is_the_paper_but_for_its_batches():
  """25,000 tokens fill more positions than that with padding; Table 2's scores are averaged."""
  config = config_of(EXPERIMENTS / "translation/wmt14_en_de_base.flags")
  names = {line.split()[0] for line in difference_lines(config)[1:]}
  assert names == {"batch_tokens", "average_last"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.file)
def test_table_3_at_the_papers_scale_is_the_papers(row):
  config = config_of(EXPERIMENTS / f"table3/paper/{row.file}.flags")
  expected = row.config()
  assert config.model == expected.model
  assert config.train.train_steps == expected.train.train_steps
  assert config.train.label_smoothing == expected.train.label_smoothing
  assert config.decode.average_last == 1


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.file)
def test_table_3_in_small_keeps_the_papers_ratios(row):
  """Sizes and updates have the paper's ratios to base; other settings are the paper's own."""
  small = config_of(EXPERIMENTS / f"table3/small/{row.file}.flags").to_flat()
  base = config_of(EXPERIMENTS / "table3/small/base.flags").to_flat()
  paper = row.config().to_flat()
  paper_base = ROWS[0].config().to_flat()
  sizes = ("num_heads", "d_k", "d_v", "num_layers", "d_model", "d_ff", "train_steps")
  for name in sizes:
    assert small[name] / base[name] == paper[name] / paper_base[name]
  for name in ("dropout_rate", "positions", "label_smoothing"):
    assert small[name] == paper[name]
  different = {name for name, value in small.items() if value != base[name]}
  assert len(different) == len(row.settings)


def test_big_is_the_papers_big():
  big = config_of(EXPERIMENTS / "translation/wmt14_en_de_big.flags").to_flat()
  expected = dict(
    num_layers=6,
    d_model=1024,
    d_ff=4096,
    num_heads=16,
    d_k=64,
    d_v=64,
    dropout_rate=0.3,
    train_steps=300_000,
    average_last=20,
  )
  assert {name: big[name] for name in expected} == expected
  french = config_of(EXPERIMENTS / "translation/wmt14_en_fr_big.flags")
  assert french.model.dropout_rate == Config().model.dropout_rate == 0.1
