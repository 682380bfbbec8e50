#!/bin/sh
# Whole jobs: how long `dial score` takes from start to its first score (file cache warm), what
# --dry-run foretells of a run beside what it took, and the same run by as many processes of one
# thread (mpirun). Appends to bench/results/jobs.txt.
# usage: jobs.sh MODEL
set -eu
cd "$(dirname "$0")/.."
model=$1
work=$(mktemp -d "${TMPDIR:-/tmp}/dial-jobs-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p bench/results

number() { # key file
    grep -o "\"$1\":[0-9.e+]*" "$2" | tail -n 1 | sed 's/.*://'
}
seconds() { # file of a run's document
    grep -o '"seconds":[0-9.]*' "$1" | head -n 1 | sed 's/.*://'
}

flags="--base $model --source data/nollysenti/en_train.jsonl --target data/nollysenti/yo_train.jsonl
       --steps 12 --critic-warmup 0 --save-every 12 --maps 0 --quiet --json"
# shellcheck disable=SC2086
build/dial train $flags --dry-run --out "$work/run" > "$work/plan"
# shellcheck disable=SC2086
build/dial train $flags --out "$work/run" > "$work/done"
sed 's/.*"memory"://' "$work/plan" > "$work/memory"
ranks=$(nproc)
if command -v mpirun > /dev/null; then
    # shellcheck disable=SC2086
    OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl_vader_single_copy_mechanism=none \
        mpirun --bind-to none --oversubscribe -n "$ranks" build/dial train $flags --threads 1 --out "$work/ranks" \
        > "$work/shared"
fi
best=$(for i in 1 2 3 4 5 6 7 8 9 10; do
    begin=$(date +%s.%N)
    build/dial score --model "$work/run" --response 'The set was plain and the story held.' > "$work/score" 2>&1
    echo "$begin $(date +%s.%N)" | awk '{ print $2 - $1 }'
done | sort -n | head -n 1)
{
    echo "$(date -u +%Y-%m-%d) $(git rev-parse --short HEAD 2> /dev/null || echo none)," \
        "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores:"
    echo "  process start to first score: $best s (best of 10)"
    awk -v m="$(grep -o '"total":[0-9]*' "$work/memory" | head -n 1 | sed 's/.*://')" \
        -v peak="$(number peak_memory_bytes "$work/done")" -v t="$(number total_seconds "$work/plan")" \
        -v took="$(seconds "$work/done")" 'BEGIN {
        printf "  --dry-run, 12 steps: %.0f MB foretold, %.0f MB at the peak (%+.1f %%); ", m / 1e6, peak / 1e6,
               100 * (m / peak - 1)
        printf "%.1f s foretold, %.1f s taken (%+.1f %%)\n", t, took, 100 * (t / took - 1)
    }'
    [ ! -s "$work/shared" ] || echo "$(seconds "$work/done") $(seconds "$work/shared")" |
        awk -v n="$ranks" '{ printf "  the same by mpirun -n %d, a thread each: %.1f s, %.2f times the speed of one process\n",
                             n, $2, $1 / $2 }'
} | tee -a bench/results/jobs.txt
