"""Searches with a random model; prints tokens, score and whether it is finished of each answer.

    python tests/runs/search_on_devices.py [COORDINATOR NUM_PROCESSES PROCESS_ID]

The test beside it runs this with different numbers of devices and processes, which must agree.
"""

import json
import sys

import jax
import numpy as np

from transformer_jax import parallel

VOCAB, WIDTH, SENTENCES = 12, 16, 100
BATCH_TOKENS = 160 * WIDTH  # 40 rows of each of four devices are more than go on to the end


def main():
  """Prints a line for each sentence, in each process."""
  if len(sys.argv) > 1:
    coordinator, num_processes, process_id = sys.argv[1:]
    parallel.start_up(coordinator, int(num_processes), int(process_id))
  else:
    parallel.start_up()
  from transformer_jax.config import EOS_ID, Config
  from transformer_jax.decoding.generate import Source, generate
  from transformer_jax.model.transformer import Transformer
  from transformer_jax.runs.search import make_decode_batch

  config = Config().replace(
    num_layers=1,
    d_model=16,
    d_ff=24,
    num_heads=2,
    d_k=8,
    d_v=8,
    attention_kernel="xla",
    embedding_sharing="none",
    beam_size=2,
    max_extra_length=40,
  )
  model = Transformer(config.model, VOCAB, VOCAB)
  example = np.ones((1, WIDTH), np.int32)
  params = jax.jit(model.init)(jax.random.key(1), example, example)["params"]
  # Sharper distributions than an untrained model has.
  params = jax.tree.map(lambda x: 3.0 * x if x.ndim > 1 else x, params)
  rng = np.random.default_rng(4)
  lengths = rng.integers(0, WIDTH, SENTENCES)
  sources = [Source([*rng.integers(2, VOCAB, length).tolist(), EOS_ID]) for length in lengths]
  n_best_lists = generate(
    sources,
    make_decode_batch(model, config.decode)(parallel.replicate(params)),
    batch_tokens=BATCH_TOKENS,
    max_extra_length=40,
    beam_size=2,
    row_multiple=parallel.num_devices(),
    own_rows=parallel.own_rows,
  )
  for best, *_ in n_best_lists:
    print(json.dumps([best.tokens, best.score, best.is_finished]), flush=True)


if __name__ == "__main__":
  main()
