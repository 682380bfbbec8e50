#!/bin/sh
# The server under load: SmolLM2-135M, distinct reviews of 10 to 120 words, one a request, over
# wrk's connections. (Texts that repeat within a batch would be computed once.)
# Three lines:
#
#   1. SECONDS of load: requests a second, p50 and p99, refusals (429) and errors, the tokens a second
#      beside those of `dial score` on the same texts, measured before and after, and the memory of the
#      server at the start, in the middle and at the end
#   2. IDLE connections that ask nothing, held while 16 others ask
#   3. RELOADS under the load, every second by SIGHUP, the others by a moved link that the server has to notice
#
# 0 leaves a line out. Wants a quiet machine and wrk (Debian: wrk). Appends to bench/results/jobs.txt.
# usage: bench/serve.sh [MODEL] [SECONDS] [CONNECTIONS] [IDLE] [RELOADS]      default: SmolLM2, 20, 64, 10000, 50
set -eu
cd "$(dirname "$0")/.."
command -v wrk > /dev/null || { echo "bench/serve.sh needs wrk: apt-get install wrk" >&2; exit 1; }
model=${1:-$(sh demo/fetch_model.sh smollm2)}
seconds=${2:-20}
connections=${3:-64}
idle=${4:-10000}
reloads=${5:-50}
dial=${DIAL:-$PWD/build/dial}
work=$(mktemp -d "${TMPDIR:-/tmp}/dial-bench-XXXXXX")
trap 'exit 1' INT TERM
trap '{ kill $pid && wait $pid; } 2> /dev/null || true; rm -rf "$work"' EXIT
pid=
# shellcheck disable=SC3045
ulimit -n "$(ulimit -H -n)" # wrk holds the other ends; dash knows -n and -H

# The untrained head will do: speed does not depend on its values.
"$dial" train --method base --base "$model" --source data/blimp/syntax_val.jsonl --limit-source 32 --maps 0 --quiet \
    --json --out "$work/run" > "$work/train.json"
cp -r "$work/run" "$work/other"
ln -s run "$work/live"
# Reviews as rows for `dial score` and as bodies for the server.
grep -o '"\(chosen\|rejected\)": "[^"\\]*"' data/nollysenti/en_train.jsonl | sed 's/^[^:]*: //' |
    awk 'NF >= 10 && NF <= 120 && !seen[$0]++ { print "{\"text\":" $0 "}" }' > "$work/texts.jsonl"
sed 's/^{"text":\(.*\)}$/{"query":[\1]}/' "$work/texts.jsonl" > "$work/bodies"
cat > "$work/post.lua" << END
local body, n = {}, 0
for line in io.lines("$work/bodies") do n = n + 1; body[n] = line end
local at = 0
wrk.method, wrk.path = "POST", "/get_reward"
wrk.headers["Content-Type"] = "application/json"
function request() at = at % n + 1; return wrk.format(nil, nil, nil, body[at]) end
END
echo 'function delay() return 1e8 end' > "$work/silent.lua" # milliseconds until the first request

now() { date +%s.%N; }
score() { # rows: seconds
    begin=$(now)
    head -n "$1" "$work/texts.jsonl" | "$dial" score --model "$work/run" --data - --quiet --summary "$work/summary" > "$work/scores"
    echo "$begin $(now)" | awk '{ print $2 - $1 }'
}
rows=$(wc -l < "$work/texts.jsonl")
offline() { # tokens a second, start-up aside
    start=$(score 1)
    all=$(score "$rows")
    grep -o '"tokens":[0-9]*' "$work/summary" | tail -n 1 | cut -d: -f2 |
        awk -v a="$all" -v s="$start" '{ printf "%.0f", $1 / (a - s) }'
}
metric() { curl -s "$url/metrics" | awk -v name="$1" '$1 == name { printf "%.0f", $2 }'; }
memory() { echo $(($(metric process_resident_memory_bytes) / 1048576)); }
refused() { curl -s "$url/metrics" | awk '/^dial_requests_total.*code="429"/ { n += $2 } END { print n + 0 }'; }
files() { find "/proc/$pid/fd" | wc -l; }
drained() { while [ "$(metric dial_queue_texts)" != 0 ]; do sleep 0.1; done; } # what wrk left behind
post() { # connections, seconds
    wrk -t 1 -c "$1" -d "$2" --timeout 60s --latency -s "$work/post.lua" "$url"
}
errors() { # of a report of wrk; 429 is none
    awk -v refused="$1" '/Non-2xx/ { bad = $NF - refused }
        /Socket errors/ { gsub(",", ""); bad += $4 + $6 + $8 + $10 } END { print bad + 0 }' "$work/wrk"
}

[ "$seconds" = 0 ] || before=$(offline)
"$dial" serve "$work/live" --port 0 --json --quiet > "$work/ready" 2> "$work/log" &
pid=$!
while [ ! -s "$work/ready" ]; do sleep 0.1; done
url=$(grep -o 'http://[^"]*' "$work/ready")
post "$connections" 5 > "$work/wrk"
drained

load() {
    # A batch is counted when it is computed: from an empty queue to an empty queue nothing is counted by halves.
    start=$(memory)
    was=$(refused)
    tokens=$(metric dial_batch_tokens_sum)
    begin=$(now)
    post "$connections" "$seconds" > "$work/wrk" &
    wrk=$!
    sleep $((seconds / 2))
    middle=$(memory)
    wait $wrk
    end=$(memory)
    drained
    took=$(echo "$begin $(now)" | awk '{ print $2 - $1 }')
    tokens=$(($(metric dial_batch_tokens_sum) - tokens))
    was=$(($(refused) - was))
    after=$(offline) # the machine may have changed its mind
    awk -v c="$connections" -v s="$seconds" -v rate="$(echo "$tokens $took" | awk '{ print $1 / $2 }')" -v before="$before" \
        -v after="$after" -v refused="$was" -v bad="$(errors "$was")" -v memory="$start, $middle, $end" '
        /Requests\/sec/ { requests = $2 }  / 50%/ { p50 = $2 }  / 99%/ { p99 = $2 }
        END { printf "  %d connections, %d s: %s requests/s, p50 %s, p99 %s, %d refused, %d errors; ", c, s, requests, p50, p99, refused, bad
              printf "%.0f tokens/s, dial score %d before and %d after: share %.2f; %s MiB\n", rate, before, after,
                     2 * rate / (before + after), memory }' "$work/wrk"
}

held() {
    own=$(files)
    wrk -t 1 -c "$idle" -d 60 -s "$work/silent.lua" "$url" > "$work/silent" & # less than the 75 s of silence allowed
    silent=$!
    for _ in $(seq 100); do [ $(($(files) - own)) -lt "$idle" ] || break; sleep 0.1; done
    first=$(($(files) - own))
    was=$(refused)
    post 16 20 > "$work/wrk"
    bad=$(errors $(($(refused) - was)))
    last=$(($(files) - own))
    end=$(memory)
    wait $silent
    awk -v first="$first" -v last="$last" -v bad="$bad" -v end="$end" '
        /Requests\/sec/ { requests = $2 }  / 99%/ { p99 = $2 }
        END { printf "  %d idle connections beside 16 that ask for 20 s: %s requests/s, p99 %s, %d errors, %d held at the end, %d MiB\n",
                     first, requests, p99, bad, last, end }' "$work/wrk"
}

reload() {
    drained
    was=$(refused)
    wrk -t 1 -c "$connections" -d 3600 --timeout 60s -s "$work/post.lua" "$url" > "$work/wrk" & # until it is told to stop
    wrk=$!
    begin=$(now)
    start=$(memory)
    for i in $(seq "$reloads"); do
        if [ $((i % 2)) = 0 ]; then
            kill -HUP $pid
        else
            ln -s "$([ $((i % 4)) = 1 ] && echo other || echo run)" "$work/next"
            mv -T "$work/next" "$work/live"
        fi
        while [ "$(metric dial_reloads_total)" -lt "$i" ]; do sleep 0.05; done
    done
    kill -INT $wrk # it reports
    wait $wrk || true
    was=$(($(refused) - was))
    awk -v c="$connections" -v s="$(echo "$begin $(now)" | awk '{ print $2 - $1 }')" -v refused="$was" -v bad="$(errors "$was")" \
        -v reloads="$reloads" -v failed="$(metric dial_reloads_failed_total)" -v start="$start" -v end="$(memory)" '
        / requests in / { n = $1 }
        END { printf "  %d reloads (%d failed) in %.0f s under %d connections: %d requests, %d refused, %d errors; %d, then %d MiB\n",
                     reloads, failed, s, c, n, refused, bad, start, end }' "$work/wrk"
}

mkdir -p bench/results
{
    echo "$(date -u +%Y-%m-%d) $(git rev-parse --short HEAD 2> /dev/null || echo none)," \
        "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, sh bench/serve.sh:"
    [ "$seconds" = 0 ] || load
    [ "$idle" = 0 ] || held
    [ "$reloads" = 0 ] || reload
} | tee -a bench/results/jobs.txt
