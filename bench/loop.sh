#!/bin/sh
# When does a server notice that its traffic has changed? SmolLM2-135M learns which of two English film reviews is the
# more favourable and is served with --monitor; then its traffic changes, to Yoruba or to English with
# typing errors. For each of the two:
#
#   1. false alarms in REQUESTS unshifted ones: English reviews that the training has not seen, resampled
#   2. requests from the change until the alarm
#
# A request is one review. Before each piece of 64 the monitor is given time to look at the window it has,
# so that the counts do not depend on the machine. Takes minutes, with 100000 REQUESTS hours.
# MODEL names another base model.
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
pid=
mkdir -p "$work"
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
        { n = split($0, part, "\"") # strings of these files hold no escaped quotes: checked below
          line = part[1]
          for (k = 2; k <= n; k++) { s = part[k]
              line = line "\"" (k % 4 == 0 && (part[k - 2] == "chosen" || part[k - 2] == "rejected") ? spoil(s) : s) }
          print line }'
}
plain() { grep -v '\\' "$@"; } # rows without escapes

# Distinct reviews of files -> one body a file in FOLDER.
bodies() { # FOLDER FILE...
    folder=$1
    shift
    mkdir -p "$folder"
    plain -h "$@" | tr '"' '\n' | awk -v folder="$folder" '
        value == 1 { value = 0
          if (!seen[$0]++)
              { f = folder "/" ++n; print "{\"inputs\":[{\"prompt\":\"Review: \",\"response\":\"" $0 "\"}]}" > f; close(f) }
          before = $0; next }
        before == "chosen" || before == "rejected" { value = 1 } # the colon between
        { before = $0 }
        END { print n > (folder ".count") }'
}

say() { printf '%s\n' "$*"; }
metric() { curl -s "$url/metrics" | awk -v name="$1" '$1 == name { print $2 }'; }
ready() { curl -s "$url/ready" | grep -o "\"$1\":[^,}]*" | cut -d: -f2; }

begin() { # RUN
    rm -f "$work/ready" "$work/live.sqlite"
    "$dial" serve "$1" --port 0 --json --quiet --truncate prompt --monitor 4096 --store "$work/live.sqlite" > "$work/ready" 2>> "$work/serve.log" &
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

shift_to() { # NAME, what it is called; texts in $work/NAME
    begin "$work/run"
    unshifted 512 # a window: texts are drawn with replacement
    alarms=$(metric dial_shift_alarms_total)
    sent=0
    while [ "$(metric dial_shift_alarm)" = 0 ] && [ $sent -lt $most ]; do
        send "$work/$1" $piece
        sent=$((sent + piece))
    done
    say "$2: $([ "$(metric dial_shift_alarm)" = 1 ] && echo "alarm after $sent requests" || echo "no alarm in $sent requests")," \
        "$alarms before; A-distance $(ready a_distance), MMD p $(ready mmd_p), W1 $(ready w1), reward drift $(ready reward_drift)"
    end
}

bodies "$work/english" "$data/en_test.jsonl" "$data/en_val.jsonl"
bodies "$work/yoruba" "$data/yo_train.jsonl"
plain "$data/en_train.jsonl" "$data/en_val.jsonl" -h | noisy 1 > "$work/noisy_traffic.jsonl"
bodies "$work/noisy" "$work/noisy_traffic.jsonl"
[ -e "$work/run/dial.json" ] ||
    "$dial" train --base "$model" --preset native --method src-pref --layer 75% --pooling last --select last --maps 0 \
        --source "$data/en_train.jsonl" --heldout-source "$data/en_val.jsonl" --out "$work/run" --quiet --json > "$work/train.json"

begin "$work/run"
unshifted "$requests"
say "unshifted: $requests requests, $(metric dial_shift_looks_total) windows, $(metric dial_shift_alarms_total) false alarms;" \
    "last: A-distance $(ready a_distance), MMD p $(ready mmd_p)"
end
for s in $shift; do
    case $s in yoruba) shift_to yoruba Yoruba ;; noisy) shift_to noisy "noisy English" ;; *) say "no such shift: $s" >&2; exit 2 ;; esac
done
