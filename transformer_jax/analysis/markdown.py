"""Text in Markdown, for reports."""


def table(header, rows):
  """A Markdown table; cells may be anything, numbers as they are to be shown."""
  lines = [header, ["---"] * len(header), *rows]
  return [f"| {' | '.join(map(str, line))} |" for line in lines]
