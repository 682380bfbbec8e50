#!/bin/sh
# Throughput of dial on this machine, each figure beside the limit measured in the same run.
# Appends one line a case to bench/results/dial.csv, with machine and command. Wants a quiet machine.
set -eu
cd "$(dirname "$0")/.."
model=${1:-$(sh demo/fetch_model.sh smollm2)}
csv=bench/results/dial.csv
cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
mkdir -p bench/results
[ -f $csv ] || echo 'date,commit,cpu,device,dtype,case,tokens,seconds_median,tokens_per_second,gflops,limit_gflops,peak_fraction,peak_memory_bytes,command' > $csv

bench() {
    echo "dial bench $*" >&2
    build/dial bench --model "$model" "$@" --json |
        COMMAND="dial bench $*" CPU=$cpu COMMIT=$(git rev-parse --short HEAD 2> /dev/null || echo none) \
            sh bench/to_csv.sh | tee -a $csv
}

bench --what kernels
bench --what train --dtype bf16
bench --what train --dtype bf16 --lora-layers top:8 --trunk
bench --what train --dtype f32
bench --what forward --dtype bf16
bench --what forward --dtype f32
bench --what tokenize
