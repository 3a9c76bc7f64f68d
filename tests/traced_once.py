"""Programs that are traced once for all runs that compute the same."""


def remembered(function, key_of):
  """Returns `function`, which is called once for each key; later calls return the same result."""
  results = {}

  def call(*args, **settings):
    key = key_of(*args, **settings)
    if key not in results:
      results[key] = function(*args, **settings)
    return results[key]

  return call


def step_key(config, model):
  """Returns what a TrainStep depends on. Settings that may change in a run are not part of it."""
  from transformer_jax.runs.same_run import CHANGEABLE

  others = {*CHANGEABLE, "init_from", "init_checkpoint"}
  train = {name: value for name, value in vars(config.train).items() if name not in others}
  return str((model, train, config.data.accumulation_steps))
