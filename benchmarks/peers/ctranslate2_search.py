"""CTranslate2's beam search with random weights; variant: float32, int8 or int16."""

import work

OPTIONS = work.arguments()

import tempfile

import ctranslate2
import numpy as np
from ctranslate2.specs import Activation, TransformerSpec

SIZE = work.SIZES[OPTIONS.work]
WORDS = ["<pad>", "<s>", "</s>", "<unk>", *(f"t{i}" for i in range(4, SIZE["vocab"]))]


def random_spec() -> TransformerSpec:
  """Returns a post-norm Transformer of the work's size."""
  d = SIZE["d"]
  rng = np.random.default_rng(0)

  def matrix(rows, columns):
    return (rng.standard_normal((rows, columns)) * columns**-0.5).astype(np.float32)

  def linear(layer, outputs, inputs):
    layer.weight = matrix(outputs, inputs)
    layer.bias = np.zeros(outputs, np.float32)

  def norm(layer):
    layer.gamma = np.ones(d, np.float32)
    layer.beta = np.zeros(d, np.float32)

  def attention(layer, widths):
    for part, width in zip(layer.linear, widths, strict=True):
      linear(part, width, d)
    norm(layer.layer_norm)

  def feed_forward(layer):
    linear(layer.linear_0, SIZE["ff"], d)
    linear(layer.linear_1, d, SIZE["ff"])
    norm(layer.layer_norm)

  spec = TransformerSpec.from_config(
    (SIZE["layers"], SIZE["layers"]), SIZE["h"], pre_norm=False, activation=Activation.RELU
  )
  embedding = matrix(SIZE["vocab"], d)
  angles = np.arange(512)[:, None] * np.exp(np.arange(0, d, 2) * (-np.log(10_000) / d))
  sinusoids = np.hstack([np.sin(angles), np.cos(angles)]).astype(np.float32)
  spec.encoder.embeddings[0].weight = embedding
  spec.decoder.embeddings.weight = embedding
  spec.decoder.projection.weight = embedding
  spec.decoder.projection.bias = np.zeros(SIZE["vocab"], np.float32)
  spec.encoder.position_encodings.encodings = sinusoids
  spec.decoder.position_encodings.encodings = sinusoids
  for layer in spec.encoder.layer:
    attention(layer.self_attention, (3 * d, d))
    feed_forward(layer.ffn)
  for layer in spec.decoder.layer:
    attention(layer.self_attention, (3 * d, d))
    attention(layer.attention, (d, 2 * d, d))
    feed_forward(layer.ffn)
  spec.register_source_vocabulary(WORDS)
  spec.register_target_vocabulary(WORDS)
  spec.config.add_source_bos = False
  spec.config.add_source_eos = False
  spec.config.decoder_start_token = "<s>"
  spec.validate()
  return spec


def main() -> None:
  """Searches with the output's length forced."""
  with tempfile.TemporaryDirectory() as folder:
    random_spec().save(folder)
    translator = ctranslate2.Translator(
      folder,
      device="cpu",
      compute_type=OPTIONS.variant or "float32",
      inter_threads=1,
      intra_threads=OPTIONS.threads,
    )
  sources = [[WORDS[i] for i in source] for source in work.search_sources(OPTIONS.work)]
  length = SIZE["out"]

  def run_round():
    for _ in range(SIZE["repeats"]):
      results = translator.translate_batch(
        sources,
        beam_size=SIZE["beam"],
        length_penalty=0.6,
        min_decoding_length=length,
        max_decoding_length=length,
      )
      assert all(len(result.hypotheses[0]) == length for result in results)
    return SIZE["repeats"] * len(sources) * length

  work.serve(OPTIONS, f"CTranslate2 {translator.compute_type}", ctranslate2.__version__, run_round)


main()
