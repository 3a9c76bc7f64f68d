"""Marian folders for the tests: two small SentencePiece models, one vocabulary, random arrays."""

import io
import json

import numpy as np
import sentencepiece

SOURCE_WORDS = "the a small green frog sat on mat and told his teacher about it sea is wide".split()
TARGET_WORDS = "der die ein kleiner grüner frosch saß auf matte und sagte es meer ist weit".split()
SPECIAL = ("</s>", "<unk>", ">>deu<<", ">>nld<<")  # the first ids; PAD is the last
WIDTH, HEADS, INNER, LAYERS = 64, 4, 96, 3

CONFIG = dict(
  architectures=["MarianMTModel"],
  model_type="marian",
  d_model=WIDTH,
  encoder_layers=LAYERS,
  decoder_layers=LAYERS,
  encoder_ffn_dim=INNER,
  decoder_ffn_dim=INNER,
  encoder_attention_heads=HEADS,
  decoder_attention_heads=HEADS,
  activation_function="swish",
  scale_embedding=True,
  normalize_before=False,
  normalize_embedding=False,
  add_final_layer_norm=False,
  static_position_embeddings=True,
  share_encoder_decoder_embeddings=True,
  tie_word_embeddings=True,
  max_position_embeddings=512,
  dropout=0.1,
  attention_dropout=0.0,
  activation_dropout=0.0,
  eos_token_id=0,
  bos_token_id=None,
  forced_eos_token_id=None,
  is_encoder_decoder=True,
)


def sentences(words, count, seed):
  """Returns random sentences."""
  rng = np.random.default_rng(seed)
  return [" ".join(rng.choice(words, rng.integers(2, 9))) for _ in range(count)]


def lines(count=200):
  """Returns source lines: plain, with language tokens known and unknown, unknown characters."""
  found = []
  for number, text in enumerate(sentences(SOURCE_WORDS, count, 7)):
    beginning = ("", ">>deu<< ", ">>nld<<", ">>xyz<< ", "")[number % 5]
    middle = ("", " 漢字", "", " ÿ€", " Frog!")[number // 5 % 5]
    found.append(beginning + text + middle)
  return found


def spm_model(words, seed):
  """Returns the bytes of a unigram model."""
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(sentences(words, 300, seed)),
    model_writer=model,
    model_type="unigram",
    vocab_size=60,
    hard_vocab_limit=False,
    num_threads=1,
    minloglevel=2,
  )
  return model.getvalue()


def write_tokenizer(folder):
  """Writes the tokenizer's files; returns the vocabulary, piece -> id."""
  pieces = []
  for name, words, seed in (("source", SOURCE_WORDS, 1), ("target", TARGET_WORDS, 2)):
    content = spm_model(words, seed)
    (folder / f"{name}.spm").write_bytes(content)
    processor = sentencepiece.SentencePieceProcessor(model_proto=content)
    ids = range(3, processor.vocab_size())
    # A few pieces of each model are not in the vocabulary, as in the published ones.
    pieces += [processor.id_to_piece(number) for number in ids if number % 11]
  known = [*SPECIAL, *dict.fromkeys(pieces), "<pad>"]
  vocabulary = {piece: number for number, piece in enumerate(known)}
  (folder / "vocab.json").write_text(json.dumps(vocabulary))
  (folder / "tokenizer_config.json").write_text(
    json.dumps(dict(tokenizer_class="MarianTokenizer", source_lang="eng", target_lang="deu"))
  )
  return vocabulary


def config_of(vocabulary, **settings):
  """Returns config.json as a dict."""
  size = len(vocabulary)
  ids = dict(pad_token_id=size - 1, decoder_start_token_id=size - 1)
  return {**CONFIG, "vocab_size": size, "decoder_vocab_size": size, **ids, **settings}


def random_tensors(vocabulary, seed=0):
  """Returns name -> array as `save_pretrained` writes them, with random biases everywhere."""
  rng = np.random.default_rng(seed)
  normal = lambda *shape, scale=0.2: (scale * rng.normal(size=shape)).astype(np.float32)
  size = len(vocabulary)
  tensors = {"model.shared.weight": normal(size, WIDTH), "final_logits_bias": normal(1, size)}
  tensors["model.shared.weight"][-1] = 0
  tensors["final_logits_bias"][0, -1] = 0
  for stack, attentions in (("encoder", ["self_attn"]), ("decoder", ["self_attn", "encoder_attn"])):
    for number in range(LAYERS):
      layer = f"model.{stack}.layers.{number}"
      for attention in attentions:
        for projection in "qkv":
          tensors[f"{layer}.{attention}.{projection}_proj.weight"] = normal(WIDTH, WIDTH)
          tensors[f"{layer}.{attention}.{projection}_proj.bias"] = normal(WIDTH)
        tensors[f"{layer}.{attention}.out_proj.weight"] = normal(WIDTH, WIDTH)
        tensors[f"{layer}.{attention}.out_proj.bias"] = normal(WIDTH)
      tensors[f"{layer}.fc1.weight"] = normal(INNER, WIDTH)
      tensors[f"{layer}.fc1.bias"] = normal(INNER)
      tensors[f"{layer}.fc2.weight"] = normal(WIDTH, INNER)
      tensors[f"{layer}.fc2.bias"] = normal(WIDTH)
      for norm in [*(f"{name}_layer_norm" for name in attentions), "final_layer_norm"]:
        tensors[f"{layer}.{norm}.weight"] = 1 + normal(WIDTH)
        tensors[f"{layer}.{norm}.bias"] = normal(WIDTH)
  return tensors


def write_tensors(path, tensors, dtype="F32"):
  """Writes a safetensors file by hand: the header's length, the header, the arrays."""
  header, content = {"__metadata__": {"format": "pt"}}, b""
  for name, array in tensors.items():
    raw = encoded(array, dtype)
    header[name] = dict(
      dtype=dtype, shape=list(array.shape), data_offsets=[len(content), len(content) + len(raw)]
    )
    content += raw
  text = json.dumps(header).encode()
  path.write_bytes(len(text).to_bytes(8, "little") + text + content)


def encoded(array, dtype):
  """Returns an array's bytes; bfloat16 is the upper half of a float32."""
  if dtype == "BF16":
    return (array.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
  return array.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


def write_marian(folder, tensors=None, dtype="F32", **settings):
  """Writes a whole Marian folder; returns its arrays."""
  folder.mkdir()
  vocabulary = write_tokenizer(folder)
  (folder / "config.json").write_text(json.dumps(config_of(vocabulary, **settings)))
  pad = vocabulary["<pad>"]
  generation = dict(
    num_beams=4,
    bad_words_ids=[[pad]],
    pad_token_id=pad,
    decoder_start_token_id=pad,
    eos_token_id=0,
  )
  (folder / "generation_config.json").write_text(json.dumps(generation))
  tensors = tensors or random_tensors(vocabulary)
  write_tensors(folder / "model.safetensors", tensors, dtype)
  return tensors
