"""The walk-through: its pictures, tables and sentences are those of the demo's model."""

import importlib.util
import pathlib

import pytest

pytestmark = pytest.mark.slow

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def walk_through():
  spec = importlib.util.spec_from_file_location("walk_through", DOCS / "walk_through.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope="module")
def demo(walk_through):
  return walk_through.load("")


@pytest.fixture(scope="module")
def made(walk_through, demo):
  """The page as the model gives it."""
  return walk_through.with_blocks(page(walk_through), demo)


def page(walk_through):
  return walk_through.PAGE.read_text(encoding="utf-8")


def test_its_tables_and_sentences_are_the_models(walk_through, made):
  assert walk_through.same_text(page(walk_through), made)


@pytest.mark.parametrize(
  "change",
  [
    lambda text: text.replace("**0.9", "**0.7", 1),
    lambda text: text.replace("24 heads", "25 heads", 1),
    lambda text: text.replace("→ I bought", "→ I sold", 1),
    lambda text: text.replace("| ▁yesterday |", "| ▁today |", 1),
  ],
  ids=["number", "count", "translation", "piece"],
)
def test_a_change_is_seen(walk_through, made, change):
  changed = change(made)
  assert changed != made
  assert not walk_through.same_text(changed, made)


def test_its_pictures_are_the_models(walk_through, demo, tmp_path):
  for path in walk_through.draw(demo, tmp_path):
    assert not walk_through.differs(path, walk_through.PICTURES / path.name), path.name


def test_another_picture_is_seen(walk_through):
  first, second = (walk_through.PICTURES / f"{name}.png" for name in walk_through.DRAWN[:2])
  assert walk_through.differs(first, second)


def test_every_part_of_the_page_stands_in_both_languages(walk_through):
  found = walk_through.blocks(page(walk_through))
  assert {name for name, _ in found} == {name for name, language in found if language == "ja"}
  assert sorted(found) == sorted({(name, each) for name, _ in found for each in ("en", "ja")})
