"""transformers' MarianMT with random weights: training and `generate`.

Dropout is where the paper has it.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import work

OPTIONS = work.arguments()

from collections.abc import Callable

import torch
import transformers

SIZE = work.SIZES[OPTIONS.work]


def marian() -> transformers.MarianMTModel:
  """Returns the model."""
  return transformers.MarianMTModel(
    transformers.MarianConfig(
      vocab_size=SIZE["vocab"],
      d_model=SIZE["d"],
      encoder_layers=SIZE["layers"],
      decoder_layers=SIZE["layers"],
      encoder_ffn_dim=SIZE["ff"],
      decoder_ffn_dim=SIZE["ff"],
      encoder_attention_heads=SIZE["h"],
      decoder_attention_heads=SIZE["h"],
      dropout=0.1,
      attention_dropout=0.0,
      activation_dropout=0.0,
      activation_function="relu",
      pad_token_id=work.PAD,
      bos_token_id=work.BOS,
      eos_token_id=work.EOS,
      decoder_start_token_id=work.BOS,
      forced_eos_token_id=None,
      scale_embedding=True,
      share_encoder_decoder_embeddings=True,
      tie_word_embeddings=True,
      max_position_embeddings=512,
    )
  )


def training(model: transformers.MarianMTModel) -> Callable[[], int]:
  """Returns a function that does one update for each batch."""
  model.train()
  optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9)
  batches = work.training_batches(OPTIONS.work)
  tensors = []
  for batch in batches:
    source, target = (torch.from_numpy(side).long() for side in batch)
    mask = (source != work.PAD).long()
    previous = torch.nn.functional.pad(target, (1, 0), value=work.BOS)[:, :-1]
    tensors.append((source, mask, previous, target))

  def run_round():
    for source, mask, previous, target in tensors:
      optimizer.zero_grad(set_to_none=True)
      logits = model(
        input_ids=source, attention_mask=mask, decoder_input_ids=previous, use_cache=False
      ).logits
      loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), target.flatten(), ignore_index=work.PAD, label_smoothing=0.1
      )
      loss.backward()
      optimizer.step()
    loss.item()
    return work.target_tokens(batches)

  return run_round


def search(model: transformers.MarianMTModel) -> Callable[[], int]:
  """Returns a function that does beam search; the output's length is forced."""
  model.eval()
  source = torch.from_numpy(work.pad(work.search_sources(OPTIONS.work))).long()
  length = SIZE["out"]

  def run_round():
    for _ in range(SIZE["repeats"]):
      output = model.generate(
        input_ids=source,
        attention_mask=(source != work.PAD).long(),
        num_beams=SIZE["beam"],
        min_new_tokens=length,
        max_new_tokens=length,
        length_penalty=0.6,
        early_stopping=True,
        do_sample=False,
      )
      assert output.shape[1] == length + 1, output.shape
    return SIZE["repeats"] * len(source) * length

  return run_round


def main() -> None:
  """Builds the work and serves it."""
  transformers.logging.set_verbosity_error()
  torch.set_num_threads(OPTIONS.threads)
  torch.manual_seed(0)
  kind = training if "budget" in SIZE else search
  version = f"{transformers.__version__}, torch {torch.__version__}"
  work.serve(OPTIONS, "transformers MarianMT", version, kind(marian()))


main()
