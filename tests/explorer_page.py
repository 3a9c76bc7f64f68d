"""The explorer page in a real browser: opening it, its controls, what it shows."""

import contextlib
import json
import shutil

import numpy as np
import pytest


def made_attention(words, layers=2, heads=4, seed=0, sharpness=0.3):
  """Returns a sentence's attention of random numbers, the weights computed from its vectors."""
  from transformer_jax.analysis.attention.maps import START, AttentionMap, SentenceAttention

  rng = np.random.default_rng(seed)

  def one(queries, keys, is_causal=False):
    shape = (layers, heads, len(keys), 8)
    query = rng.normal(size=(layers, heads, len(queries), 8)).astype(np.float32) / sharpness
    key, value = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    scores = np.einsum("nhtk,nhsk->nhts", query, key, dtype=np.float64) / np.sqrt(8)
    if is_causal:
      scores = np.where(np.tri(*scores.shape[2:], dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights = (weights / weights.sum(-1, keepdims=True)).astype(np.float32)
    return AttentionMap(queries, keys, weights, query, key, value)

  maps = dict(
    encoder=one(words, words),
    decoder=one(words, [START, *words[:-1]], is_causal=True),
    cross=one(words, words),
  )
  text = " ".join(words)
  return SentenceAttention(text, text, maps)


@contextlib.contextmanager
def started(*more_arguments):
  """Starts headless Chromium, which records its console and its network requests."""
  webdriver = pytest.importorskip("selenium.webdriver", reason="needs the package selenium")
  chromium = shutil.which("chromium") or shutil.which("chromium-browser")
  driver = shutil.which("chromedriver")
  if not chromium or not driver:
    pytest.skip("needs Chromium and chromedriver (Debian: chromium, chromium-driver)")
  options = webdriver.ChromeOptions()
  options.binary_location = chromium
  for argument in (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1200,1400",
    *more_arguments,
  ):
    options.add_argument(argument)
  options.set_capability("goog:loggingPrefs", dict(browser="ALL", performance="ALL"))
  found = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
  try:
    yield found
  finally:
    found.quit()


def open_page(browser, html, tmp_path, address=""):
  (tmp_path / "page.html").write_text(html, encoding="utf-8")
  for name in ("browser", "performance"):
    browser.get_log(name)  # empties the log of earlier pages
  browser.get("about:blank")  # otherwise another hash alone loads nothing
  browser.get(f"file://{tmp_path}/page.html{address}")
  wait_until_ready(browser)
  return browser


def wait_until_ready(browser):
  from selenium.webdriver.support.ui import WebDriverWait

  WebDriverWait(browser, 20).until(
    lambda b: b.execute_script("return document.documentElement.dataset.ready") == "true"
  )


@contextlib.contextmanager
def window(browser, width, height):
  """Gives the page a window of this size in CSS pixels."""
  size = dict(width=width, height=height, deviceScaleFactor=1, mobile=False)
  browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
  try:
    yield
  finally:
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def requests_of(browser):
  """Returns the addresses that the page requested."""
  messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
  urls = [
    m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"
  ]
  return [url for url in urls if not url.startswith(("file://", "data:", "blob:"))]


def element(browser, name):
  return browser.find_element("id", name)


def choose(browser, name, value):
  """Chooses an option of a select, as a reader would."""
  from selenium.webdriver.support.ui import Select

  Select(element(browser, name)).select_by_value(str(value))


def click(browser, node):
  browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", node)
  node.click()


def radio(browser, name):
  click(browser, browser.find_element("css selector", f"input[value={name}]"))


def weights_shown(browser):
  cells = browser.find_elements("css selector", "#weights_table tbody td[data-weight]")
  return [float(cell.get_attribute("data-weight")) for cell in cells]


def pixels(browser, name):
  """Returns a canvas as a string that changes with its picture."""
  return browser.execute_script("return document.getElementById(arguments[0]).toDataURL()", name)


def check_weights(opened, attention):
  """Compares every weight that a page computes from queries and keys with the model's."""
  for name, one in attention.maps.items():
    radio(opened, name)
    num_layers, num_heads = one.weights_NHTS.shape[:2]
    for layer in range(num_layers):
      choose(opened, "layer", layer)
      for head in range(num_heads):
        choose(opened, "step_head", head)
        for query in range(len(one.queries)):
          choose(opened, "step_query", query)
          shown = weights_shown(opened)
          count = query + 1 if name == "decoder" else len(one.keys)
          expected = one.weights_NHTS[layer, head, query, :count].tolist()
          assert shown == pytest.approx(expected, abs=1e-4), (name, layer, head, query)
          assert sum(shown) == pytest.approx(1)


def is_quiet(browser):
  """Returns whether the console has no problem and the page requested nothing."""
  levels = [entry["level"] for entry in browser.get_log("browser")]
  return not {"SEVERE", "WARNING"} & set(levels) and not requests_of(browser)
