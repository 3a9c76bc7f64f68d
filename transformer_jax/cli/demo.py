"""`transformer-jax demo`."""

import pathlib
import webbrowser
from typing import Any

from transformer_jax.cli.flags import Command
from transformer_jax.files import atomic_write

# What `export --format=safetensors --quantization=int8` wrote; transformer_jax/demo/README.md says
# of which run.
MODEL = pathlib.Path(__file__).parents[1] / "demo" / "german_english"
CREDIT = dict(
  en="The model was trained on sentences of Tatoeba, which are under CC BY 2.0 FR:",
  ja="モデルの訓練には Tatoeba の例文（CC BY 2.0 FR）を使いました：",
  url="https://tatoeba.org",
)


def declare(command: Command) -> None:
  """Declares the flags."""
  command.declare_path("output", "HTML file to write", "transformer_jax_demo.html")
  command.declare("open", True, "open the page in a browser; --noopen only writes it")


def run(command: Command) -> None:
  """Writes the page of the package's own model, prints its path and opens it."""
  path = pathlib.Path(command.required("output")).absolute()
  atomic_write(path, _page())
  print(path)
  if command["open"]:
    webbrowser.open(path.as_uri())


def _page() -> str:
  """Returns the page. Its model is read, not run: the page computes all that it shows."""
  from flax.traverse_util import flatten_dict

  from transformer_jax.analysis.attention.examples import examples
  from transformer_jax.analysis.attention.model_in_page import model_in_page
  from transformer_jax.analysis.attention.page import page_of_model
  from transformer_jax.interop.folders import read_model

  found = read_model(MODEL)
  parameters: Any = flatten_dict(found.params, sep=".")
  model = model_in_page(found.config, found.tokenizer, parameters, "int8")
  return page_of_model(model, examples(found.config.data), CREDIT)
