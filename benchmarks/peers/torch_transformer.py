"""PyTorch's own nn.Transformer, eager, or compiled (variant `compile`).

Dropout is where the paper has it.
"""

import work

OPTIONS = work.arguments()

import math

import torch
from torch import nn

SIZE = work.SIZES[OPTIONS.work]
DEVICE = "cuda" if torch.cuda.is_available() and OPTIONS.work.startswith("G") else "cpu"
IS_COMPILED = OPTIONS.variant == "compile"


class Translator(nn.Module):
  """One matrix for both embeddings and the logits, sinusoids, nn.Transformer."""

  def __init__(self) -> None:
    super().__init__()
    d = SIZE["d"]
    self.embedding = nn.Embedding(SIZE["vocab"], d, padding_idx=work.PAD)
    nn.init.normal_(self.embedding.weight, std=d**-0.5)
    self.transformer = nn.Transformer(
      d, SIZE["h"], SIZE["layers"], SIZE["layers"], SIZE["ff"], dropout=0.1, batch_first=True
    )
    for layer in (*self.transformer.encoder.layers, *self.transformer.decoder.layers):
      # Inside the feed-forward network and on attention weights: not in the paper.
      layer.dropout.p = 0.0
      layer.self_attn.dropout = 0.0
      if hasattr(layer, "multihead_attn"):
        layer.multihead_attn.dropout = 0.0
    frequencies = torch.exp(torch.arange(0, d, 2) * (-math.log(10_000) / d))
    angles = torch.arange(512.0)[:, None] * frequencies
    self.register_buffer("positions", torch.stack([angles.sin(), angles.cos()], -1).flatten(1))
    self.dropout = nn.Dropout(0.1)

  def embed(self, tokens: torch.Tensor) -> torch.Tensor:
    """Returns embeddings plus positions."""
    vectors = self.embedding(tokens) * math.sqrt(SIZE["d"])
    return self.dropout(vectors + self.positions[: tokens.shape[1]])

  def forward(
    self, source: torch.Tensor, previous: torch.Tensor, target: torch.Tensor
  ) -> torch.Tensor:
    """Returns the mean smoothed cross-entropy."""
    length = previous.shape[1]
    padding = source == work.PAD
    future = torch.ones(length, length, dtype=torch.bool, device=source.device).triu(1)
    outputs = self.transformer(
      self.embed(source),
      self.embed(previous),
      tgt_mask=future,
      tgt_is_causal=True,
      src_key_padding_mask=padding,
      memory_key_padding_mask=padding,
    )
    logits = outputs @ self.embedding.weight.T
    return nn.functional.cross_entropy(
      logits.flatten(0, 1), target.flatten(), ignore_index=work.PAD, label_smoothing=0.1
    )


def main() -> None:
  """Trains on the round's batches."""
  torch.set_num_threads(OPTIONS.threads)
  torch.manual_seed(0)
  model = Translator().to(DEVICE)
  optimizer = torch.optim.Adam(
    model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9, fused=IS_COMPILED or None
  )
  loss_of = torch.compile(model) if IS_COMPILED else model
  batches = work.training_batches(OPTIONS.work)
  tensors = []
  for batch in batches:
    source, target = (torch.from_numpy(side).long().to(DEVICE) for side in batch)
    previous = nn.functional.pad(target, (1, 0), value=work.BOS)[:, :-1]
    tensors.append((source, previous, target))

  is_bfloat16 = SIZE.get("dtype") == "bfloat16"

  def run_round():
    for batch in tensors:
      optimizer.zero_grad(set_to_none=True)
      with torch.autocast(DEVICE, torch.bfloat16, enabled=is_bfloat16):
        loss = loss_of(*batch)
      loss.backward()
      optimizer.step()
    loss.item()
    return work.target_tokens(batches)

  work.serve(
    OPTIONS,
    "torch nn.Transformer",
    torch.__version__,
    run_round,
    flop=work.training_flops(OPTIONS.work, batches),
  )


main()
