#!/bin/sh
# Kills `dial score --out FILE --resume` (SIGKILL) at random instants of a long file, goes on each
# time, and compares lines and summary with an uninterrupted run. Memory does not grow with the rows.
# usage: kill_score.sh KILLS ROWS     KILL_SEED repeats the drawn instants
set -u
kills=${1:-3}
rows=${2:-20000}
seed=${KILL_SEED:-$(date +%s)}
toy=$SOURCE/tests/fixtures/toy
work=$(mktemp -d "${TMPDIR:-/tmp}/dial-killscore-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export XDG_CACHE_HOME="$work/cache"
# under the address sanitizer freed blocks wait in a quarantine, by default until they are 256 MB;
# kept small, so that the memory of the process shows what the program holds
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}quarantine_size_mb=4:thread_local_quarantine_size_kb=64"
echo "kill_score: $kills kills, $rows rows, KILL_SEED=$seed"

"$DIAL" train --base "$toy" --source "$toy/source.jsonl" --target "$toy/target.jsonl" --steps 2 \
    --critic-warmup 1 --critic-widths 8 --lora-r 2 --maps 0 --select earliest --threads 1 --quiet \
    --out run >doc 2>&1 || { cat doc; exit 1; }
# bad rows, pairs of every length, ids; one row in 41 is bad
awk -v n="$rows" 'BEGIN { for (i = 0; i < n; i++)
    if (i % 41 == 7) print "{\"prompt\":\"p\",\"chosen\":\"c\"}"
    else printf "{\"id\":%d,\"prompt\":\"q%d \",\"chosen\":\"%s\",\"rejected\":\"no %d\"}\n",
                i, i % 97, substr("some words of a reply that grows", 1, 1 + i % 30), i }' >rows.jsonl

score() { # out
    exec "$DIAL" score --model run --data rows.jsonl --on-error skip --max-bad 5% --threads 1 --quiet \
        --out "$1" --summary "$1.summary" --resume
}

peak() { # pid: the largest resident set seen so far, kB
    awk '/VmHWM/ { print $2 }' "/proc/$1/status" 2>/dev/null
}

now() { date +%s.%N; }

begin=$(now)
(score whole) >doc 2>&1 &
pid=$!
first=
last=0
while kill -0 $pid 2>/dev/null; do
    kb=$(peak $pid)
    [ -z "$kb" ] || last=$kb
    if [ -z "$first" ]; then
        done_lines=$({ wc -l <whole; } 2>/dev/null || echo 0)
        [ "$done_lines" -lt $((rows / 10)) ] || first=$kb
    fi
    sleep 0.05
done
wait $pid || { echo "the uninterrupted run failed:"; cat doc; exit 1; }
length=$(echo "$begin $(now)" | awk '{ print $2 - $1 }')
[ "$(wc -l <whole)" = "$rows" ] || { echo "expected $rows lines, found $(wc -l <whole)"; exit 1; }
if [ -n "$first" ]; then
    echo "kill_score: peak memory $first kB after a tenth of the rows, $last kB at the end, $length s"
    [ "$last" -le $((first + 8192)) ] || { echo "memory grows with the rows"; exit 1; }
fi

# Each kill at an instant drawn over what is left of the work.
draws=$(awk -v n=$((kills * 8)) -v seed="$seed" -v t="$length" -v k="$kills" \
    'BEGIN { srand(seed); for (i = 0; i < n; i++) printf "%.3f\n", 0.02 + rand() * 2 * t / (k + 1) }')
done_kills=0
for instant in $draws; do
    [ $done_kills -lt "$kills" ] || break
    (score cut) >doc 2>&1 &
    pid=$!
    sleep "$instant"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    code=$?
    case $code in
    137) done_kills=$((done_kills + 1)) ;;
    0) cmp whole cut || exit 1; rm -f cut ;;
    *) echo "kill_score: going on failed with exit $code after $done_kills kills:"; cat doc; exit 1 ;;
    esac
done
[ ! -e cut ] || head -c $(($(wc -c <cut) - 3)) cut >cut.short # and cut by hand, within a line
[ ! -e cut.short ] || mv cut.short cut
(score cut) >doc 2>&1 || { echo "kill_score: the last run failed:"; cat doc; exit 1; }
cmp whole cut || exit 1
sed 's/"out":"[^"]*"//' whole.summary >a
sed 's/"out":"[^"]*"//' cut.summary >b
cmp a b || { cat a b; exit 1; }
echo "kill_score: $done_kills kills, equal to the uninterrupted file of $(wc -c <whole) bytes"
[ $done_kills -ge "$kills" ]
