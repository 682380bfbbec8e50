#!/bin/sh
# The server under load: SmolLM2-135M, texts of mixed lengths, one text a request, over wrk's connections.
# Prints requests a second, p50 and p99, and the tokens a second beside those of `dial score` on the same
# texts, measured before and after. Wants a quiet machine and wrk (Debian: wrk).
# usage: bench/serve.sh [MODEL] [SECONDS] [CONNECTIONS]
set -eu
cd "$(dirname "$0")/.."
command -v wrk > /dev/null || { echo "bench/serve.sh needs wrk: apt-get install wrk" >&2; exit 1; }
model=${1:-$(sh demo/fetch_model.sh smollm2)}
seconds=${2:-20}
connections=${3:-64}
dial=${DIAL:-$PWD/build/dial}
work=$(mktemp -d "${TMPDIR:-/tmp}/dial-bench-XXXXXX")
trap 'kill $pid 2> /dev/null; wait $pid 2> /dev/null; rm -rf "$work"' EXIT
pid=

# The untrained head will do: speed does not depend on its values.
"$dial" train --method base --base "$model" --source data/blimp/syntax_val.jsonl --limit-source 32 --maps 0 --quiet \
    --json --out "$work/run" > "$work/train.json"
# Reviews of 10 to 120 words, as rows for `dial score` and as bodies for the server.
sed -n 's/.*"chosen": \("[^"\\]*"\).*/{"text":\1}/p' data/nollysenti/en_test.jsonl > "$work/texts.jsonl"
sed 's/^{"text":\(.*\)}$/{"query":[\1]}/' "$work/texts.jsonl" > "$work/bodies"
cat > "$work/post.lua" << END
local body, n = {}, 0
for line in io.lines("$work/bodies") do n = n + 1; body[n] = line end
local at = 0
wrk.method, wrk.path = "POST", "/get_reward"
wrk.headers["Content-Type"] = "application/json"
function request() at = at % n + 1; return wrk.format(nil, nil, nil, body[at]) end
END

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
offline=$(offline)

"$dial" serve "$work/run" --port 0 --json --quiet > "$work/ready" &
pid=$!
while [ ! -s "$work/ready" ]; do sleep 0.1; done
url=$(grep -o 'http://[^"]*' "$work/ready")
served() { curl -s "$url/metrics" | awk '/^dial_tokens_total/ { print $2 }'; }
wrk -t 1 -c "$connections" -d 3 -s "$work/post.lua" "$url" > "$work/warm"
before=$(served)
wrk -t 1 -c "$connections" -d "$seconds" --timeout 60s --latency -s "$work/post.lua" "$url" > "$work/wrk"
after=$(served)
tokens=$(awk -v a="$after" -v b="$before" -v s="$seconds" 'BEGIN { printf "%.0f", (a - b) / s }')
offline=$(( (offline + $(offline)) / 2 )) # before and after: the machine may have changed its mind
memory=$(curl -s "$url/metrics" | awk '/^process_resident_memory_bytes/ { printf "%.0f", $2 / 1048576 }')
awk -v c="$connections" -v tokens="$tokens" -v offline="$offline" -v memory="$memory" '
    /Requests\/sec/ { rate = $2 }  / 50%/ { p50 = $2 }  / 99%/ { p99 = $2 }  /Non-2xx/ { bad = $NF }  /Socket errors/ { bad += $4 + $6 + $8 + $10 }
    END { printf "%d connections: %s requests/s, p50 %s, p99 %s, %d errors; %d tokens/s, dial score %d: share %.2f; %d MiB\n",
                 c, rate, p50, p99, bad, tokens, offline, tokens / offline, memory }' "$work/wrk"
