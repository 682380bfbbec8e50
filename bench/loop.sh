#!/bin/sh
# The loop from end to end. SmolLM2-135M learns which of two English film reviews is the more
# favourable and is served with --monitor; then its traffic changes, to Yoruba or to English with
# typing errors; then the run is adapted to what was collected, and the server loads it. Said are:
#
#   1. false alarms in REQUESTS unshifted ones
#   2. requests from the change until the alarm
#   3. what `dial adapt` came to, and its seconds; requests that failed while the server loaded the new run
#   4. accuracy on labelled rows that nothing has read: English before, the new domain before and after,
#      and the share of the loss that was won back. These labels are for this line alone.
#
# A request is one review, drawn with replacement by a fixed seed from the distinct reviews of a
# file: unshifted ones of the 249 of en_test, which no training, choice or reference has read, so
# that windows are of 192, without a text twice, and overlap from one to the next; Yoruba ones of
# yo_train; noisy ones of en_train with typing errors. Before each piece of 64 the monitor is given
# time to look at the window it has, so that the counts do not depend on the machine. Takes a
# quarter of an hour. 100000 REQUESTS take hours: bench_false_alarms replays as many without the
# server. MODEL names another base model. What is not accepted is published by hand, and said.
# usage: bench/loop.sh [REQUESTS] [FOLDER] [SHIFT]      default: 2560, a folder that is removed, both shifts
set -eu
cd "$(dirname "$0")/.."
requests=${1:-2560}
shift=${3:-yoruba noisy}
work=${2:-$(mktemp -d "${TMPDIR:-/tmp}/dial-loop-XXXXXX")}
dial=${DIAL:-$PWD/build/dial}
data=$PWD/data/nollysenti
model=${MODEL:-$(sh demo/fetch_model.sh smollm2)}
piece=64 most=12800 # requests between two questions to the monitor; requests after which a shift is missed
keep=${KEEP:-768}   # texts in the store, the last of which are adapted to: three windows
before=${BEFORE:-512} # unshifted requests before a shift: a window and more, since texts are drawn with replacement
pid=
mkdir -p "$work"
work=$(cd "$work" && pwd)
trap '[ -z "$pid" ] || { kill $pid; wait $pid; } 2> /dev/null; [ -n "${2:-}" ] || rm -rf "$work"' EXIT

# Texts with typing errors: every eighth letter or so is lost, doubled or changes place with the next.
noisy() {
    awk -v seed="$1" '
        function spoil(s,   out, i, c, r) {
            for (i = 1; i <= length(s); i++) {
                c = substr(s, i, 1); r = c ~ /[a-z]/ ? rand() * 8 : 8
                if (r < 0.33) continue
                if (r < 0.66) { out = out c c; continue }
                if (r < 1 && substr(s, i + 1, 1) ~ /[a-z]/) { out = out substr(s, i + 1, 1) c; i++; continue }
                out = out c
            }
            return out
        }
        BEGIN { srand(seed) }
        { n = split($0, part, "\"")
          line = part[1]
          for (k = 2; k <= n; k++) { s = part[k]
              line = line "\"" (k % 4 == 0 && (part[k - 2] == "chosen" || part[k - 2] == "rejected") ? spoil(s) : s) }
          print line }'
}
# Escaped quotes, the only escapes of these files, aside and back, so that a quote ends a string.
hide() { cat "$@" | sed 's/\\"/\x01/g'; }
show() { sed 's/\x01/\\"/g'; }

# Distinct reviews of files -> one body a file in FOLDER.
bodies() { # FOLDER FILE...
    folder=$1
    shift
    mkdir -p "$folder"
    hide "$@" | tr '"' '\n' | awk -v folder="$folder" '
        value == 1 { value = 0
          if (!seen[$0]++)
              { f = folder "/" ++n; text = $0; gsub(/\001/, "\\\"", text)
                print "{\"inputs\":[{\"prompt\":\"Review: \",\"response\":\"" text "\"}]}" > f; close(f) }
          before = $0; next }
        before == "chosen" || before == "rejected" { value = 1 } # the colon between
        { before = $0 }
        END { print n > (folder ".count") }'
}

say() { printf '%s\n' "$*"; }
metric() { curl -s "$url/metrics" | awk -v name="$1" '$1 == name { print $2 }'; }
accuracy() { # RUN FILE
    "$dial" eval --model "$1" --data x="$2" --bootstrap 100 --quiet --json 2>> "$work/serve.log" | grep -o '"accuracy":[0-9.]*' | head -1 | cut -d: -f2
}
ready() { curl -s "$url/ready" | grep -o "\"$1\":[^,}]*" | cut -d: -f2; }

begin() { # RUN, texts in the store
    rm -f "$work/ready" "$work/live.sqlite"
    "$dial" serve "$1" --port 0 --json --quiet --truncate prompt --monitor "$2" --monitor-texts --store "$work/live.sqlite" > "$work/ready" 2>> "$work/serve.log" &
    pid=$!
    while [ ! -s "$work/ready" ]; do kill -0 $pid; sleep 0.1; done
    url=$(grep -o 'http://[^"]*' "$work/ready")
}
end() { kill $pid; wait $pid || true; pid=; }

# N requests drawn with replacement from a folder; every call draws others.
turn=0
send() { # FOLDER N
    turn=$((turn + 1))
    awk -v seed=$turn -v folder="$1" -v count="$(cat "$1.count")" -v n="$2" -v url="$url/v1/reward" '
        BEGIN { srand(seed)
                for (i = 0; i < n; i++) printf "%surl = %s\ndata = \"@%s/%d\"\noutput = /dev/null\nfail\n", i ? "next\n" : "", url, folder, 1 + int(rand() * count) }' > "$work/config"
    curl -sS --no-progress-meter -Z --parallel-max 16 --fail-early -K "$work/config" 2>> "$work/serve.log"
    while [ "$(ready collected)" -ge "$(ready window)" ]; do sleep 0.2; done
}

unshifted() { # N: pieces of English until there were so many
    done=0
    while [ $done -lt "$1" ]; do
        send "$work/english" $piece
        done=$((done + piece))
    done
}

# The server's link moves from one run to another under requests; how many of them fail.
reload() { # RUN
    was=$(metric dial_reloads_total)
    ln -sfn "$1" "$work/next" && mv -T "$work/next" "$work/live"
    failed=0
    while [ "$(metric dial_reloads_total)" = "$was" ]; do
        curl -sf "$url/v1/reward" -d @"$work/english/1" > /dev/null 2>> "$work/serve.log" || failed=$((failed + 1))
    done
}

shift_to() { # NAME, what it is called, labelled rows of it; texts in $work/NAME
    ln -sfn "$work/run" "$work/live"
    begin "$work/live" "$keep"
    unshifted "$before"
    alarms=$(metric dial_shift_alarms_total)
    sent=0
    while [ "$(metric dial_shift_alarm)" = 0 ] && [ $sent -lt $most ]; do
        send "$work/$1" $piece
        sent=$((sent + piece))
    done
    say "$2: $([ "$(metric dial_shift_alarm)" = 1 ] && echo "alarm after $sent requests" || echo "no alarm in $sent requests")," \
        "$alarms before; A-distance $(ready a_distance), MMD p $(ready mmd_p), W1 $(ready w1), reward drift $(ready reward_drift)"
    began=$(date +%s)
    rm -rf "$work/to_$1"
    "$dial" adapt --run "$work/live" --store "$work/live.sqlite" --out "$work/to_$1" --quiet --json > "$work/$1.json" 2>> "$work/serve.log"
    seconds=$(($(date +%s) - began))
    say "$2: adapted to $(grep -c . "$work/to_$1/target.jsonl") rows in $seconds s:" \
        "$(grep -o '"accepted":[a-z]*' "$work/$1.json" | cut -d: -f2 | sed 's/true/accepted/; s/false/not accepted, published by hand/')," \
        "verdict $(grep -o '"verdict":"[a-z_]*"' "$work/$1.json" | cut -d'"' -f4);" \
        "$(grep -o '"reason":"[^;]*' "$work/$1.json" | cut -d'"' -f4)"
    reload "$work/to_$1"
    say "$2: $failed requests failed while the server loaded it"
    end
    english=$(accuracy "$work/run" "$data/en_test.jsonl") old=$(accuracy "$work/run" "$3") new=$(accuracy "$work/to_$1" "$3")
    say "$2: accuracy $english on English, $old on the new domain, $new after adapting;" \
        "$(awk -v e="$english" -v o="$old" -v n="$new" 'BEGIN { if (e > o) printf "%.2f of the loss won back", (n - o) / (e - o); else print "nothing was lost" }')"
}

bodies "$work/english" "$data/en_test.jsonl"
bodies "$work/yoruba" "$data/yo_train.jsonl"
hide "$data/en_train.jsonl" | noisy 1 | show > "$work/noisy_traffic.jsonl"
hide "$data/en_test.jsonl" | noisy 2 | show > "$work/noisy_test.jsonl"
bodies "$work/noisy" "$work/noisy_traffic.jsonl"
[ -e "$work/run/dial.json" ] ||
    "$dial" train --base "$model" --preset native --method src-pref --maps 0 \
        --source "$data/en_train.jsonl" --heldout-source "$data/en_val.jsonl" --out "$work/run" --quiet --json > "$work/train.json"

begin "$work/run" 192 # and so a window of 192: there are no 256 reviews
unshifted "$requests"
say "unshifted: $requests requests, $(metric dial_shift_looks_total) windows, $(metric dial_shift_alarms_total) false alarms;" \
    "last: A-distance $(ready a_distance), MMD p $(ready mmd_p)"
end
for s in $shift; do
    case $s in yoruba) shift_to yoruba Yoruba "$data/yo_test.jsonl" ;; noisy) shift_to noisy "noisy English" "$work/noisy_test.jsonl" ;; *) say "no such shift: $s" >&2; exit 2 ;; esac
done
