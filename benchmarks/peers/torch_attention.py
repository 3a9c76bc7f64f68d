"""PyTorch's scaled_dot_product_attention, alone or in a sub-layer with its four projections; variant `@HEADS`."""

import work

OPTIONS = work.arguments()

import torch

SIZE = work.SIZES[OPTIONS.work]


def main():
  """Forward and backward."""
  torch.set_num_threads(OPTIONS.threads)
  torch.manual_seed(0)
  batch, length, width, heads = (
    SIZE["batch"],
    SIZE["length"],
    SIZE["width"],
    int(OPTIONS.variant.lstrip("@") or 8),
  )
  attend = torch.nn.functional.scaled_dot_product_attention
  if OPTIONS.work.startswith("S"):
    inputs, slope = (torch.randn(batch, length, width) for _ in range(2))
    arrays = [inputs, *(torch.randn(width, width) * width**-0.5 for _ in range(4))]
    split = lambda x: x.view(batch, length, heads, -1).transpose(1, 2)
    function = lambda x, q, k, v, o: (
      attend(*(split(x @ matrix) for matrix in (q, k, v)))
      .transpose(1, 2)
      .reshape(batch, length, width)
      @ o
    )
  else:  # heads lie as it wants them
    *arrays, slope = (torch.randn(batch, heads, length, width // heads) for _ in range(4))
    function = attend
  for array in arrays:
    array.requires_grad_()

  def run_round():
    torch.autograd.grad(function(*arrays), arrays, slope)
    return batch * length

  work.serve(OPTIONS, "torch scaled_dot_product_attention", torch.__version__, run_round)


main()
