"""Tables are written between their comments, and nowhere else."""

import json

import pytest
from made_up import RUN, a_parse, a_run, put

from transformer_jax.analysis.results import pages, rows
from transformer_jax.errors import DataError

END = "<!-- end of results -->"


@pytest.fixture
def written(tmp_path):
  """A function that writes a page and returns its text, and whether it changed."""
  put(tmp_path / "results", a_run(), a_parse())
  found = rows.read(tmp_path / "results", lambda _: RUN["settings_sha256"])
  page = tmp_path / "docs" / "page.md"
  page.parent.mkdir()

  def write(text):
    page.write_text(text)
    is_new = pages.write(page, found, dict(s=dict(speed={})), tmp_path / "results")
    return page.read_text(), is_new

  return write


def test_only_what_stands_between_the_comments_changes(written):
  old = f"# A\n\n<!-- results long: translation/a -->\nold\n{END}\nb\n"
  begin, rest = old.split("old")
  text, is_new = written(f"{old}{old}")
  assert is_new and "old" not in text and text.count("| **36.00** |") == 2
  assert text.startswith(f"{begin}\n| experiment | ") and text.endswith(f"`\n\n{rest[1:]}")
  assert written(text) == (text, False)
  assert written("no table\n") == ("no table\n", False)


def test_names_are_experiments_or_folders_of_them(written):
  text, _ = written(f"<!-- results short: parsing/ translation/a -->\n{END}\n")
  first, second = [line for line in text.splitlines() if "**" in line]
  assert "`parsing/p.flags`" in first and "`translation/a.flags`" in second
  assert "](../results/r-seed1-1.json)" in first and "| -- | -- | -- |" in text


def test_the_table_of_an_ablation(written, tmp_path):
  difference = dict(value=1.5, seed_p=0.03, beyond_seed_noise=True, sign_agrees=True)
  scores = dict(
    perplexity=dict(mean=18.5, sd=0.25), bleu=dict(mean=8.0, sd=None), seeds=3, differences={}
  )
  base = dict(scores, name="base", score="bleu", perplexity_difference=None)
  other = dict(base, name="A", perplexity_difference=difference, differences=dict(d_k=4))
  table = dict(rows=[base, other, dict(base, name="not run", seeds=0)])
  (tmp_path / "docs/table.json").write_text(json.dumps(table))
  text, _ = written(f"<!-- results ablation: table.json -->\n{END}\n")
  assert "| base | - | 3 | 18.500 +- 0.250 | 8.00 | - | - | - |" in text
  assert "| A | d_k=4 | 3 | 18.500 +- 0.250 | 8.00 | +1.500 | yes (p = 0.030) | yes |" in text
  assert "not run" not in text
  (tmp_path / "docs/table.json").write_text("{}")
  with pytest.raises(DataError, match=r"table\.json: is not the table of an ablation"):
    written(text)


@pytest.mark.parametrize(
  "text, problem",
  [
    ("<!-- results long: translation/a -->\n", r"page\.md:1: begins a table that does not end"),
    (f"a\n{END}\n", r"page\.md:2: begins or ends a table inside or outside of one"),
    ("<!-- results long: parsing/ -->\n" * 2, r"page\.md:2: begins or ends a table inside"),
    (f"<!-- results long: none -->\n{END}\n", "has a table of none, of which there is no result"),
    (f"<!-- results long: none/ -->\n{END}\n", "has a table of none/, of which there is no"),
    (f"<!-- results ablation: a.json b.json -->\n{END}\n", "has an ablation of 2 tables"),
    (f"<!-- results long: s -->\n{END}\n", "has the speed s in a long table; put it in a short"),
  ],
)
def test_comments_that_are_wrong_are_named(written, text, problem):
  with pytest.raises(DataError, match=problem):
    written(text)


def test_what_the_jsons_do_not_say(tmp_path):
  assert pages.read_about(tmp_path) == {}
  for text in ("{", "[]", "[" * 100_000):
    (tmp_path / "about.json").write_text(text)
    with pytest.raises(DataError, match=r"about\.json: is not"):
      pages.read_about(tmp_path)


@pytest.mark.parametrize(
  "about",
  [
    1,
    dict(sets=[]),
    dict(sets=dict(test=3)),
    dict(sets=dict(test=dict(published=3))),
    dict(sets=dict(test=dict(published=dict(score=3)))),
    dict(speed={}),
    dict(speed=3),
  ],
)
def test_what_is_wrong_beside_the_jsons_is_named(tmp_path, about):
  (tmp_path / "about.json").write_text(json.dumps(dict(x=about)))
  with pytest.raises(DataError, match=r"about\.json: x: "):
    pages.read_about(tmp_path)


def test_a_page_keeps_its_line_ends(tmp_path):
  put(tmp_path / "results", a_run())
  found = rows.read(tmp_path / "results", lambda _: RUN["settings_sha256"])
  page = tmp_path / "page.md"
  old = f"a\rb\r\n<!-- results long: translation/a -->\r\n{END}\r\nc\n"
  page.write_bytes(old.encode())
  assert pages.write(page, found, {}, tmp_path / "results")
  begin, table, end = page.read_bytes().partition(b"| -- | -- |")
  assert begin.startswith(b"a\rb\r\n<!--") and end.endswith(f"{END}\r\nc\n".encode())
  assert table and b"|\r\n" in end and b"|\n" not in end
  assert not pages.write(page, found, {}, tmp_path / "results")
