"""Arrays in a page: their bytes one after another, deflated, in base64."""

import base64
import zlib

import numpy as np


class PackedArrays:
  """Arrays one after another, as bytes. The page's script unpacks them."""

  def __init__(self) -> None:
    self._blocks: list[bytes] = []
    self._length = 0

  def add(self, array: np.ndarray | bytes) -> int:
    """Appends an array, or bytes; returns the byte at which it begins."""
    begin = self._length
    content = array if isinstance(array, bytes) else array.tobytes()
    content += b"\0" * (-len(content) % 4)  # so that the next array is aligned
    self._blocks.append(content)
    self._length += len(content)
    return begin

  def packed(self) -> str:
    """Returns all arrays, deflated, in base64."""
    return base64.b64encode(zlib.compress(b"".join(self._blocks), 9)).decode()
