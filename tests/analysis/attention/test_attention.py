"""Tests of `attention`: its weights equal NumPy loops, its page holds them, text stays text."""

import base64
import itertools
import json
import re
import warnings
import zlib

import explorer_page
import jax
import numpy as np
import pytest
import tiny_run
from matplotlib import pyplot

import transformer_jax
from transformer_jax.analysis import plots
from transformer_jax.analysis.attention import figures, maps
from transformer_jax.analysis.attention import page as attention_page
from transformer_jax.analysis.attention.maps import START, sentence_attention, to_json
from transformer_jax.cli.main import run as command_line
from transformer_jax.model.head_gates import ATTENTIONS
from transformer_jax.reference import attention as reference_attention
from transformer_jax.reference.positions import positional_encoding
from transformer_jax.reference.transformer import transformer as reference_transformer
from transformer_jax.runs.train import train
from transformer_jax.runs.trained_model import TrainedModel

SOURCE = "two hundred forty two"
TARGET = "zweihundertzweiundvierzig"
AWKWARD = (
  "<script>alert(1)</script> \"forty\" 'two' & </style> שלום \N{GRINNING FACE} /*DATA*/ \\u003c"
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """A run of two layers, with d_k and d_v that differ."""
  folder = tmp_path_factory.mktemp("attention") / "run"
  config = tiny_run.tiny_config(
    num_layers=2,
    d_k=8,
    d_v=12,
    attention_kernel="reference",
    num_buckets=1,
    train_steps=20,
    checkpoint_every=20,
    bleu_sentences=0,
  )
  train(config, folder, ".")
  return folder


@pytest.fixture(scope="module")
def translator(workdir):
  return transformer_jax.load(workdir)


@pytest.fixture(scope="module")
def attention(translator):
  return sentence_attention(translator, SOURCE, TARGET)


def data_of(html):
  """Returns the JSON that the page's script reads."""
  script = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
  return json.loads(script[1])


def unpacked(html):
  """Returns the page's data and the bytes of its arrays."""
  data = data_of(html)
  return data, zlib.decompress(base64.b64decode(data["packed"]))


def array_at(buffer, dtype, shape, begin):
  return np.frombuffer(buffer, dtype, int(np.prod(shape)), begin).reshape(shape)


def test_weights_are_those_of_numpy_loops(translator, attention, monkeypatch):
  """The loops start from the checkpoint's parameters; all layers and heads are compared."""
  seen = []
  original = reference_attention.attention_weights

  def recorded(*args):
    seen.append(original(*args))
    return seen[-1]

  monkeypatch.setattr(reference_attention, "attention_weights", recorded)
  task = translator.task
  source_S = task.encode_source(SOURCE)
  target_T = task.encode_target(TARGET)
  reference_transformer(translator.params, source_S, target_T)
  # The encoder's two layers of two heads, then of each decoder layer its own and the cross heads.
  expected = dict(encoder=seen[:4], decoder=seen[4:6] + seen[8:10], cross=seen[6:8] + seen[10:12])
  as_json = to_json(attention)
  for name, heads in expected.items():
    weights_NHTS = attention.maps[name].weights_NHTS
    written_NHTS = np.asarray(as_json[name]["weights"])
    assert weights_NHTS.shape[:2] == (2, 2)
    expected_NHTS = np.stack(heads).reshape(weights_NHTS.shape)
    np.testing.assert_allclose(weights_NHTS, expected_NHTS, atol=1e-5)
    np.testing.assert_allclose(weights_NHTS.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(written_NHTS, expected_NHTS, atol=1e-5)


def test_the_decoder_looks_back_only(attention):
  decoder = attention.maps["decoder"]
  assert decoder.keys[0] == START
  assert len(decoder.keys) == len(decoder.queries)
  assert np.triu(decoder.weights_NHTS[0, 0], 1).max() == 0


def test_vectors_give_the_weights(attention):
  for one in attention.maps.values():
    query_NHTK = one.query_NHTK.astype(np.float64)
    scores_NHTS = np.einsum("nhtk,nhsk->nhts", query_NHTK, one.key_NHSK)
    scores_NHTS /= np.sqrt(query_NHTK.shape[-1])
    scores_NHTS[one.weights_NHTS == 0] = -np.inf  # masked
    powers_NHTS = np.exp(scores_NHTS - scores_NHTS.max(-1, keepdims=True))
    weights_NHTS = powers_NHTS / powers_NHTS.sum(-1, keepdims=True)
    np.testing.assert_allclose(weights_NHTS, one.weights_NHTS, atol=1e-5)


def test_padding_gets_nothing(translator):
  """In a batch the shorter sentence's padding has weight 0."""
  source_BS = np.array([[5, 6, 7, 1], [5, 1, 0, 0]], np.int32)

  @jax.jit
  def attention_weights(params, source_BS):
    return translator.model.apply(
      {"params": params}, source_BS, source_BS, method="attention_weights"
    )

  weights = attention_weights(translator.params, source_BS)
  assert np.asarray(weights["encoder"])[:, 1, :, :, 2:].max() == 0
  assert np.asarray(weights["cross"])[:, 1, :, :, 2:].max() == 0


def test_the_pages_numbers_are_the_models(attention):
  data, buffer = unpacked(attention_page.page(attention))
  for name, one in attention.maps.items():
    packed = data["attentions"][name]
    weights = array_at(buffer, "<u2", one.weights_NHTS.shape, packed["weights"]) / 65535
    np.testing.assert_allclose(weights, one.weights_NHTS, atol=1e-5)
    arrays = dict(query=one.query_NHTK, key=one.key_NHSK, value=one.value_NHSV)
    for layer, vectors in enumerate(packed["vectors"]):
      for kind, array in arrays.items():
        about = vectors[kind]
        shape = array.shape[1:]
        assert (about["count"], about["width"]) == shape[1:]
        found = array_at(buffer, "<f4", shape, about["values"])
        np.testing.assert_array_equal(found, array[layer])


def test_text_stays_text(translator):
  html = attention_page.page(sentence_attention(translator, AWKWARD, AWKWARD))
  data = data_of(html)
  assert data["source_text"] == data["target_text"] == AWKWARD
  assert html.count("</script>") == 2
  assert html.count("<script") == 2
  assert "alert(1)</script>" not in html
  is_elsewhere = r"https?://(?!www\.w3\.org/2000/svg\b)|src=|href=|@import|url\("  # but a name
  assert not re.search(is_elsewhere, html)


def test_a_page_is_json_with_any_importance(attention):
  head = dict(
    attention="cross", layer=0, head=0, importance=float("nan"), masked_perplexity=float("inf")
  )
  html = attention_page.page(attention, dict(perplexity=float("inf"), heads=[head]))
  text = html.partition('id="data">')[2].partition("</script>")[0]
  constants = []  # NaN and Infinity, which are not JSON
  found = json.loads(text, parse_constant=constants.append)["importance"]
  assert not constants
  assert found["perplexity"] is None
  assert found["heads"][0]["masked_perplexity"] is None


def test_a_page_that_would_be_too_large_leaves_out_vectors(attention, monkeypatch):
  whole = attention_page.page(attention)
  monkeypatch.setattr(attention_page, "MAX_PACKED_BYTES", 100)
  small = attention_page.page(attention)
  assert len(small) < len(whole)
  assert data_of(small)["attentions"]["cross"]["vectors"] == [None, None]


def test_the_command_writes_page_data_and_figures(workdir, tmp_path, capsys):
  (workdir / "heads").mkdir(exist_ok=True)
  heads = [
    dict(attention=name, layer=layer, head=head, importance=0.1, masked_perplexity=2.1)
    for name, layer, head in itertools.product(ATTENTIONS, range(2), range(2))
  ]
  importance = dict(steps=[20], perplexity=2.0, heads=heads)
  (workdir / "heads" / "heads.json").write_text(json.dumps(importance))
  flags = [
    f"--workdir={workdir}",
    "--source=forty two $5",
    "--target=zweiundvierzig",
    f"--output={tmp_path}",
    "--layer=1",
    "--head=2",
    "--word=2",
  ]
  assert command_line(["attention", *flags]) == 0
  assert capsys.readouterr().out == f"{tmp_path}/attention.html\n"
  data = json.loads((tmp_path / "attention.json").read_text())
  assert data["source"] == "forty two $5"
  cross = data["cross"]
  assert np.shape(cross["weights"]) == (2, 2, len(cross["queries"]), len(cross["keys"]))
  kinds = ("all_heads", "one_head", "one_word", "maps")
  figures = {f"{name}_{kind}" for name, kind in itertools.product(ATTENTIONS, kinds)}
  figures |= {"positional_encoding", "learning_rate"}
  names = {f"{figure}.{ending}" for figure in figures for ending in ("png", "pdf")}
  names |= {"attention.html", "attention.json"}
  assert {path.name for path in tmp_path.iterdir()} == names
  assert data_of((tmp_path / "attention.html").read_text())["importance"]["perplexity"] == 2.0


@pytest.mark.slow
def test_a_file_of_sentences(workdir, tmp_path, monkeypatch):
  """The output is made up, since a model that has learned little may give an empty one."""
  monkeypatch.setattr(
    TrainedModel, "translate", lambda self, sentences, *_: ["zwei" for _ in sentences]
  )
  (tmp_path / "in").write_text("forty two\n\nseven\n")
  flags = [f"--workdir={workdir}", f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}"]
  assert command_line(["attention", *flags, "--nofigures"]) == 0
  assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1", "3"]


@pytest.mark.parametrize(
  "flags, code, problem",
  [
    ([], 2, "give a sentence"),
    (["--source=a", "--input=b"], 2, "give a sentence"),
    (["--source=forty", "--layer=3"], 2, "the model has 2"),
    (["--source=forty", "--head=0"], 2, "1 to 2"),
    (["--source=forty", "--word=0"], 2, "--word"),
    (["--source= "], 3, "there is no attention to show"),
  ],
)
def test_sentences_that_cannot_be_shown(workdir, tmp_path, capsys, flags, code, problem):
  assert command_line(["attention", f"--workdir={workdir}", f"--output={tmp_path}", *flags]) == code
  assert problem in capsys.readouterr().err


def test_a_word_that_the_output_lacks_is_refused(workdir, tmp_path, capsys):
  flags = [f"--workdir={workdir}", "--source=forty", "--target=vierzig", f"--output={tmp_path}"]
  assert command_line(["attention", *flags, "--word=99"]) == 2
  problem = capsys.readouterr().err
  assert "--word=99" in problem and "the output has" in problem
  assert not list(tmp_path.iterdir())


def test_a_file_of_sentences_that_are_all_refused(workdir, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(
    TrainedModel, "translate", lambda self, sentences, *_: ["" for _ in sentences]
  )
  (tmp_path / "in").write_text("forty\nseven\n")
  flags = [f"--workdir={workdir}", f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}"]
  assert command_line(["attention", *flags]) == 3
  assert "none of its sentences can be shown" in capsys.readouterr().err


def test_what_the_command_asks_for_is_what_the_page_shows_first(workdir, tmp_path):
  flags = [f"--workdir={workdir}", "--source=forty two", "--target=zwei", f"--output={tmp_path}"]
  asked = ["--layer=1", "--head=2", "--word=1", "--nofigures"]
  assert command_line(["attention", *flags, *asked]) == 0
  view = data_of((tmp_path / "attention.html").read_text())["view"]
  assert view == dict(layer=0, head=1, query=0)


@pytest.mark.slow
def test_long_sentences_have_no_figures_unless_asked(workdir, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(figures, "MOST_WORDS", 3)
  flags = [f"--workdir={workdir}", "--source=forty two", "--target=zweiundvierzig"]
  assert command_line(["attention", *flags, f"--output={tmp_path / 'without'}"]) == 0
  assert "no figures of a sentence of" in capsys.readouterr().err
  assert len(list((tmp_path / "without").iterdir())) == 2
  assert command_line(["attention", *flags, f"--output={tmp_path / 'with'}", "--figures"]) == 0
  assert (tmp_path / "with" / "cross_maps.png").exists()
  # Those of the sentence before do not stay beside the page of another one.
  assert command_line(["attention", *flags, f"--output={tmp_path / 'with'}"]) == 0
  left = {path.name for path in (tmp_path / "with").iterdir()}
  assert {"attention.html", "attention.json"} <= left
  assert not [name for name in left if name.startswith(("encoder", "decoder", "cross"))]


@pytest.mark.parametrize(
  "pieces, text, expected",
  [
    (["▁two", "<unk>", "▁three", "</s>"], "two 彼は three", ["", "彼は", "", ""]),
    (["▁", "<unk>", "</s>"], "彼は", ["", "彼は", ""]),
    (["for@@", "ty", "<unk>", "</s>"], "forty ω", ["", "", "ω", ""]),
    (["<unk>", "<unk>", "▁a", "</s>"], "α β a", ["α β", "", "", ""]),
    (["▁gone", "<unk>", "</s>"], "ω", ["", "ω", ""]),
    (["▁two", "</s>"], "two", ["", ""]),
  ],
)
def test_what_unknown_pieces_stand_for(pieces, text, expected):
  assert [found for found, _ in maps.with_unknown(pieces, text)] == expected


def drawn(attention, folder, monkeypatch, settings=None, **selection):
  """Returns the figures that are drawn, by name, and writes none."""
  saved = {}

  def keep(figure, path):
    saved[path.rpartition("/")[2]] = figure
    pyplot.close(figure)  # it can still be looked at
    return []

  monkeypatch.setattr(plots, "save", keep)
  config = tiny_run.tiny_config(
    num_layers=2, num_heads=len(attention.maps["cross"].weights_NHTS[0]), **(settings or {})
  )
  figures.draw(attention, config, folder, figures.Selection(**selection))
  return saved


def test_every_figure_has_a_key(tmp_path, monkeypatch):
  words = ["▁a", "▁b", "</s>"]
  saved = drawn(explorer_page.made_attention(words, heads=9), tmp_path, monkeypatch)
  legend = saved["cross_all_heads"].legends[0]
  texts = [text.get_text() for text in legend.get_texts()]
  assert texts[:9] == [f"head {h + 1}" for h in range(9)]
  assert "weight 0.5" in texts
  looks = {(line.get_color(), line.get_linestyle()) for line in legend.get_lines()[:9]}
  assert len(looks) == 9  # no two heads look alike
  assert saved["cross_all_heads"].axes[0].get_title() == "cross attention, layer 2, all heads"
  one, *_ = saved["cross_maps"].axes
  assert [label.get_text() for label in one.get_yticklabels()] == words
  assert any("weight" in panel.get_ylabel() for panel in saved["cross_maps"].axes)


def test_a_thin_attention_is_seen_in_the_maps(tmp_path, monkeypatch):
  attention = explorer_page.made_attention([f"▁w{i}" for i in range(30)], sharpness=9.0)
  saved = drawn(attention, tmp_path, monkeypatch)
  largest = attention.maps["cross"].weights_NHTS.max()
  assert largest < 0.2
  assert saved["cross_maps"].axes[0].images[0].get_clim() == (0, pytest.approx(largest))


def test_japanese_is_written_by_an_installed_font(tmp_path, monkeypatch):
  """The font is made here: one glyph, under a name that fonts with Japanese have."""
  from fontTools.fontBuilder import FontBuilder
  from fontTools.pens.ttGlyphPen import TTGlyphPen
  from matplotlib import font_manager, rcParams

  pen = TTGlyphPen(None)
  for move, place in zip(
    (pen.moveTo, pen.lineTo, pen.lineTo), ((0, 0), (900, 0), (0, 900)), strict=True
  ):
    move(place)
  pen.closePath()
  glyph = pen.glyph()
  builder = FontBuilder(1000, isTTF=True)
  builder.setupGlyphOrder([".notdef", "kare"])
  builder.setupCharacterMap({ord("彼"): "kare"})
  builder.setupGlyf({".notdef": glyph, "kare": glyph})
  builder.setupHorizontalMetrics({".notdef": (1000, 0), "kare": (1000, 0)})
  builder.setupHorizontalHeader(ascent=900, descent=-100)
  builder.setupNameTable(dict(familyName="Noto Sans CJK Test", styleName="Regular"))
  builder.setupOS2()
  builder.setupPost()
  builder.save(tmp_path / "font.ttf")
  monkeypatch.setitem(rcParams, "font.family", ["sans-serif"])
  known = font_manager.fontManager.ttflist
  monkeypatch.setattr(
    font_manager.fontManager,
    "ttflist",
    [font for font in known if not plots._CJK.search(font.name)],
  )
  assert plots.missing_characters(["ein", "彼の"]) == "彼の"
  font_manager.fontManager.addfont(tmp_path / "font.ttf")
  assert plots.missing_characters(["ein", "彼の"]) == "の"
  attention = explorer_page.made_attention(["彼", "</s>"])
  with warnings.catch_warnings():
    warnings.simplefilter("error")  # of a missing glyph
    saved = drawn(attention, tmp_path, monkeypatch)
    saved["cross_one_head"].savefig(tmp_path / "figure.png")


@pytest.mark.parametrize(
  "content", ["[]", "[" * 100_000, '{"steps": [1], "perplexity": 2, "heads": 3}']
)
def test_importance_that_is_none(workdir, tmp_path, content):
  (workdir / "heads").mkdir(exist_ok=True)
  (workdir / "heads" / "heads.json").write_text(content)
  flags = [f"--workdir={workdir}", "--source=forty", f"--output={tmp_path}"]
  assert command_line(["attention", *flags]) == 3
  (workdir / "heads" / "heads.json").unlink()


def test_the_figure_of_positions_is_of_the_runs_own_kind(tmp_path, monkeypatch):
  attention = explorer_page.made_attention(["\u2581a", "</s>"], heads=2)

  def table(kind):
    saved = drawn(attention, tmp_path, monkeypatch, settings=dict(positions=kind))
    figure = saved.get("positional_encoding")
    return None if figure is None else np.asarray(figure.axes[0].images[0].get_array())

  paper = table("sinusoidal")
  np.testing.assert_allclose(paper, positional_encoding(100, paper.shape[1]), atol=1e-6)
  assert np.abs(table("sinusoidal_concatenated") - paper).max() > 0.5
  assert table("learned") is None and table("none") is None
