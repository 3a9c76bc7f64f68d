"""`demo`: the package's own model, small enough, named, and a page of it."""

import pathlib
import webbrowser

import transformer_jax
from transformer_jax.cli.demo import CREDIT, MODEL
from transformer_jax.cli.main import run

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_page_is_written_and_opened(tmp_path, monkeypatch, capsys):
  opened = []
  monkeypatch.setattr(webbrowser, "open", opened.append)
  path = tmp_path / "my demo.html"
  assert run(["demo", f"--output={path}"]) == 0
  assert capsys.readouterr().out == f"{path}\n"
  assert opened == [path.as_uri()]
  html = path.read_text(encoding="utf-8")
  for language in ("en", "ja"):
    assert CREDIT[language] in html and "CC BY 2.0 FR" in CREDIT[language]
  assert len(html.encode()) < 4_000_000
  assert run(["demo", f"--output={path}", "--noopen"]) == 0
  assert len(opened) == 1


def test_the_model_is_small_and_its_source_is_named():
  sizes = {path.name: path.stat().st_size for path in MODEL.iterdir()}
  assert sizes["model.safetensors"] <= 2_000_000
  note = (MODEL.parent / "README.md").read_text(encoding="utf-8")
  assert "Tatoeba" in note and "CC BY 2.0 FR" in note


def test_the_model_loads_as_any_exported_one():
  model = transformer_jax.load(MODEL)
  assert model.config.data.source_language == "de"
  ids = model.encode("Das ist ein Haus.")
  assert model.task.tokenizer.decode(ids) == "Das ist ein Haus."
