"""transformer_jax: "Attention Is All You Need" (Vaswani et al. 2017) in JAX.

Array names end in their axes: B batch, T target or query length, S source or key length, H heads, K d_k, V d_v,
D d_model, F d_ff, C vocabulary, M beams. So `query_BTHK` is [batch, length, heads, d_k].

    model = transformer_jax.load("runs/quickstart")     # a trained run
    model.translate(["forty two"])                      # ["zweiundvierzig"]
    model.attention("forty two")["cross"]               # weights [layers, heads, T, S]

Importing this package loads no jax; `load` does.
"""

__version__ = "0.3.0"


def load(workdir, **settings):
  """Loads a trained run for translating and looking inside.

  Args:
    workdir: folder of the run.
    **settings: decoding settings that override the run's, such as beam_size=1 or average_last=5.

  Returns:
    A `transformer_jax.runs.trained_model.TrainedModel`.
  """
  from transformer_jax.runs.trained_model import TrainedModel

  return TrainedModel.load(workdir, **settings)
