"""The explorer's panel that one types into, in a real browser: what it shows is the model's."""

import pytest
from explorer_page import click, element, is_quiet, open_page, requests_of
from model_page import undivided

import transformer_jax
from transformer_jax.analysis.attention.maps import sentence_attention
from transformer_jax.analysis.attention.model_in_page import model_in_page
from transformer_jax.analysis.attention.page import page, page_of_model

pytestmark = pytest.mark.browser

FIRST = "two hundred forty two"
OTHER = "six hundred seven"


@pytest.fixture(scope="module")
def model(trained):
  return transformer_jax.load(trained, beam_size=1)


@pytest.fixture(scope="module")
def packed(model):
  return model_in_page(model.config, model.task.tokenizer, model.parameters(), "float32")


@pytest.fixture(scope="module")
def html(model, packed):
  found = sentence_attention(model, FIRST, model.translate([FIRST])[0] or "zwei")
  return page(found, model=packed, examples=(FIRST, OTHER))


@pytest.fixture
def opened(browser, html, tmp_path):
  # Without movement the translation does not pause between its pieces.
  still = dict(features=[dict(name="prefers-reduced-motion", value="reduce")])
  browser.execute_cdp_cmd("Emulation.setEmulatedMedia", still)
  open_page(browser, html, tmp_path)
  return settled(browser)


def settled(browser):
  """Waits until the latest question is answered."""
  from selenium.webdriver.support.ui import WebDriverWait

  WebDriverWait(browser, 60).until(
    lambda b: b.execute_script("return document.documentElement.dataset.asked === String(latest)")
  )
  return browser


def ask(browser, text):
  box = element(browser, "ask_text")
  browser.execute_script("arguments[0].value = ''", box)
  box.send_keys(text, "\n")
  return settled(browser)


def texts(browser, selector):
  return [node.text for node in browser.find_elements("css selector", selector)]


def ids_written(browser):
  return browser.execute_script("return outputIds()")


def switch(browser, name):
  click(browser, browser.find_element("css selector", f"[data-head='{name}']"))
  return settled(browser)


def test_a_typed_sentence_is_translated_as_python_does(opened, model):
  (expected,) = model.translate([OTHER])
  ask(opened, OTHER)
  assert element(opened, "output_text").text == " ".join(expected.split())
  pieces = model.pieces(model.encode(OTHER))
  assert texts(opened, "#source_tokens button") == pieces
  written = model.pieces(ids_written(opened), "target")
  assert texts(opened, "#output_tokens button") == written
  # The other panels show the same sentence now.
  shown = opened.execute_script("return data.attentions.cross")
  assert (shown["keys"], shown["queries"]) == (pieces, written)


def test_attention_of_a_typed_sentence_is_the_models(opened, model):
  output = "sechshundertsieben"
  opened.execute_async_script(
    """
    const [text, ids, done] = arguments;
    asked.engine.encode(text)
      .then((source) => asked.engine.attention(source, ids, AS_TRAINED))
      .then(({ shown, arrays }) => { showAttention({ ...data, ...shown }, arrays); done(); });""",
    OTHER,
    model.encode(output, "target"),
  )
  found = model.attention(OTHER, output)
  for name in ("encoder", "decoder", "cross"):
    shown = opened.execute_script("return [...weightsOf(arguments[0], 0, 1)]", name)
    assert shown == pytest.approx(found[name][0, 1].ravel().tolist(), abs=1e-4)
    for kind, vectors in found["vectors"][name].items():
      choose = "chosen.attention = arguments[0]; chosen.layer = 0;"
      shown = opened.execute_script(f"{choose} return [...vector(arguments[1], 1, 0)]", name, kind)
      assert shown == pytest.approx(vectors[0, 1, 0].tolist(), abs=1e-4)


def test_a_rival_is_forced_and_taken_back(opened, model):
  free = ids_written(opened)
  click(opened, opened.find_element("css selector", "#output_tokens button"))
  rival = opened.find_element("css selector", "#rivals button")
  forced = int(rival.get_attribute("data-id"))
  logits = model.logits(FIRST, "")[0].astype(float)
  likeliest = [token for token in (-logits).argsort() if token not in (0, free[0])]
  assert forced == likeliest[0]
  assert len(opened.find_elements("css selector", "#rivals button")) == 5
  click(opened, rival)
  settled(opened)
  assert ids_written(opened)[0] == forced
  first = opened.find_element("css selector", "#output_tokens button")
  assert "forced" in first.get_attribute("class")
  click(opened, element(opened, "unforce"))
  settled(opened)
  assert ids_written(opened) == free


@pytest.mark.slow
def test_switches_change_the_model_and_both_outputs_are_shown(opened, model):
  trained = element(opened, "output_text").text
  assert not element(opened, "compare").is_displayed()
  closed = [("encoder", 0, 0), ("cross", 0, 0), ("cross", 0, 1)]
  for attention, layer, head in closed:
    switch(opened, f"{attention}-{layer + 1}-{head + 1}")
  (expected,) = model.with_heads_closed(closed).translate([FIRST])
  assert element(opened, "output_text").text == " ".join(expected.split())
  old, new = texts(opened, "#compare dd")
  assert old == trained
  assert new == " ".join(expected.split())
  click(opened, element(opened, "all_on"))
  settled(opened)
  assert not element(opened, "compare").is_displayed()
  click(opened, element(opened, "unscaled"))
  settled(opened)
  (expected,) = undivided(model).translate([FIRST])
  assert element(opened, "output_text").text == " ".join(expected.split())
  click(opened, element(opened, "all_on"))
  settled(opened)


def test_what_cannot_be_translated_is_said(opened):
  warning = lambda: element(opened, "ask_warning").text
  assert warning() == ""
  box = element(opened, "ask_text")
  opened.execute_script("arguments[0].value = ''; ask()", box)
  assert "nothing to translate" in warning()
  opened.execute_script("arguments[0].value = 'forty 彼 two'; ask()", box)
  settled(opened)
  assert "彼" in warning()
  click(opened, element(opened, "language"))
  assert "彼" in warning() and "モデル" in warning()
  click(opened, element(opened, "language"))
  opened.execute_script("arguments[0].value = 'two '.repeat(1200); ask()", box)
  assert opened.execute_async_script(
    "const done = arguments[0]; setTimeout(() => done(byId('ask_warning').textContent), 500)"
  ).endswith("the model takes 1024.")
  ask(opened, FIRST)


def test_pieces_are_reached_by_arrow_keys(opened):
  from selenium.webdriver.common.keys import Keys

  ask(opened, OTHER)
  first, second = opened.find_elements("css selector", "#source_tokens button")[:2]
  opened.execute_script("arguments[0].focus()", first)
  first.send_keys(Keys.ARROW_RIGHT)
  assert opened.switch_to.active_element == second
  second.send_keys(Keys.ENTER)
  pressed = texts(opened, "#flow button[aria-pressed=true]")
  assert pressed == [texts(opened, "#source_tokens button")[1]]
  assert opened.execute_script("return [chosen.held, chosen.key]") == ["key", 1]
  stops = opened.find_elements("css selector", "#flow button[tabindex='0']")
  assert len(stops) == 2  # one of each row


@pytest.mark.slow
def test_the_address_brings_sentence_and_switches_back(opened, browser):
  ask(opened, OTHER)
  switch(opened, "cross-1-2")
  click(opened, element(opened, "unscaled"))
  settled(opened)
  before = element(opened, "output_text").text
  browser.refresh()
  from selenium.webdriver.support.ui import WebDriverWait

  WebDriverWait(browser, 20).until(
    lambda b: b.execute_script("return document.documentElement.dataset.ready") == "true"
  )
  settled(browser)
  assert element(browser, "ask_text").get_attribute("value") == OTHER
  assert browser.execute_script("return asked.switches") == dict(
    closed=[["cross", 0, 1]], is_scaled=False
  )
  assert element(browser, "output_text").text == before


@pytest.mark.slow
def test_the_tour_goes_through_seven_steps_in_both_languages(opened):
  from selenium.webdriver.common.keys import Keys

  click(opened, element(opened, "tour_button"))
  seen = []
  for step in range(1, 8):
    settled(opened)
    title = element(opened, "tour_title").text
    assert title.startswith(f"{step} / 7")
    click(opened, element(opened, "language"))
    japanese = element(opened, "tour_text").text
    assert "。" in japanese
    click(opened, element(opened, "language"))
    seen.append(element(opened, "tour_text").text)
    assert opened.find_elements("css selector", ".pointed")
    element(opened, "tour_next").send_keys(Keys.ENTER)
  assert len(set(seen)) == 7
  assert not element(opened, "tour").is_displayed()
  click(opened, element(opened, "tour_button"))
  element(opened, "tour_next").send_keys(Keys.ESCAPE)
  assert not element(opened, "tour").is_displayed()


def test_words_that_the_translation_would_not_miss_are_named(opened):
  ask(opened, OTHER)
  lost = opened.execute_script("return asked.lost.map((word) => word.places)")
  struck = [
    "lost" in button.get_attribute("class")
    for button in opened.find_elements("css selector", "#source_tokens button")
  ]
  assert struck == [any(place in places for places in lost) for place in range(len(struck))]
  assert element(opened, "coverage").text


@pytest.mark.slow
def test_a_phone_shows_all_of_it(opened, browser):
  size = dict(width=390, height=844, deviceScaleFactor=2, mobile=True)
  browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
  try:
    click(opened, element(opened, "tour_button"))
    settled(opened)
    width, shown = browser.execute_script(
      "return [document.documentElement.scrollWidth, window.innerWidth]"
    )
    assert width <= shown
    cut = browser.execute_script("""
      const nodes = document.querySelectorAll("#translate_section *, #tour *");
      return [...nodes].filter((node) => node.getBoundingClientRect().right > innerWidth + 1)
        .map((node) => node.outerHTML.slice(0, 80));""")
    assert cut == []
    click(opened, element(opened, "tour_close"))
  finally:
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_page_without_a_sentence_computes_its_first(browser, packed, model, tmp_path):
  credit = dict(en="From somewhere.", ja="どこかから。", url="https://example.org")
  open_page(browser, page_of_model(packed, (OTHER,), credit), tmp_path)
  settled(browser)
  assert element(browser, "output_text").text == " ".join(model.translate([OTHER])[0].split())
  assert texts(browser, "#queries button") == texts(browser, "#output_tokens button")
  assert element(browser, "credit").text == "From somewhere. https://example.org"
  click(browser, element(browser, "language"))
  assert element(browser, "credit").text == "どこかから。 https://example.org"
  assert is_quiet(browser)
  assert requests_of(browser) == []


@pytest.mark.slow
def test_a_run_that_a_page_cannot_carry_is_named(browser, model, tmp_path):
  found = sentence_attention(model, FIRST, "zwei")
  open_page(browser, page(found, model=dict(refusal="--task=other: cannot")), tmp_path)
  assert not element(browser, "translate_section").is_displayed()
  assert "--task=other: cannot" in element(browser, "no_model").text
