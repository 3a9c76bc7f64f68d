#!/bin/sh
# All that is measured on one GPU, in at most 10 minutes: the paper's updates and search, PyTorch's
# update, the attention kernels, what heads cost.
#   PYTHON=.venv/bin/python OUT=folder sh benchmarks/gpu.sh
# Each part ends with its time limit, and what it printed until then stands in $OUT; WORK and LENGTHS are there to try the script.
PYTHON=${PYTHON:-python3}
OUT=${OUT:-gpu-results}
WORK=${WORK:-G-base,G-big,G-decode}
LENGTHS=${LENGTHS:-32,64,128,512,1024}
DTYPE=${DTYPE:-bfloat16}
# Shapes of an update; each of the paper's base takes 45 s to compile on eight cores.
BATCHES=${BATCHES:-1}
# What PyTorch does, where it is installed: compiled, in its own bfloat16 ("autocast").
TORCH=${TORCH:-G-base}
# Without these flags XLA measures the forms of each product: it did not finish G-base in 170 s.
XLA_FLAGS=${XLA_FLAGS---xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false}
export XLA_FLAGS
cd "$(dirname "$0")/.." || exit 1
mkdir -p "$OUT" || exit 1
export PYTHONPATH="$PWD:$PWD/benchmarks${PYTHONPATH:+:$PYTHONPATH}"

part() {  # name, seconds, command ...
  name=$1 seconds=$2
  shift 2
  timeout "$seconds" "$@" >"$OUT/$name.txt" 2>"$OUT/$name.err" && echo "$name: done" || echo "$name: ended with $?, see $OUT/$name.err"
  grep '^{' "$OUT/$name.txt" >"$OUT/$name.jsonl"
  grep '^|' "$OUT/$name.txt"
}

nvidia-smi >"$OUT/card.txt" 2>&1
part mfu 240 "$PYTHON" benchmarks/mfu.py --work="$WORK" --batches="$BATCHES" --rounds=5
part torch 120 "$PYTHON" benchmarks/peers/torch_transformer.py --work="$TORCH" --variant=compile --batches="$BATCHES" --rounds=5
part kernels 120 "$PYTHON" benchmarks/attention_kernels.py --dtype="$DTYPE" --lengths="$LENGTHS" --heads=1,8,32 --positions="${POSITIONS:-25600}" --rounds=5
part cost 100 "$PYTHON" -m transformer_jax cost --output="$OUT/cost" --dtype="$DTYPE" --lengths=32,128,512 --num_heads=1,2,8,32 --rounds=5
