"""Shows the examples of docstrings as code on the site."""

import re
import textwrap

import griffe

EXAMPLE = re.compile(r"^Example:\n((?:[ ]+.*\n?|\n)+)", re.MULTILINE)


class ExamplesAsCode(griffe.Extension):
  """A griffe extension that fences the text of each `Example:` section."""

  def on_object(self, *, obj, **kwargs):
    """Replaces the docstring of one module, class, function or attribute."""
    del kwargs
    if obj.docstring:
      obj.docstring.value = EXAMPLE.sub(_fenced, obj.docstring.value)


def _fenced(match):
  code = textwrap.dedent(match[1]).strip("\n")
  return "Example:\n" + textwrap.indent(f"```python\n{code}\n```", "  ") + "\n\n"
