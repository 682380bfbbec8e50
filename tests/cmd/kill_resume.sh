#!/bin/sh
# Kills a training run (SIGKILL) at random instants, resumes it until it is done, and compares what
# it leaves with an uninterrupted run: adapter, head, critic, optimizer and chosen step as bytes,
# metrics line by line without times.
# usage: kill_resume.sh KILLS [FLAG ...]   further flags of the run; KILL_SEED repeats the drawn instants
set -u
kills=${1:-10}
[ $# -eq 0 ] || shift
flags=$*
seed=${KILL_SEED:-$(date +%s)}
toy=${TOY:-$SOURCE/tests/fixtures/toy}
work=$(mktemp -d "${TMPDIR:-/tmp}/dial-kill-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export XDG_CACHE_HOME="$work/cache"
echo "kill_resume: $kills kills, KILL_SEED=$seed"

train() { # out
    # shellcheck disable=SC2086
    exec "$DIAL" train --base "$toy" --source "$toy/source.jsonl" --target "$toy/target.jsonl" \
        --eval val="$toy/val.jsonl" --eval-every 7 --steps 30 --save-every 4 --lr 1e-3 \
        --critic-warmup 3 --critic-widths 8 --maps 8 --threads 1 --quiet --json \
        ${flags:---lora-r 2} --out "$1" --resume
}

# Lines that a resumed run must repeat, without what a clock or the memory tells. Lines after the
# last checkpoint are written again, so a step counts once; notes of starts and saves may differ.
metrics() { # run
    grep -E '"event":"(step|eval|end)"' "$1/metrics.jsonl" |
        sed -E 's/"(seconds|tokens_per_second|peak_memory_bytes|out)":("[^"]*"|[^,}]*),?//g'
}

left_behind() { # run: hashes of what must be equal
    (cd "$1" && find . -name '*.safetensors' -o -name adapter_config.json | LC_ALL=C sort |
        xargs sha256sum)
    grep -o '"step":[0-9]*' "$1/latest.json"
}

compare() { # run
    metrics "$1" >got.metrics
    left_behind "$1" >got.files
    stray=$(find "$1" -name '*.tmp-*')
    diff want.metrics got.metrics >metrics.diff && diff want.files got.files >files.diff &&
        [ -z "$stray" ] && return 0
    echo "kill_resume: differs from the uninterrupted run"
    : >>files.diff
    cut -c1-300 metrics.diff | head -20
    head -20 files.diff
    [ -z "$stray" ] || echo "stray files: $stray"
    exit 1
}

now() { date +%s.%N; }

begin=$(now)
(train whole) >doc 2>&1 || { echo "the uninterrupted run failed:"; cat doc; exit 1; }
length=$(echo "$begin $(now)" | awk '{ print $2 - $1 }')
metrics whole >want.metrics
left_behind whole >want.files
[ "$(grep -c '"event":"step"' want.metrics)" = 30 ] || { echo "expected 30 step lines"; exit 1; }

# Instants evenly drawn over the length of the run; each process counts that was still alive.
draws=$(awk -v n=$((kills * 6)) -v seed="$seed" -v t="$length" \
    'BEGIN { srand(seed); for (i = 0; i < n; i++) printf "%.3f\n", rand() * t }')
done_kills=0
finished=0
for instant in $draws; do
    [ $done_kills -lt "$kills" ] || break
    (train cut) >doc 2>&1 &
    pid=$!
    sleep "$instant"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    code=$?
    case $code in
    137) done_kills=$((done_kills + 1)) ;;
    0) compare cut; rm -rf cut; finished=$((finished + 1)) ;;
    *) echo "kill_resume: resuming failed with exit $code after $done_kills kills:"; cat doc; exit 1 ;;
    esac
done
(train cut) >doc 2>&1 || { echo "kill_resume: the last resume failed:"; cat doc; exit 1; }
compare cut
finished=$((finished + 1))
echo "kill_resume: $done_kills kills, $finished runs finished, all equal to the uninterrupted one"
[ $done_kills -ge "$kills" ]
