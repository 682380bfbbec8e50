#!/bin/sh
# dial serve beside servers of its kind: the same model (SmolLM2-135M, exported by dial, bf16), the same TEXTS (distinct
# reviews of 10 to 120 words) over the same 16 connections of curl, one server at a time on all cores:
#
#   transformers + FastAPI   rewards from /get_reward, a batch a request (bench/peers/fastapi_server.py)
#   llama-server             embeddings of the last token from /v1/embeddings: its rank head takes no model of this
#                            family (docs/interfaces.md 4.4); BF16 and Q8_0
#
# in requests of one text and of eight, from the first request to the last answer. A line a pair goes to
# bench/results/peers.txt. Wants a quiet machine.
# usage: bench/serve_peers.sh [TEXTS] [PEERS]      default: 400, "fastapi BF16 Q8_0"
set -eu
cd "$(dirname "$0")/.."
texts=${1:-400}
peers=${2:-fastapi BF16 Q8_0}
connections=16
model=$(sh demo/fetch_model.sh smollm2)
python=$(sh tests/peers/venv.sh)
llama=$(sh bench/peers/llama.sh)
dial=${DIAL:-$PWD/build/dial}
port=8047
out=build/peers/serve
work=$(mktemp -d "${TMPDIR:-/tmp}/dial-bench-XXXXXX")
trap 'exit 1' INT TERM
trap '{ kill $pid && wait $pid; } 2> /dev/null || true; rm -rf "$work"' EXIT
pid=

# The untrained head will do: speed does not depend on its values. No EOS: the peers do not append one.
mkdir -p $out
[ -f $out/run/dial.json ] ||
    "$dial" train --method base --base "$model" --source data/blimp/syntax_val.jsonl --limit-source 32 --eos never --maps 0 \
        --quiet --json --out $out/run > "$work/train.json"
[ -f $out/hf/config.json ] || "$dial" export --model $out/run --to hf --dtype bf16 --out $out/hf --json --quiet > "$work/export.json"
[ -f $out/BF16.gguf ] || "$dial" export --model $out/run --to gguf --dtype bf16 --out $out/BF16.gguf --json --quiet > "$work/export.json"

# One text a line, eight a line. A fixed shuffle: any part of them is like the whole.
grep -o '"\(chosen\|rejected\)": "[^"\\]*"' data/nollysenti/en_train.jsonl | sed 's/^[^:]*: //' |
    awk 'BEGIN { srand(1) } NF >= 10 && NF <= 120 && !seen[$0]++ { print rand() "\t" $0 }' | sort -n | cut -f 2- | head -n "$texts" > "$work/1"
paste -d, - - - - - - - - < "$work/1" | sed 's/,*$//' > "$work/8"

begin() { # command: a server on $port
    "$@" > "$work/out" 2> "$work/err" &
    pid=$!
    until curl -sf "http://127.0.0.1:$port/health" > "$work/health"; do
        kill -0 $pid || { tail -n 5 "$work/err" >&2; exit 1; }
        sleep 0.2
    done
}
end() { kill $pid; wait $pid || true; pid=; }
ask() { # route, key, texts a request, file for the answers' codes and seconds, and the seconds of all
    first "$1" "$2" > "$work/warm"
    rm -rf "$work/body"
    mkdir "$work/body"
    awk -v url="http://127.0.0.1:$port$1" -v key="$2" -v body="$work/body" '
        { print "{\"" key "\":[" $0 "]}" > (body "/" NR); close(body "/" NR)
          printf "%surl = %s\ndata = \"@%s/%d\"\nheader = \"Content-Type: application/json\"\noutput = /dev/null\n", (NR > 1 ? "next\n" : ""), url, body, NR
          print "write-out = \"%{http_code} %{time_total}\\n\"" }' "$work/$3" > "$work/config"
    begin=$(date +%s.%N)
    curl -s --no-progress-meter -Z --parallel-immediate --parallel-max $connections -K "$work/config" > "$4"
    echo "all $(echo "$begin $(date +%s.%N)" | awk '{ print $2 - $1 }')" >> "$4"
}
first() { # route, key: the numbers of the answer to the first text, one a line
    curl -s "http://127.0.0.1:$port$1" -H 'Content-Type: application/json' -d "{\"$2\":[$(head -n 1 "$work/1")]}" |
        grep -o '"\(rewards\|embedding\)":\[[^]]*' | sed 's/.*\[//' | tr , '\n'
}
same() { # ours, theirs, a limit: the cosine of the two (of single numbers: 1 less their distance)
    paste "$1" "$2" | awk -v limit="$3" '{ ab += $1 * $2; aa += $1 * $1; bb += $2 * $2; d = $1 - $2; n++ }
        END { x = n > 1 ? ab / sqrt(aa * bb) : 1 - (d < 0 ? -d : d); if (!(x > limit)) { print "not the same model: " x; exit 1 } }' >&2
}
figures() { # file of ask: texts/s, p50 and p99 in milliseconds, requests that failed
    grep -v all "$1" | sort -n -k 2 | awk -v all="$(awk '/all/ { print $2 }' "$1")" -v texts="$(wc -l < "$work/1")" '
        { bad += $1 != 200; s[NR] = 1000 * $2 }
        END { printf "%.1f %.0f %.0f %d", texts / all, s[int((NR + 1) / 2)], s[int(0.99 * NR + 0.5)], bad }'
}
compare() { # name, texts a request, ours, theirs
    echo "$(figures "$3") $(figures "$4")" | awk -v name="$1" -v n="$2" '{
        printf "  %d text%s a request: dial %s texts/s, p50 %d ms, p99 %d ms; %s %s texts/s, p50 %d ms, p99 %d ms: %.2f times; %d failed\n",
               n, (n > 1 ? "s" : ""), $1, $2, $3, name, $5, $6, $7, $1 / $5, $4 + $8 }'
}

ours() { # route, key, what: both reports, and the answer to the first text
    begin "$dial" serve $out/run --port $port --quiet
    for n in 1 8; do ask "$1" "$2" $n "$work/dial-$3-$n"; done
    first "$1" "$2" > "$work/$3"
    end
}
theirs() { # route, key, what, the least agreement, name
    first "$1" "$2" > "$work/theirs"
    same "$work/$3" "$work/theirs" "$4"
    for n in 1 8; do
        ask "$1" "$2" $n "$work/peer"
        compare "$5" $n "$work/dial-$3-$n" "$work/peer" | say
    done
    end
}

mkdir -p bench/results
say() { tee -a bench/results/peers.txt; }
echo "$(date -u +%Y-%m-%d) $(git rev-parse --short HEAD 2> /dev/null || echo none)," \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, sh bench/serve_peers.sh, $connections connections:" | say
for peer in $peers; do
    case $peer in
    fastapi)
        ours /get_reward query reward
        begin "$python" bench/peers/fastapi_server.py $out/hf $port
        theirs /get_reward query reward 0.9 "transformers + FastAPI"
        ;;
    *)
        [ -s "$work/embedding" ] || ours /v1/embeddings input embedding
        [ -f "$out/$peer.gguf" ] ||
            "$llama/llama-quantize" --allow-requantize $out/BF16.gguf "$out/$peer.gguf" "$peer" > "$work/quantize.log" 2>&1
        begin "$llama/llama-server" -m "$out/$peer.gguf" --port $port --embeddings --pooling last --embd-normalize -1 \
            -t "$(nproc)" -np $connections -c $((connections * 1024)) -b 4096 -ub 4096
        theirs /v1/embeddings input embedding 0.95 "llama-server $peer"
        ;;
    esac
done
