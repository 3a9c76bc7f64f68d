"""Every flag file under experiments/ parses, and its model can be built."""

import pathlib

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


def config_of(path):
  command = Command("train", "", **train.SETTINGS)
  train.declare(command)
  command.parse([f"--flagfile={path}"])
  return command.config()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EXPERIMENTS)))
def test_its_model_can_be_built(path):
  config = config_of(path).replace(attention_kernel="reference")
  refuse_unread(config)
  assert not unread_warnings(config)
  vocab_size = config.data.vocab_size
  tokens = jax.ShapeDtypeStruct((1, 2), np.int32)
  params = jax.eval_shape(
    Transformer(config.model, vocab_size, vocab_size).init, jax.random.key(0), tokens, tokens
  )["params"]
  counted = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(params))
  assert counted == sum(parameter_counts(config.model, vocab_size, vocab_size).values())
  header = path.read_text(encoding="utf-8").split("\n")
  assert header[0].startswith("# ") and any(
    "transformer-jax train --flagfile=experiments/" in line for line in header
  )


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
    "tatoeba",
    "iwslt14_de_en",
    "wsj",
    "wsj_semi_supervised",
    "wsj_sample",
    "craft",
    "grammar",
  }


def test_base_is_the_paper_but_for_its_batches():
  """A batch of 25,000 real tokens takes more padded positions; averaging belongs to the scores of Table 2."""
  names = {
    line.split()[0]
    for line in difference_lines(config_of(EXPERIMENTS / "translation/wmt14_en_de_base.flags"))[1:]
  }
  assert names == {"batch_tokens", "average_last"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.file)
def test_table_3_at_the_papers_scale_is_the_papers(row):
  config, expected = config_of(EXPERIMENTS / f"table3/paper/{row.file}.flags"), row.config()
  assert config.model == expected.model and config.train.train_steps == expected.train.train_steps
  assert (
    config.train.label_smoothing == expected.train.label_smoothing
    and config.decode.average_last == 1
  )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.file)
def test_table_3_in_small_keeps_the_papers_ratios(row):
  """h, d_k, d_v, N, d, d_ff and updates against base's; dropout, smoothing and positions are the paper's own."""
  small, base = (
    config_of(EXPERIMENTS / f"table3/small/{name}.flags") for name in (row.file, "base")
  )
  papers, papers_base = row.config(), ROWS[0].config()
  for name in ("num_heads", "d_k", "d_v", "num_layers", "d_model", "d_ff"):
    assert getattr(small.model, name) / getattr(base.model, name) == getattr(
      papers.model, name
    ) / getattr(papers_base.model, name)
  assert (
    small.train.train_steps / base.train.train_steps
    == papers.train.train_steps / papers_base.train.train_steps
  )
  for name in ("dropout_rate", "positions"):
    assert getattr(small.model, name) == getattr(papers.model, name)
  assert small.train.label_smoothing == papers.train.label_smoothing
  different = {name for name, value in small.to_flat().items() if value != base.to_flat()[name]}
  assert len(different) == (0 if row.file == "base" else len(row.settings))


def test_big_is_the_papers_big():
  config = config_of(EXPERIMENTS / "translation/wmt14_en_de_big.flags")
  model, base = config.model, Config().model
  assert (model.num_layers, model.d_model, model.d_ff, model.num_heads, model.d_k, model.d_v) == (
    6,
    1024,
    4096,
    16,
    64,
    64,
  )
  assert (model.dropout_rate, config.train.train_steps, config.decode.average_last) == (
    0.3,
    300_000,
    20,
  )
  assert (
    config_of(EXPERIMENTS / "translation/wmt14_en_fr_big.flags").model.dropout_rate
    == base.dropout_rate
    == 0.1
  )
