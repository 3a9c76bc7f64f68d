"""The protocol of a worker of `sentences.py`; it needs nothing but Python."""

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any


def serve(translate: Callable[..., list[str]], version: str) -> None:
  """Answers requests, lines of JSON, on standard output.

  The first one has the lines; another has `single`, how many of them are translated one at a time
  (0: all at once), and the arguments of `translate` after the list of lines.
  """
  lines = json.loads(sys.stdin.readline())["lines"]
  print("{}", flush=True)
  for text in sys.stdin:
    request: dict[str, Any] = json.loads(text)
    single = request.pop("single")
    translate(lines[:1], **request)  # loads what this search needs
    start, cpu_start = time.perf_counter(), time.process_time()
    if single:
      answers = [translate([line], **request)[0] for line in lines[:single]]
    else:
      answers = translate(lines, **request)
    record = dict(
      s=time.perf_counter() - start,
      cpu_s=time.process_time() - cpu_start,
      rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
      version=version,
      answers=answers,
    )
    print(json.dumps(record), flush=True)
