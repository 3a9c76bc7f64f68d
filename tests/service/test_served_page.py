"""The page of the service, in a browser: Python answers what it asks."""

import pytest
from patience import PATIENCE
from service_client import served

import transformer_jax
from transformer_jax.config import EOS_ID

LINE = "forty two"
SWITCH = "const [done] = arguments; setSwitches({CHANGE}).then(() => done(outputIds()));"


@pytest.mark.slow
@pytest.mark.browser
def test_the_page_translates_and_its_switches_act(browser, needs_packages, trained):
  model = transformer_jax.load(trained, beam_size=1)
  browser.set_script_timeout(PATIENCE)
  with served(model) as client:
    browser.get(f"http://127.0.0.1:{client.port}/?source=forty+two")
    waiting = "const [done] = arguments; const look = () => document.documentElement.dataset.asked"
    waiting += " ? done(outputIds()) : setTimeout(look, 100); look();"
    assert browser.execute_async_script(waiting) == tokens_of(model)
    heads = [["cross", 0, 1], ["encoder", 0, 0]]
    closed = browser.execute_async_script(SWITCH.replace("CHANGE", f"closed: {heads}"))
    assert closed == tokens_of(model.with_heads_closed([("cross", 0, 1), ("encoder", 0, 0)]))
    change = "closed: [], is_scaled: false"
    undivided = browser.execute_async_script(SWITCH.replace("CHANGE", change))
    assert undivided == tokens_of(model.without_division())
    assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]


def tokens_of(model):
  """Returns the tokens of the model's own translation, its end included."""
  ((answer,),) = model.n_best([LINE], 1)
  return [*answer.tokens, *[EOS_ID] * answer.is_finished]
