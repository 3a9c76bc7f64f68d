"""Module names of version 0.3.0 and older, which scripts may still import (floor 0)."""

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
import warnings
from collections.abc import Sequence

_PACKAGE = "transformer_jax."
# Old name -> new name. An old name that a folder has now cannot be served.
MOVED = {
  "attention.products": "attention.matmul",
  "analysis.ablation_results": "analysis.ablation.results",
  "analysis.ablation_table": "analysis.ablation.report",
  "analysis.attention_figures": "analysis.attention.figures",
  "analysis.attention_maps": "analysis.attention.maps",
  "analysis.attention_page": "analysis.attention.page",
  "analysis.attention_report": "analysis.attention.report",
  "analysis.cost_report": "analysis.cost.report",
  "analysis.cost_study": "analysis.cost.study",
  "analysis.formula_checks": "analysis.verify.formulas",
  "analysis.hardware": "machine",
  "analysis.head_cost": "analysis.cost.heads",
  "analysis.head_importance": "analysis.heads.importance",
  "analysis.head_report": "analysis.heads.report",
  "analysis.layer_cost": "analysis.cost.layers",
  "analysis.model_checks": "analysis.verify.model",
  "analysis.paper_facts": "analysis.verify.facts",
  "analysis.stopwatch": "analysis.timing",
  "data.bpe": "data.tokenizers.bpe",
  "data.coming_lines": "data.line_stream",
  "data.grammar": "data.sources.grammar",
  "data.numbers": "data.sources.numbers",
  "data.parallel_text": "data.sources.parallel_text",
  "data.parsing_tokenizer": "data.tokenizers.parsing",
  "data.tfds_source": "data.sources.tfds",
  "data.tokenizer_folder": "data.tokenizers.folder",
  "data.treebank": "data.sources.treebank",
  "integrity": "checkpoints.checksums",
  "metrics.labelled_f1": "metrics.labeled_f1",
  "model.products": "attention.matmul",
  "runs.lock": "workdir.lock",
  "runs.overview": "runs.startup_report",
  "runs.roll_call": "runs.watchdog",
  "runs.signals": "runs.stop_signals",
  "runs.tensorboard": "workdir.tensorboard",
  "runs.translator": "runs.trained_model",
  "runs.workdir": "workdir.folder",
  "tasks.output": "tasks.task",
}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
  """Finds a module by its old name. It is asked last, so it costs other imports nothing."""

  def find_spec(
    self,
    fullname: str,
    path: Sequence[str] | None,  # noqa: ARG002  the protocol of finders
    target: types.ModuleType | None = None,  # noqa: ARG002
  ) -> importlib.machinery.ModuleSpec | None:
    """Returns a spec for an old name, else None."""
    if fullname.startswith(_PACKAGE) and fullname.removeprefix(_PACKAGE) in MOVED:
      return importlib.machinery.ModuleSpec(fullname, self)
    return None

  def exec_module(self, module: types.ModuleType) -> None:
    """Puts the module of the new name in the place of `module`, and warns."""
    old = module.__name__
    new = _PACKAGE + MOVED[old.removeprefix(_PACKAGE)]
    warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=2)
    sys.modules[old] = importlib.import_module(new)


def serve_old_names() -> None:
  """Makes the old names importable."""
  sys.meta_path.append(_Finder())
