"""The tree on a parser's page: its nodes, the words beside each symbol, and the drawing."""

import pytest
import tiny_run
from explorer_page import click, element, is_quiet, open_page, radio

import transformer_jax
from transformer_jax.analysis.attention.maps import START, sentence_attention
from transformer_jax.analysis.attention.page import page
from transformer_jax.analysis.attention.parse import Parse
from transformer_jax.data.linearization import linearize, symbol_places
from transformer_jax.data.trees import parse_tree
from transformer_jax.runs.train import train

TREE = "(TOP (S (NP (DT the) (NN dog)) (VP (VBZ barks)) (. .)))"


def parse_of(text, style="t2t"):
  tree = parse_tree(text)
  tree, places = symbol_places(linearize(tree, style), tree.words, style)
  return Parse(tree, [*places, None])


def test_words_stand_beside_symbols():
  """S NP DT NN /NP VP VBZ /VP . /S, then EOS."""
  beside = parse_of(TREE).words_beside()
  assert beside == [
    "the … .", "the dog", "the", "dog", "the dog", "barks", "barks", "barks", ".", "the … .", ""
  ]  # fmt: skip
  assert parse_of("(TOP (S (NN Donaudampfschiff)))").words_beside()[1] == "Donaudampfs…"


@pytest.mark.parametrize("style", ["t2t", "vinyals"])
def test_nodes(style):
  nodes = parse_of(TREE, style).nodes()
  tags = ["DT", "NN", "VBZ", "."] if style == "t2t" else ["XX"] * 4
  assert [node["label"] for node in nodes] == ["S", "NP", "VP", *tags]
  assert [node["word"] for node in nodes] == [None] * 3 + ["the", "dog", "barks", "."]
  assert [node["parent"] for node in nodes] == [None, 0, 0, 1, 1, 2, 0]
  assert [node["symbols"] for node in nodes] == [[0, 9], [1, 4], [5, 7], [2], [3], [6], [8]]


def test_several_roots_have_the_one_around_them():
  nodes = parse_of("(TOP (A (X x)) (B (X y)))").nodes()
  assert [(node["label"], node["parent"]) for node in nodes] == [
    ("TOP", None), ("A", 0), ("B", 0), ("X", 1), ("X", 2)
  ]  # fmt: skip
  assert nodes[0]["symbols"] == []


def test_a_leaf_beside_constituents_of_one_word():
  nodes = parse_of("(TOP (NP (NP (NN x)) (CC and) (NP (NP (NN y)))))").nodes()
  assert [node["parent"] for node in nodes] == [None, 0, 0, 2, 1, 0, 3]


@pytest.fixture(scope="module")
def attention(tmp_path_factory):
  """Of a tiny parser, for a given tree."""
  folder = tmp_path_factory.mktemp("parser") / "run"
  config = tiny_run.tiny_config(
    task="parsing",
    data_source="grammar",
    grammar_train_size=200,
    linearization="t2t",
    embedding_sharing="none",
    train_steps=2,
    checkpoint_every=2,
    evaluate_every=2,
    bleu_sentences=0,
  )
  train(config, folder, ".")
  return sentence_attention(transformer_jax.load(folder), "the dog barks .", TREE)


@pytest.mark.slow
def test_labels_of_a_parser(attention):
  labels = attention.labels()
  assert labels["encoder"][0] == attention.maps["encoder"].queries
  queries, keys = labels["cross"]
  assert keys == labels["encoder"][1]
  assert queries[1].endswith(" the dog") and queries[-1] == "</s>"
  assert labels["decoder"] == (queries, [START, *queries[:-1]])
  assert len(attention.parse.places) == len(attention.maps["cross"].queries)


@pytest.mark.slow
@pytest.mark.browser
def test_the_tree_is_drawn_and_chooses_symbols(browser, attention, tmp_path):
  opened = open_page(browser, page(attention), tmp_path)
  nodes = opened.find_elements("css selector", "#tree g")
  names = [node.get_attribute("aria-label") for node in nodes]
  assert names[:3] == ["S: the dog barks .", "NP: the dog", "VP: barks"] and len(nodes) == 7
  boxes = [node.rect for node in nodes]
  assert boxes[0]["y"] < boxes[1]["y"] < boxes[3]["y"]
  assert boxes[3]["x"] + boxes[3]["width"] <= boxes[4]["x"]  # words do not overlap
  middle = [box["x"] + box["width"] / 2 for box in boxes]
  assert middle[1] == pytest.approx((middle[3] + middle[4]) / 2, abs=1)

  def chosen():
    return opened.execute_script("return [chosen.attention, chosen.query, chosen.held]")

  radio(opened, "encoder")
  assert not opened.find_elements("css selector", "#tree g[aria-pressed=true]")
  click(opened, nodes[1])
  assert chosen() == ["cross", 1, "query"]
  click(opened, nodes[1])
  assert chosen() == ["cross", 4, "query"]  # /NP
  pressed = opened.find_elements("css selector", "#tree g[aria-pressed=true]")
  assert [node.get_attribute("aria-label") for node in pressed] == ["NP: the dog"]
  words = [button.text for button in opened.find_elements("css selector", "#queries button")]
  assert words[1].endswith("the dog")
  from selenium.webdriver.common.keys import Keys

  opened.execute_script("arguments[0].focus()", nodes[0])
  opened.switch_to.active_element.send_keys(Keys.ARROW_DOWN, Keys.ENTER)
  assert chosen() == ["cross", 1, "query"]
  assert is_quiet(opened)


@pytest.mark.slow
@pytest.mark.browser
def test_a_translation_has_no_tree(browser, attention, tmp_path):
  import dataclasses

  opened = open_page(browser, page(dataclasses.replace(attention, parse=None)), tmp_path)
  assert not element(opened, "tree_section").is_displayed()
