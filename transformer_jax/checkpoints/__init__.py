"""Checkpoints that are whole or absent, checked before they are trusted (floor 2).

Orbax writes the arrays; this folder decides when they count. A step is written to
`writing-<step>/`. Then the shapes of its arrays are read back, the SHA-256 of every file is
listed, and everything is fsynced. Only then is the folder renamed to `<step>/`. Older steps are
deleted after that, by a rename to `deleting-<step>/` first. So a process that is killed at any
moment leaves whole steps, and folders under these two names, which the next opening for writing
removes. Orbax restores a flipped bit without an error, so every file is compared with the list
before it is read. Files that are not listed are ignored.

    <step>/state/        the arrays, an orbax PyTree
    <step>/meta.json     step, score, whether it is temporary, and the caller's JSON
    <step>/score.json    the score, if it came after the save, and what it is a score of
    <step>/regular       marks a step that was saved as temporary and is not temporary any more
    <step>/SHA256SUMS    as `sha256sum` writes it
    damaged-<step>/      a damaged step that a resumed run skipped, put aside

Files here: `store` has the class `Checkpoints`, which uses `layout` (names on disk), `saving`,
`reading`, `scores` (which steps to keep), `arrays` (orbax), `leaves` (pytrees), `checksums`;
`averaging` averages parameters.
"""

from transformer_jax.checkpoints.averaging import average_params
from transformer_jax.checkpoints.store import Checkpoints

__all__ = ["Checkpoints", "average_params"]
