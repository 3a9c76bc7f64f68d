"""The parsing task: sentences and trees to tokens and back, and scores of every sentence."""

import dataclasses

import numpy as np
import pytest

from transformer_jax.config import EOS_ID, UNK_ID, Config, DataConfig
from transformer_jax.data.tokenizers.folder import (
  fingerprint,
  load_tokenizer,
  save_tokenizer,
  train_parsing_tokenizer,
)
from transformer_jax.data.tokenizers.parsing import ParsingTokenizer
from transformer_jax.data.tokenizers.word_list import WordListTokenizer
from transformer_jax.data.trees import parse_tree
from transformer_jax.errors import DataError
from transformer_jax.metrics.labeled_f1 import f1_of_statistics
from transformer_jax.tasks.parsing import ParsingTask, right_branching, split_words
from transformer_jax.tasks.task import Output

TREES = [
  "(TOP (S (NP (NN dogs)) (VP (VBP bark)) (. .)))",
  "(TOP (S (NP (DT the) (NN dog)) (VP (VBZ barks)) (. .)))",
] * 4


def make(style="vinyals", **settings):
  of_parsing = dict(task="parsing", data_source="grammar", embedding_sharing="none")
  data = Config().replace(**of_parsing, linearization=style, **{"vocab_size": 30, **settings}).data
  pairs = [("dogs bark .", TREES[0]), ("the dog barks .", TREES[1])] * 4
  return ParsingTask(data, train_parsing_tokenizer(data, *zip(*pairs, strict=True)))


@pytest.fixture(scope="module", params=["vinyals", "t2t"])
def task(request):
  return make(request.param)


def test_a_tree_as_treebanks_have_it_is_cleaned_first(task):
  raw = "( (S (NP-SBJ-1 (NN dogs)) (VP (VBP bark) (NP (-NONE- *T*-1))) (. .)))"
  assert task.problem_of("dogs bark .", raw) == ""
  assert task.encode_target(raw) == task.encode_target(TREES[0])
  assert task.score([Output(TREES[0])], [raw])["f1"] == 100.0
  assert task.problem_of("dogs run .", raw) == "has other words than its sentence"


def test_there_and_back(task):
  for sentence, tree in (("dogs bark .", TREES[0]), ("the dog barks .", TREES[1])):
    tokens = task.encode_target(tree)
    assert tokens[-1] == EOS_ID
    assert UNK_ID not in tokens
    output = task.decode_target(tokens[:-1], sentence)
    assert not output.is_repaired
    if task.config.linearization == "t2t":
      assert output.text == tree
  assert task.count_words("the  dog barks .") == 4


def numbers_of_words(task, source, tree):
  """Returns the number of the word at each position of the source, and at each of the target."""
  source_C, target_C = task.word_marks()
  before = [0, *task.encode_target(tree)[:-1]]  # what the decoder sees: PAD first
  sides = (source_C, task.encode_source(source)), (target_C, before)
  return [np.cumsum([marks_C[token] for token in tokens]).tolist() for marks_C, tokens in sides]


def test_a_position_of_the_target_has_the_number_of_the_next_word(task):
  source, target = numbers_of_words(task, "the dog barks .", TREES[1])
  pieces = task.source_pieces(task.encode_source("the dog barks ."))
  assert source == np.cumsum([piece.startswith("▁") for piece in pieces]).tolist()
  assert source[-1] == 4
  # (S (NP the dog )NP (VP barks )VP . )S and EOS
  assert target == [1, 1, 1, 2, 3, 3, 3, 4, 4, 5, 5]


def test_words_are_counted_by_their_ends_where_pieces_show_no_beginning():
  known = WordListTokenizer(["do@@", "g", "barks"])
  task = ParsingTask(make().config, ParsingTokenizer(known, make().tokenizer.symbols))
  source_C, _ = task.word_marks()
  assert list(source_C) == [0, 0, 1, 0, 1, 1]


WORDS = [
  "dog",
  "1\u00a0000",
  "\u3000",
  "a\u2581b",
  "\u2581",
  "\ufdfa",
  "\u200b",
  "a\u200bb",
  "\u03a9dog",
  "@@",
]
TOKENIZERS = dict(sentencepiece={}, segmented={}, subword_nmt=dict(bpe_merges=9))


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("text", ["the dog barks", "the \u2581\u2581\u2581 barks@@ d\u2581og"])
def test_every_word_counts_once(kind, text):
  """Whatever is in it, and whatever the tokenizer was learned from."""
  settings = dict(vocab_size=24 if kind == "sentencepiece" else 99, linearization="t2t")
  config = DataConfig(task="parsing", data_source="treebank", tokenizer=kind, **settings)
  config = dataclasses.replace(config, **TOKENIZERS[kind])
  tokenizer = train_parsing_tokenizer(config, [text, "the dog barks"] * 9, TREES)
  marks = tokenizer.word_marks()
  for word in WORDS:
    assert sum(marks[token] for token in tokenizer.encode_words([word])) == 1, word
  task = ParsingTask(config, tokenizer)
  *_, end = numbers_of_words(task, " ".join(["dog", *WORDS]), TREES[1])[0]
  assert end == len(WORDS) + 1


def test_a_word_is_cut_the_same_beside_any_neighbor(task):
  *the, _ = task.encode_source("the")
  *dog, _ = task.encode_source("dog")
  assert task.encode_source("the dog dog") == [*the, *dog, *dog, EOS_ID]


def test_a_word_of_nothing_known_is_unknown(task):
  assert UNK_ID in task.encode_source("\N{GRINNING FACE}")
  assert len(task.encode_source("\u200b \u200b")) >= 3


def test_brackets_are_words_by_another_name():
  assert split_words("a ( b) \t c\u2028d") == ["a", "-LRB-", "b-RRB-", "c\u2028d"]


def test_no_words_no_tree(task):
  assert task.decode_target([], "  ") == Output("")
  assert task.encode_source("") == [EOS_ID]


def test_anything_gives_a_tree_over_the_words(task):
  output = task.decode_target([5, 5, 5, 4, 3, 2], "a ( b")
  assert output.is_repaired
  assert "a)" in output.text
  assert "-LRB-)" in output.text


def test_a_target_that_is_not_a_tree_is_refused(task):
  for text in ("dogs bark", "(S (NN dogs)", ""):
    with pytest.raises(DataError):
      task.encode_target(text)


def test_every_kind_of_tokenizer_survives_a_folder(tmp_path):
  words = ["dogs", "unseen"]
  kinds = dict(sentencepiece={}, subword_nmt=dict(bpe_merges=5), segmented={})
  for kind, settings in kinds.items():
    tokenizer = make(tokenizer=kind, **settings).tokenizer
    save_tokenizer(tokenizer, tmp_path / kind)
    again = load_tokenizer(tmp_path / kind)
    assert fingerprint(again) == fingerprint(tokenizer)
    assert again.encode_words(words) == tokenizer.encode_words(words)


def test_scores_lose_no_sentence(task):
  flat = "(TOP (XX dogs) (XX bark) (XX .))"
  outputs = [Output(TREES[1]), Output(flat, is_repaired=True), Output("")]
  scores = task.score(outputs, [TREES[1], TREES[0], TREES[0]])
  assert scores["precision"] == 100
  assert scores["recall"] == pytest.approx(100 * 3 / 9)
  assert scores["f1"] == pytest.approx(50)
  assert scores["failed_sentences"] == [2, 3]
  assert scores["repaired_sentences"] == [2]
  assert scores["evalb"] == dict(f1=100, left_out=2)  # EVALB skips empty lines
  assert scores["complete_match"] == pytest.approx(100 / 3)
  assert scores["repair_rate"] == pytest.approx(100 / 3)


def test_gold_tags_are_put_back(task):
  """Without them the full stop would count as a word on one side."""
  scores = task.score([Output(TREES[0].replace("(. .)", "(XX .)"))], TREES[:1])
  assert scores["f1"] == 100


def test_a_repaired_tree_counts_as_it_is_and_as_nothing(task):
  scores = task.score([Output(TREES[0], is_repaired=True)], TREES[:1])
  assert scores["f1"] == 100
  assert scores["f1_malformed_match_nothing"] == 0


def test_a_tree_without_constituents_is_no_failure(task):
  scores = task.score([Output("(TOP (XX dog))")], ["(TOP (NN dog))"])
  assert scores["failed_sentences"] == []
  assert scores["complete_match"] == 100


def test_right_branching_trees(task):
  tree = parse_tree("(TOP (S (NP (DT the) (NN dog)) (VP (VBZ barks)) (. .)))")
  assert str(right_branching(tree)) == "(TOP (S (DT the) (S (NN dog) (S (VBZ barks) (. .)))))"
  assert str(right_branching(parse_tree("(TOP (X x))"))) == "(TOP (S (X x)))"
  report = task.report([Output(TREES[1])], [TREES[1]])
  assert report["right_branching_f1"] == dict(
    labelled=pytest.approx(100 * 2 * 1 / 6), unlabelled=pytest.approx(100 * 2 * 2 / 6)
  )
  assert report["labels"]["NP"]["f1"] == 100
  assert report["summary_up_to_40_words"]["f1"] == 100


def test_f1_by_length_counts_every_sentence_once(task):
  """Also those that EVALB leaves out, here one with another word."""
  right = lambda length: f"(TOP (S (NP (NN a)) (VP{' (VB b)' * (length - 1)})))"
  lengths = [10, 11, 20, 21, 40, 41, 60]
  gold = [right(length) for length in lengths]
  outputs = [Output(text) for text in gold]
  outputs[2] = Output("(TOP (S (NN c)))")
  outputs[5] = Output(f"(TOP (S (NN a){' (VB b)' * 40}))")
  table = task.report(outputs, gold)["by_length"]
  sentences = {name: row["sentences"] for name, row in table.items()}
  assert sentences == {"0-10": 1, "11-20": 2, "21-40": 2, "over 40": 2}
  assert table["0-10"]["f1"] == table["21-40"]["f1"] == 100
  assert table["11-20"]["recall"] == table["11-20"]["precision"] / 2 == 50
  matched, predicted, in_gold = 1 + 3, 1 + 3, 3 + 3
  assert table["over 40"]["precision"] == pytest.approx(100 * matched / predicted)
  assert table["over 40"]["recall"] == pytest.approx(100 * matched / in_gold)
  assert task.report(outputs[:1], gold[:1])["by_length"]["over 40"] == dict(
    sentences=0, f1=0.0, precision=0.0, recall=0.0
  )


def test_sums_of_statistics_are_f1(task):
  """A wrong tree, one with other words and an empty one count with the brackets that they miss."""
  gold = ["(TOP (S (NP (NN a) (NN b)) (VP (VB c))))"] * 4
  texts = [gold[0], "(TOP (NP (XX a) (XX b) (XX c)))", "(TOP (S (XX d)))", ""]
  outputs = [Output(text) for text in texts]
  statistics = task.statistics(outputs, gold)
  assert statistics.shape == (4, 3)
  assert (statistics[:, 2] == 3).all()
  f1 = task.score(outputs, gold)["f1"]
  assert 0 < f1 < 100
  assert f1_of_statistics(statistics.sum(0)) == pytest.approx(f1)
  assert f1_of_statistics(statistics[3]) == 0.0
