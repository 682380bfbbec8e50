#!/bin/sh
# dial beside TRL's RewardTrainer in one run: SmolLM2-135M, LoRA r 64 on q_proj and v_proj of all
# layers, pairs of 170 tokens, 8 pairs a step, same dtype and threads. Installs the peer into
# build/peers (PyTorch for the CPU, transformers, PEFT, TRL).
set -eu
cd "$(dirname "$0")/.."
model=$(sh demo/fetch_model.sh smollm2)
python=$(sh tests/peers/venv.sh)
mkdir -p bench/results
for dtype in bf16 f32; do
    build/dial bench --model "$model" --what train --dtype $dtype --repeat 5 --json > build/peers/dial-$dtype.json
    "$python" bench/peers/trl_reward.py "$model" $dtype 5 > build/peers/trl-$dtype.json
    "$python" bench/peers/compare.py $dtype build/peers/dial-$dtype.json build/peers/trl-$dtype.json
done | tee -a bench/results/peers.txt
