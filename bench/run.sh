#!/bin/sh
# Throughput of dial on this machine, each figure beside the limit measured in the same run.
# Appends one line a case to bench/results/dial.csv, with machine and command. Wants a quiet machine.
# usage: run.sh [small]     small: SmolLM2 alone
set -eu
cd "$(dirname "$0")/.."
which=${1:-all}
smollm2=$(sh demo/fetch_model.sh smollm2)
csv=bench/results/dial.csv
cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
mkdir -p bench/results
[ -f $csv ] || echo 'date,commit,cpu,device,dtype,case,tokens,seconds_median,tokens_per_second,gflops,limit_gflops,peak_fraction,peak_memory_bytes,command' > $csv

bench() { # model path, flags
    name=$1
    path=$2
    shift 2
    echo "dial bench --model $name $*" >&2
    build/dial bench --model "$path" "$@" --json |
        COMMAND="dial bench --model $name $*" CPU=$cpu \
            COMMIT=$(git rev-parse --short HEAD 2> /dev/null || echo none) sh bench/to_csv.sh |
        tee -a $csv
}

for dtype in bf16 f32; do
    bench SmolLM2-135M "$smollm2" --what train --dtype $dtype
    bench SmolLM2-135M "$smollm2" --what forward --dtype $dtype
done
bench SmolLM2-135M "$smollm2" --what forward --weights int8
bench SmolLM2-135M "$smollm2" --what train --lora-layers top:8 --trunk
bench SmolLM2-135M "$smollm2" --what prefix
bench SmolLM2-135M "$smollm2" --what train --length 4096 --batch-source 1 --batch-target 1 \
    --grad-checkpoint on --repeat 1
bench SmolLM2-135M "$smollm2" --what kernels
bench SmolLM2-135M "$smollm2" --what tokenize
sh bench/jobs.sh "$smollm2"
[ "$which" = small ] && exit
bench Gemma-3-270M "$(sh demo/fetch_model.sh gemma3)" --what train --repeat 3
bench Gemma-3-270M "$(sh demo/fetch_model.sh gemma3)" --what forward
bench Gemma-3-270M "$(sh demo/fetch_model.sh gemma3)" --what forward --weights int8
bench gemma-2b bench/shapes/gemma-2b/config.json --what train --repeat 1 --batch-source 1 --batch-target 1
