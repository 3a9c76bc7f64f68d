"""The page's model in a real browser, without the page: what it computes, beside Python's."""

import json
import math
import pathlib

import explorer_page
import numpy as np
from flax.traverse_util import unflatten_dict

from transformer_jax.analysis.attention.model_in_page import model_in_page
from transformer_jax.analysis.attention.page import ENGINE_SCRIPTS
from transformer_jax.checkpoints.quantization import rounded
from transformer_jax.runs.trained_model import TrainedModel

FOLDER = (
  pathlib.Path(explorer_page.__file__).parents[1] / "transformer_jax/analysis/attention/explorer"
)

_HTML = """<!DOCTYPE html><html><head><meta charset="utf-8"></head><body>
<script type="application/json" id="model">{model}</script>
<script>{script}
let engine = null;
async function tokenized(texts) {{
  return Promise.all(texts.map(async (text) => (await engine.encode(text)).ids));
}}
// Returns each text's translation: ids, log-probability of all, milliseconds.
async function translated(texts, switches) {{
  const answers = [];
  for (const text of texts) {{
    const begin = performance.now(), ids = [];
    let total = 0, last = 0;
    for await (const token of engine.translate(await engine.encode(text), switches)) {{
      ids.push(token.id);
      total += token.log_probability;
      last = performance.now();
    }}
    answers.push({{ ids, log_prob: total, text: await engine.decode(ids), ms: last - begin }});
  }}
  return answers;
}}
PageEngine.from(JSON.parse(document.getElementById("model").textContent)).then((made) => {{
  engine = made;
  document.documentElement.dataset.ready = "true";
}});
</script></body></html>"""


class ModelPage:
  """A model in an open browser. A page of its own: nothing but the engine."""

  def __init__(self, browser, tmp_path, model, quantization="float32"):
    packed = model_in_page(model.config, model.task.tokenizer, model.parameters(), quantization)
    assert "refusal" not in packed, packed
    scripts = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in ENGINE_SCRIPTS)
    text = json.dumps(packed).replace("<", "\\u003c")
    html = _HTML.format(model=text, script=scripts)
    self.size = len(html.encode())
    self._browser = explorer_page.open_page(browser, html, tmp_path)
    self._browser.set_script_timeout(600)

  def _ask(self, function, *arguments):
    return self._browser.execute_async_script(
      f"const done = arguments[arguments.length - 1];"
      f"{function}(...[...arguments].slice(0, -1)).then(done, (error) => done(String(error)));",
      *arguments,
    )

  def tokens(self, texts):
    """Returns the ids of each text, EOS included."""
    return self._ask("tokenized", texts)

  def translations(self, texts, closed=(), is_scaled=True):
    """Returns dicts of "ids", "log_prob", "text" and "ms"."""
    switches = dict(closed=[list(head) for head in closed], is_scaled=is_scaled)
    return self._ask("translated", texts, switches)


def with_parameters(model, change):
  """Returns the model with other parameters: `change` takes and returns them by name."""
  params = unflatten_dict(change(model.parameters()), sep=".")
  return TrainedModel(model.config, model.task, model.model, params, model.steps)


def rounded_model(model, quantization):
  """Returns the model with matrices rounded as in the page."""
  return with_parameters(model, lambda parameters: rounded(parameters, quantization))


def undivided(model):
  """Returns the model without the division by the square root of d_k.

  Queries that are larger by this factor take it back.
  """
  factor = np.float32(math.sqrt(model.config.model.d_k))

  def grown(parameters):
    return {
      name: array * factor if ".query." in name else array for name, array in parameters.items()
    }

  return with_parameters(model, grown)
