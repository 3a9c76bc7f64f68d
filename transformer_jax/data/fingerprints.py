"""SHA-256 of large files, remembered in the cache beside their size and time of change.

So a start on text of gigabytes that has not changed reads none of it.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from transformer_jax.cache_folder import cache_folder
from transformer_jax.data.progress import Progress
from transformer_jax.errors import WorkdirError
from transformer_jax.files import StrPath, atomic_write
from transformer_jax.strict_json import json_text

_LARGE = 1 << 24  # bytes: smaller files are read again, which takes a moment
_BLOCK = 1 << 18  # bytes that are read at once
# Seconds. A file that changed just now may change once more at the same time of its clock.
_SETTLED_AFTER = 2.0


def file_sha256(path: StrPath, by_content: bool = False) -> str:
  """Returns the SHA-256 of a file's bytes, in hex.

  Args:
    path: the file.
    by_content: read it, even if its size and its time of change are those of the last time.

  Raises:
    OSError: the file cannot be read.
  """
  return _facts(path, by_content)["sha256"]


def count_lines(path: StrPath) -> int | None:
  """Returns the number of a file's line feeds, as far as it is known without reading much."""
  return None if str(path).endswith(".gz") else _facts(path, False)["lines"]


def _facts(path: StrPath, by_content: bool) -> dict[str, Any]:
  return remembered_of_files([path], "bytes", lambda: _read_facts(path), by_content)


def _read_facts(path: StrPath) -> dict[str, Any]:
  """Returns the SHA-256 of a file and the number of its line feeds."""
  total, lines = hashlib.sha256(), 0
  name = os.path.basename(path)
  with open(path, "rb") as file, Progress(f"hashing {name}", _stamp(path)[0], "bytes") as progress:
    while block := file.read(_BLOCK):
      total.update(block)
      lines += block.count(b"\n")
      progress.add(len(block))
  return dict(sha256=total.hexdigest(), lines=lines)


def remembered_of_files(
  paths: Sequence[StrPath],
  name: str,
  compute: Callable[[], dict[str, Any]],
  by_content: bool = False,
) -> dict[str, Any]:
  """Returns what `compute` returns, or what it returned when the files were as they are now.

  Small files are not remembered.

  Args:
    paths: the files that the result depends on.
    name: what is computed of them.
    compute: function () -> a dict that JSON can hold, with a `sha256` among it.
    by_content: compute it in any case.

  Raises:
    OSError: a file is not there.
  """
  stamps = [_stamp(path) for path in paths]
  if sum(size for size, *_ in stamps) < _LARGE:
    return compute()
  last_change = max(max(times) for _, *times in stamps)
  is_settled = time.time() - last_change / 1e9 > _SETTLED_AFTER
  full_name = "\n".join([name, *(os.path.abspath(path) for path in paths)])
  return remembered(full_name, stamps, compute, keep=is_settled, renew=by_content)


def _stamp(path: StrPath) -> list[int]:
  """Returns the size of a file, and the times of change of its content and of its entry, in ns."""
  stat = os.stat(path)
  return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def remembered(
  name: str,
  stamp: Any,
  compute: Callable[[], dict[str, Any]],
  *,
  keep: bool = True,
  renew: bool = False,
) -> dict[str, Any]:
  """Returns what `compute` returns, or what it returned for this name and stamp before.

  A cache that is damaged or cannot be written costs only time.

  Args:
    name: what is computed.
    stamp: JSON that changes with the result.
    compute: function () -> a dict that JSON can hold, with a `sha256` among it.
    keep: remember the result.
    renew: compute it in any case.
  """
  digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
  path = cache_folder() / "fingerprints" / digest[:32]
  with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
    saved = json.loads(path.read_bytes())
    if saved["stamp"] == stamp and len(bytes.fromhex(saved["value"]["sha256"])) == 32 and not renew:
      return saved["value"]
  value = compute()
  if keep:
    with contextlib.suppress(OSError, WorkdirError):
      path.parent.mkdir(parents=True, exist_ok=True)
      atomic_write(path, json_text(dict(stamp=stamp, value=value)), durable=False)
  return value
