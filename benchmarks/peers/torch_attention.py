"""PyTorch's scaled_dot_product_attention, alone or in a sub-layer with its four projections.

The variant is `@HEADS`.
"""

import work

OPTIONS = work.arguments()

import torch

SIZE = work.SIZES[OPTIONS.work]


def main() -> None:
  """Forward and backward."""
  torch.set_num_threads(OPTIONS.threads)
  torch.manual_seed(0)
  batch, length, width = SIZE["batch"], SIZE["length"], SIZE["width"]
  heads = int(OPTIONS.variant.lstrip("@") or 8)
  attend = torch.nn.functional.scaled_dot_product_attention
  if OPTIONS.work.startswith("S"):
    inputs, gradient = (torch.randn(batch, length, width) for _ in range(2))
    arrays = [inputs, *(torch.randn(width, width) * width**-0.5 for _ in range(4))]

    def split(x):
      return x.view(batch, length, heads, -1).transpose(1, 2)

    def function(x, query, key, value, out):
      values = attend(split(x @ query), split(x @ key), split(x @ value))
      return values.transpose(1, 2).reshape(batch, length, width) @ out
  else:  # heads lie where the function expects them
    *arrays, gradient = (torch.randn(batch, heads, length, width // heads) for _ in range(4))
    function = attend
  for array in arrays:
    array.requires_grad_()

  def run_round():
    torch.autograd.grad(function(*arrays), arrays, gradient)
    return batch * length

  work.serve(OPTIONS, "torch scaled_dot_product_attention", torch.__version__, run_round)


main()
