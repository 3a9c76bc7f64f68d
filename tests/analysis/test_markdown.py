"""Pages of reports: prose wraps, and everything whose line is one thing stays one line."""

from transformer_jax.analysis.markdown import table, wrapped


def test_prose_wraps_and_keeps_its_words():
  prose = " ".join(["word"] * 60)
  item = f"- {prose}"
  lines = wrapped([prose, "", item])
  paragraph, _, listed = "\n".join(lines).partition("\n\n")
  assert max(map(len, lines)) <= 100
  assert paragraph.split() == prose.split()
  assert listed.split() == item.split()
  first, *others = listed.splitlines()
  assert first.startswith("- ") and others and all(line.startswith("  w") for line in others)


def test_a_bar_in_a_cell_begins_no_other_cell():
  assert table(["row"], [["x|y"]])[-1] == "| x\\|y |"


def test_tables_headings_and_pictures_stay_one_line():
  lines = [*table(["a" * 80, "b" * 80], [[1, 2]]), "# " + "c " * 80, f"![d]({'e' * 120}.png)"]
  assert wrapped(lines) == lines
