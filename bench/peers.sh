#!/bin/sh
# dial beside its peers in one run, on SmolLM2-135M, on all cores: TRL's RewardTrainer (LoRA r 64 on
# q_proj and v_proj of all layers, 8 pairs of 170 tokens a step), transformers (12 texts of 170
# tokens), llama.cpp (prompts of 170 tokens; its types BF16, Q8_0, Q4_1). Installs the peers into
# build/peers. Wants a quiet machine. A line a pair goes to bench/results/peers.txt.
set -eu
cd "$(dirname "$0")/.."
model=$(sh demo/fetch_model.sh smollm2)
python=$(sh tests/peers/venv.sh)
llama=$(sh bench/peers/llama.sh)
out=build/peers
mkdir -p bench/results $out

compare() { # what dtype peer peer's-json; dial's figure: $out/dial-WHAT-DTYPE.json
    "$python" bench/peers/compare.py "$1" "$2" "$out/dial-$1-$2.json" "$3" "$4"
}

for type in BF16 Q8_0; do
    [ -f $out/$type.gguf ] ||
        "$llama/llama-quantize" --allow-requantize "$model" $out/$type.gguf $type > $out/quantize.log 2>&1
done
ln -sf "$model" $out/Q4_1.gguf
{
    echo "$(date -u +%Y-%m-%d) $(git rev-parse --short HEAD 2> /dev/null || echo none)," \
        "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, sh bench/peers.sh:"
    for dtype in bf16 f32; do
        build/dial bench --model "$model" --what train --dtype $dtype --json > $out/dial-train-$dtype.json
        "$python" bench/peers/trl_reward.py "$model" $dtype 5 > $out/trl-$dtype.json
        compare train $dtype "TRL RewardTrainer" $out/trl-$dtype.json
        build/dial bench --model "$model" --what forward --length 170 --dtype $dtype --json \
            > $out/dial-forward-$dtype.json
        "$python" bench/peers/hf_forward.py $dtype 5 > $out/hf-$dtype.json
        compare forward $dtype transformers $out/hf-$dtype.json
    done
    for type in BF16 Q8_0 Q4_1; do
        "$llama/llama-bench" -m $out/$type.gguf -p 170 -n 0 -r 10 -t "$(nproc)" -o json \
            > $out/llama-$type.json 2> $out/llama-bench.log
        compare forward bf16 "llama.cpp $type" $out/llama-$type.json
    done
} | tee -a bench/results/peers.txt
