"""The explorer as readers meet it: phone, zoom, keyboard, paper, color vision, Japanese, links."""

import re

import explorer_page
import numpy as np
import pytest
from explorer_page import choose, click, element, made_attention, open_page, pixels, radio, window

from transformer_jax.analysis import plots
from transformer_jax.analysis.attention import page as attention_page
from transformer_jax.analysis.attention.page import page

pytestmark = pytest.mark.browser

WORDS = ["▁ein", "▁lang", "es", "▁Wort", "▁und", "▁Donau", "dampf", "schiff", ".", "</s>"]
WIDE = [f"▁Wörterlänge{i}" for i in range(12)]
# Machado, Oliveira and Fernandes 2009, linear RGB, the full deficiency.
COLOR_VISION = dict(
  normal=np.eye(3),
  protanopia=np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.052]]
  ),
  deuteranopia=np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
  ),
  tritanopia=np.array(
    [
      [1.255528, -0.076749, -0.178779],
      [-0.078411, 0.930809, 0.147602],
      [0.004733, 0.691367, 0.3039],
    ]
  ),
)


@pytest.fixture
def opened(browser, tmp_path):
  return open_page(browser, page(made_attention(WORDS)), tmp_path)


def script(browser, text, *arguments):
  return browser.execute_script(text, *arguments)


def chosen(browser):
  """Returns what is chosen, as numbers and lists."""
  return script(browser, "return {...chosen, heads: selectedHeads()}")


# --- Phone and zoom. ---


@pytest.mark.parametrize("width, height", [(390, 844), (320, 568), (700, 450)])
def test_nothing_is_cut_off_on_a_small_window(browser, tmp_path, width, height):
  """700 x 450 is a window of 1400 x 900 at 200% zoom."""
  with window(browser, width, height):
    open_page(browser, page(made_attention(WIDE)), tmp_path)
    assert script(browser, "return document.documentElement.scrollWidth") <= width
    outside = script(
      browser,
      """
      const words = "#keys button, #queries button", cells = "#weights_table td, #cost_table td";
      return [...document.querySelectorAll(`h1, .buttons button, ${words}, ${cells}`)]
        .filter((node) => node.getBoundingClientRect().right > innerWidth)
        .map((node) => node.textContent);""",
    )
    assert outside == []
    cut = script(
      browser,
      """return [...document.querySelectorAll("section")]
        .filter((node) => node.scrollWidth > node.clientWidth).map((node) => node.innerText);""",
    )
    assert cut == []
    overlap = script(
      browser,
      """
      const title = document.querySelector("h1 span:not([lang=ja])").getBoundingClientRect();
      return [...document.querySelectorAll(".buttons button")].some((button) => {
        const box = button.getBoundingClientRect();
        return box.left < title.right && box.top < title.bottom && box.bottom > title.top;
      });""",
    )
    assert not overlap
    script(browser, "scrollTo(0, 1200)")
    covered = script(
      browser, "return Math.max(0, byId('controls').getBoundingClientRect().bottom) / innerHeight"
    )
    assert covered < 0.2


def test_the_lists_end_where_the_lines_end(browser, tmp_path):
  with window(browser, 390, 844):
    open_page(browser, page(made_attention(WIDE)), tmp_path)
    gap = script(
      browser,
      """
      const lines = byId("lines_canvas").getBoundingClientRect();
      return byId("keys").getBoundingClientRect().left - lines.right;""",
    )
    assert 0 <= gap < 8


# --- Keyboard. ---


def test_the_focus_is_never_under_the_controls(browser, tmp_path):
  from selenium.webdriver.common.action_chains import ActionChains
  from selenium.webdriver.common.keys import Keys

  with window(browser, 1400, 900):
    open_page(browser, page(made_attention(WORDS)), tmp_path)
    assert script(browser, "return getComputedStyle(byId('controls')).position") == "sticky"
    script(browser, "scrollTo(0, 1e6); byId('cost_full').focus()")
    stops = hidden = 0
    while script(browser, "return !byId('controls').contains(document.activeElement)"):
      ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
      stops += 1
      hidden += script(
        browser,
        """
        const node = document.activeElement, bar = byId("controls");
        if (bar.contains(node)) return false;
        return node.getBoundingClientRect().top < bar.getBoundingClientRect().bottom;""",
      )
      assert stops < 40
    assert stops > 8
    assert hidden == 0


def test_a_list_of_words_is_one_stop_and_arrows_move_in_it(opened):
  from selenium.webdriver.common.keys import Keys

  stops = script(
    opened, "return document.querySelectorAll('#lines button:not([tabindex=\"-1\"])').length"
  )
  assert stops == 2
  first = opened.find_elements("css selector", "#queries button")[0]
  first.send_keys(Keys.ARROW_DOWN)
  assert script(opened, "return document.activeElement.textContent") == WORDS[1]
  opened.switch_to.active_element.send_keys(Keys.ENTER)
  assert script(opened, "return document.activeElement.textContent") == WORDS[1]
  assert chosen(opened)["query"] == 1


def test_sliders_speak_what_they_show(opened):
  assert element(opened, "cost_h").get_attribute("aria-valuetext") == "8 heads of width 64"


# --- Panels that follow each other. ---


def test_a_click_holds_a_word_and_fills_the_steps(opened):
  word = opened.find_elements("css selector", "#queries button")[3]
  click(opened, word)
  state = chosen(opened)
  assert (state["query"], state["held"]) == (3, "query")
  assert element(opened, "step_query").get_attribute("value") == "3"
  weights = explorer_page.weights_shown(opened)
  assert weights[state["key"]] == max(weights)
  held = pixels(opened, "lines_canvas")
  script(opened, "point('key', 0); point(null)")  # another word is pointed at, and left
  assert pixels(opened, "lines_canvas") == held
  click(opened, opened.find_elements("css selector", "#queries button")[3])
  assert chosen(opened)["held"] is None


def test_a_cell_of_the_map_is_a_place(opened):
  from selenium.webdriver.common.keys import Keys

  choose(opened, "step_query", 0)
  choose(opened, "step_key", 0)
  element(opened, "map").send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ENTER)
  assert (chosen(opened)["query"], chosen(opened)["key"]) == (1, 2)
  assert element(opened, "step_key").get_attribute("value") == "2"
  assert opened.find_element("css selector", "#weights_table tr.chosen td").text == WORDS[2]


def test_a_head_is_followed_everywhere(opened):
  for box in opened.find_elements("css selector", "#heads input"):
    if box.is_selected():
      click(opened, box)
  click(opened, opened.find_elements("css selector", "#heads input")[3])
  assert element(opened, "step_head").get_attribute("value") == "3"
  assert element(opened, "map_what").text == "head 4"
  choose(opened, "step_head", 1)
  assert chosen(opened)["heads"] == [1]
  pressed = opened.find_elements("css selector", "#overview button[aria-pressed=true]")
  assert [node.get_attribute("data-head") for node in pressed] == ["1"]


def test_a_mean_says_that_it_is_one(opened):
  click(opened, element(opened, "all_heads"))
  script(opened, "point('query', 1)")
  assert "(mean of heads 1, 2, 3, 4)" in element(opened, "lines_readout").text
  assert element(opened, "map_what").text == "mean of heads 1, 2, 3, 4"
  assert "mean of heads" in element(opened, "map_readout").text


def test_another_sentence_is_shown_by_one_call(opened):
  """As the model in the page shows each of its own: other words, all panels, hooks called."""
  other = attention_page.page(made_attention(["▁kurz", ".", "</s>"], seed=1))
  text = other.partition('id="data">')[2].partition("</script>")[0]
  shown = opened.execute_async_script(
    """
    const [text, done] = arguments, object = JSON.parse(text), heard = [];
    onSentence.push(() => heard.push("sentence"));
    onChoice.push(() => heard.push(chosen.query));
    unpack(object).then((arrays) => {
      choosePlace(8, 8);
      showAttention(object, arrays);
      choosePlace(2, 1);
      done([heard, byId("queries").innerText.split("\\n"), byId("step_query").value]);
    });""",
    text,
  )
  assert shown == [[8, "sentence", 2], ["▁kurz", ".", "</s>"], "2"]


# --- Numbers that could be stale. ---


def test_a_layer_without_vectors_shows_no_numbers(browser, tmp_path, monkeypatch):
  attention = made_attention(WORDS)
  both = attention_page.sentence_data(attention)["packed"]
  monkeypatch.setattr(attention_page, "MAX_PACKED_BYTES", len(both) - 1)
  opened = open_page(browser, page(attention), tmp_path)
  assert element(opened, "steps").is_displayed()
  choose(opened, "layer", 0)
  assert element(opened, "no_vectors").is_displayed()
  assert not element(opened, "steps").is_displayed()
  assert explorer_page.weights_shown(opened) == []
  choose(opened, "layer", 1)
  assert element(opened, "steps").is_displayed()


def test_bars_of_cost_are_as_long_as_the_cost(opened):
  from selenium.webdriver.common.keys import Keys

  width = lambda name: script(
    opened,
    "return document.querySelector(arguments[0] + ' .bar').getBoundingClientRect().width",
    name,
  )
  click(opened, element(opened, "cost_full"))
  slider = element(opened, "cost_h")
  slider.send_keys(Keys.HOME)
  script(opened, "document.body.style.width = '1400px'")
  widths = []
  for _ in range(6):  # 1, 2, 4, 8, 16 and 32 heads
    script(
      opened,
      "document.querySelectorAll('.bar').forEach((bar) => { bar.style.transition = 'none'; })",
    )
    widths.append(width("#cost_total"))
    assert widths[-1] / width("#cost_one") == pytest.approx(2 ** (len(widths) - 1), rel=0.02)
    slider.send_keys(Keys.ARROW_RIGHT)
  room = script(opened, "return document.querySelector('#cost_total td.bars').clientWidth")
  assert widths[-1] <= room


# --- Drawing. ---


def test_the_page_opens_with_the_sharpest_cross_head(browser, tmp_path):
  attention = made_attention(WORDS, sharpness=1.0)
  opened = open_page(browser, page(attention), tmp_path)
  sharpness = attention.maps["cross"].weights_NHTS[-1].max(-1).mean(-1)
  state = chosen(opened)
  assert state["layer"] == 1
  assert state["heads"] == [state["head"]] == [int(sharpness.argmax())]


def test_the_command_says_what_is_shown_first(browser, tmp_path):
  opened = open_page(
    browser, page(made_attention(WORDS), view=dict(layer=0, head=2, query=4)), tmp_path
  )
  state = chosen(opened)
  assert (state["layer"], state["heads"], state["query"], state["held"]) == (0, [2], 4, "query")


def test_contrast_makes_thin_attention_visible(browser, tmp_path):
  words = [f"▁w{i}" for i in range(60)]
  opened = open_page(browser, page(made_attention(words, sharpness=5.0)), tmp_path)
  assert script(opened, "return view.contrast")  # as no weight is large
  darkest = """
    const {queries, keys} = sides();
    return Math.max(...strengthsOf(meanShares(sides()), queries.length, keys.length));"""
  assert script(opened, darkest) == pytest.approx(1)
  click(opened, opened.find_element("css selector", "#more summary"))
  click(opened, element(opened, "contrast"))
  assert script(opened, darkest) < 0.3
  opened.refresh()
  explorer_page.wait_until_ready(opened)
  assert script(opened, darkest) < 0.3  # it stays off


def test_the_top_share_keeps_the_largest_weights(opened):
  kept = script(opened, "const line = [0.1, 0.5, 0.3, 0.1]; keepTop(line, 0.7); return line;")
  assert kept == [0, 0.5, 0.3, 0]


def test_whole_words_and_hidden_special_pieces(opened):
  click(opened, opened.find_element("css selector", "#more summary"))
  before = script(opened, "return meanShares(sides())")
  click(opened, element(opened, "joins_words"))
  texts = lambda: [node.text for node in opened.find_elements("css selector", "#keys button")]
  words = ["ein", "langes", "Wort", "und", "Donaudampfschiff.", "</s>"]
  assert texts() == words
  rows = np.array(before).reshape(10, 10)
  joined = np.array(script(opened, "return [...meanShares(sides())]")).reshape(6, 6)
  assert joined[1, 1] == pytest.approx(rows[1:3, 1:3].sum(-1).mean())  # keys add up, queries do not
  assert joined.sum(-1) == pytest.approx(np.ones(6), abs=1e-3)
  click(opened, element(opened, "hides_special"))
  assert texts() == words[:-1]
  joiners = script(opened, "return groupsOf(['ein@@', 'mal', 'zwei', '</s>']).map((g) => g.text)")
  assert joiners == ["einmal", "zwei"]


def linear(color):
  values = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
  return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb):
  """Returns CIELAB (D65) of a linear color."""
  xyz = (
    np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
    @ np.clip(rgb, 0, 1)
    / [0.9505, 1, 1.0888]
  )
  f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
  return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_eight_heads_are_told_apart_by_everybody(opened, theme):
  """CIELAB distance above 20 of any two, for each kind of color vision; contrast 3 to 1."""
  script(opened, "document.documentElement.dataset.theme = arguments[0]", theme)
  colors = script(opened, "return range(8).map(headColor)")
  card = script(opened, "return themeColor('--card')")
  light = lambda color: linear(color) @ [0.2126, 0.7152, 0.0722]
  for color in colors:
    low, high = sorted([light(color), light(card)])
    assert (high + 0.05) / (low + 0.05) >= 3, color
  for name, matrix in COLOR_VISION.items():
    seen = [lab(matrix @ linear(color)) for color in colors]
    for i, j in np.ndindex(8, 8):
      if i < j:
        assert np.linalg.norm(seen[i] - seen[j]) > 20, (name, colors[i], colors[j])
  assert script(opened, "return headDash(0).length") == 0
  assert script(opened, "return headDash(8).length") == 2  # the ninth has the first's color
  if theme == "light":
    assert list(plots.HEAD_COLORS) == colors


def test_a_pointed_word_moves_nothing(opened):
  for width, height in ((1200, 900), (390, 844)):
    with window(opened, width, height):
      place = "return byId('map').getBoundingClientRect().top + scrollY"
      before = script(opened, place)
      script(opened, "point('query', 1)")
      assert "%" in element(opened, "lines_readout").text
      assert script(opened, place) == before
      script(opened, "point(null)")


def test_an_unknown_word_is_named(browser, tmp_path):
  attention = made_attention(["▁", "<unk>", "▁zwei", "</s>"])
  attention = type(attention)("彼は zwei", "彼は zwei", attention.maps)
  opened = open_page(browser, page(attention), tmp_path)
  keys = [node.text for node in opened.find_elements("css selector", "#keys button")]
  assert keys == ["▁", "彼は <unk>", "▁zwei", "</s>"]
  assert "彼は" in element(opened, "unknown").text


def test_the_view_is_saved_as_svg(opened):
  click(opened, element(opened, "all_heads"))
  svg = script(opened, "return viewAsSvg()")
  assert svg.startswith("<svg")
  for word in (*WORDS[:4], "mean of heads 1, 2, 3, 4", "1 (100%)"):
    assert word.replace("<", "&lt;") in svg
  strokes = script(
    opened,
    """return range(4).map(headColor)
      .map((color) => arguments[0].split(`stroke="${color}"`).length - 1);""",
    svg,
  )
  assert min(strokes) >= 2  # lines of every head, and its key
  parsed = script(
    opened,
    """const parsed = new DOMParser().parseFromString(arguments[0], "image/svg+xml");
      return parsed.querySelector("parsererror");""",
    svg,
  )
  assert parsed is None


# --- Paper. ---


def test_paper_is_light_and_has_every_row_and_bar(opened):
  script(opened, "document.documentElement.dataset.theme = 'dark'; redrawAll()")
  script(opened, "dispatchEvent(new Event('beforeprint'))")
  opened.execute_cdp_cmd("Emulation.setEmulatedMedia", dict(media="print"))
  try:
    assert script(opened, "return themeColor('--back')") == "#ffffff"
    assert script(opened, "return headColor(0)") == plots.HEAD_COLORS[0]
    boxes = script(
      opened,
      """return ["product_table", "weights_table"].map((id) => {
        const node = byId(id).closest(".scroll") ?? byId(id);
        return node.scrollHeight - node.clientHeight;
      });""",
    )
    assert max(boxes) <= 1
    adjusts = script(
      opened,
      """return [...document.querySelectorAll(".bar, .swatch")]
        .map((node) => getComputedStyle(node).printColorAdjust);""",
    )
    assert set(adjusts) == {"exact"}
    assert not element(opened, "controls").is_displayed()
  finally:
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", dict(media=""))
  script(opened, "dispatchEvent(new Event('afterprint'))")
  assert script(opened, "return themeColor('--back')") == "#0f172a"


# --- Language and links. ---


def test_a_japanese_browser_gets_japanese(tmp_path):
  with explorer_page.started("--lang=ja", "--accept-lang=ja") as browser:
    browser.execute_cdp_cmd(
      "Emulation.setUserAgentOverride",
      dict(userAgent="Chromium", acceptLanguage="ja"),
    )
    importance = dict(
      perplexity=2.0,
      rank_correlation=0.35,
      heads=[
        dict(attention="cross", layer=0, head=h, importance=0.1, masked_perplexity=2.5)
        for h in range(4)
      ],
    )
    open_page(browser, page(made_attention(WORDS), importance), tmp_path)
    assert script(browser, "return document.documentElement.lang") == "ja"
    assert browser.title == "どこがどこを見ているか"
    script(browser, "point('query', 1)")
    mixed = [
      text
      for text in element(browser, "importance").text.splitlines()
      if re.search("[a-z]{4}", text.replace("perplexity", ""))
    ]
    assert mixed == []
    assert "ヘッド" in element(browser, "lines_readout").text
    cost = element(browser, "cost_table").text
    assert "weights" not in cost and "softmax" not in cost


def test_the_view_is_kept_over_a_reload(opened):
  radio(opened, "encoder")
  choose(opened, "layer", 0)
  click(opened, element(opened, "all_heads"))
  click(opened, opened.find_elements("css selector", "#queries button")[5])
  click(opened, opened.find_element("css selector", "#more summary"))
  for name in ("contrast", "joins_words", "scaled", "language", "theme"):
    click(opened, element(opened, name))
  state = lambda: (
    chosen(opened),
    script(opened, "return [view, language(), isDark(), byId('scaled').checked]"),
    pixels(opened, "map"),
  )
  before = state()
  assert before[1][1] == "ja"
  address = opened.current_url
  opened.refresh()
  explorer_page.wait_until_ready(opened)
  assert state() == before
  assert opened.current_url == address


@pytest.mark.parametrize(
  "address", ["#layer=99&heads=9.x&query=-4&key=77&attention=none&top=1000", "#%", "#lang=<b>"]
)
def test_an_address_that_nobody_wrote(browser, tmp_path, address):
  opened = open_page(browser, page(made_attention(WORDS)), tmp_path, address)
  state = chosen(opened)
  assert state["attention"] == "cross"
  assert 0 <= state["layer"] < 2 and 0 <= state["query"] < 10 and 0 <= state["key"] < 10
  assert explorer_page.is_quiet(opened)
