#!/bin/sh
# A sweep of four short runs, and the same with everything going wrong: killed workers, a killed
# sweep, a damaged store, a full disk. The tables must come out byte for byte alike.
set -u
toy=$SOURCE/tests/fixtures/toy
work=$(mktemp -d "${TMPDIR:-/tmp}/dial-sweep-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export XDG_CACHE_HOME="$work/cache"
unset DIAL_CACHE DIAL_DATA

fail() { echo "sweep: $*"; cat doc log 2>/dev/null; exit 1; }
sweep() { # out, further flags
    out=$1
    shift
    exec "$DIAL" sweep --grid "$toy/sweep.json" --out "$out" --json "$@"
}
same() { # out: the tables are those of the whole sweep; the document names its folder
    for file in table.md table.csv; do
        cmp "whole/$file" "$1/$file" || fail "$1/$file differs"
    done
    [ -z "$(find "$1" -name '*.tmp-*')" ] || fail "stray files in $1"
}
has() { grep -q "$1" "$2" || fail "expected '$1' in $2"; }
statuses() { grep -o '"status":"[a-z]*"' "$1" | sort | uniq -c | awk '{ printf "%s %s ", $1, $2 }'; }

(sweep whole --jobs 2) >doc 2>log || fail "the sweep failed"
[ "$(statuses doc)" = '4 "status":"done" ' ] || fail "expected 4 runs done, found $(statuses doc)"
has '"against":"src-pref"' doc
[ "$(ls cache/dial/trunk | wc -l)" = 3 ] || fail "expected one stored file for each data file"
[ "$(wc -l <whole/table.csv)" = 7 ] || fail "expected a head, and a group and two seeds twice"

# Everything is there: nothing is trained again.
touch before
(sweep whole) >doc 2>log || fail "the second call failed"
[ "$(statuses doc)" = '4 "status":"skipped" ' ] || fail "found $(statuses doc)"
[ -z "$(find whole/*-s* -newer before)" ] || fail "a run was touched again"

# The numbers of the document are those of the runs.
for run in whole/*-s*; do
    got=$("$DIAL" eval --model "$run" --data target="$toy/val.jsonl" --json --quiet |
        grep -o '"accuracy":[0-9.]*' | head -n 1 | cut -d : -f 2)
    grep -o "\"dir\":\"${run#whole/}\".*" doc | grep -o '"eval":{"target":[0-9.]*' | head -n 1 |
        grep -q ":$got\$" || fail "$run: eval says $got"
done

# Two at once in one folder.
(sweep busy --jobs 1) >doc 2>log &
first=$!
while [ ! -e busy/sweep.lock ]; do sleep 0.02; done
(sweep busy) >doc.second 2>log.second
[ $? = 2 ] || fail "two sweeps worked in one folder"
has 'another dial sweep' log.second

# That one is killed with its worker alive; the next call takes over and comes to the same end.
while ! ls busy/*-s*/metrics.jsonl >/dev/null 2>&1; do sleep 0.02; done
kill -9 $first 2>/dev/null
wait $first 2>/dev/null
(sweep busy --jobs 2) >doc 2>log || fail "the sweep did not go on after its own kill"
same busy

# Workers are killed as they come, each run at most twice (a third time is a failure).
(sweep killed --jobs 2) >doc 2>log &
first=$!
kills=0
for i in 1 2 3 4 5 6; do
    tries=0
    while [ $tries -lt 200 ]; do
        worker=$(cat /proc/[0-9]*/stat 2>/dev/null | awk -v of=$first '$4 == of { print $1; exit }')
        [ -n "$worker" ] && break
        kill -0 $first 2>/dev/null || break
        tries=$((tries + 1))
        sleep 0.02
    done
    [ $kills -lt 2 ] || break
    sleep 0.0$i
    [ -n "$worker" ] && kill -9 "$worker" 2>/dev/null && kills=$((kills + 1))
done
wait $first || fail "the sweep failed after $kills kills of workers"
[ $kills -gt 0 ] || fail "no worker was killed"
has 'started again' log
same killed

# The store is an index: damaged, it is set aside and made anew.
echo "no database" >killed/dial.sqlite
(sweep killed) >doc 2>log || fail "a damaged store ended the sweep"
has 'no sound store' log
[ -e killed/dial.sqlite.damaged ] || fail "the damaged store is gone"
same killed

# A full disk (here: a limit on the size of files) is an error that names it; with room it goes on.
(trap '' XFSZ; ulimit -f 8; sweep full --jobs 2) >doc 2>log
[ $? = 1 ] || fail "a full disk was no error"
(sweep full --jobs 2) >doc 2>log || fail "the sweep did not go on with room again"
same full

# Asked to stop: runs are saved, the exit code says so, and it goes on.
(sweep stopped --jobs 2) >doc 2>log &
first=$!
while ! ls stopped/*-s*/metrics.jsonl >/dev/null 2>&1; do sleep 0.02; done
kill -TERM $first
wait $first
code=$?
[ $code = 143 ] || [ $code = 0 ] || fail "exit $code after SIGTERM"
(sweep stopped --jobs 2) >doc 2>log || fail "the sweep did not go on after SIGTERM"
same stopped

# The harness of the experiments: one that runs, one whose data is not there; tables, the doctor's
# verdict, claims and the page.
mkdir -p experiments/parts
head -n 30 "$toy/source.jsonl" >experiments/source.jsonl
head -n 30 "$toy/target.jsonl" >experiments/target.jsonl
cat >experiments/tiny.json <<END
{"schema": "dial.experiment/1", "extends": "$toy/sweep.json", "name": "tiny", "base": "$toy",
 "files": {"source": ["source.jsonl"], "target": ["target.jsonl"], "eval": {"target": "$toy/val.jsonl"}},
 "methods": ["src-pref", {"name": "mean", "label": "native"}, {"name": "mean", "label": "paper", "lambda": 1}, "oracle"],
 "seeds": [0], "doctor": ["native"], "control": true}
END
sed 's/source.jsonl/nowhere.jsonl/' experiments/tiny.json >experiments/missing.json
cp "$SOURCE/experiments/parts/claims.json" experiments/parts/
EXPERIMENTS="$work/experiments" OUT="$work/out" JOBS=2 sh "$SOURCE/experiments/run.sh" >doc 2>log ||
    fail "the experiments failed"
has 'left out: .*nowhere.jsonl' doc
has '"verdict":"\(no_shift\|safe\|uncertain\|unsafe\)"' out/tiny/sweep.json
has '^\(holds\|falls short\) *mean difference on the settings without a gap: .* needed -0.005, n 1$' \
    experiments/results/claims.txt
has '^not measured *mean share of the gap closed' experiments/results/claims.txt
[ "$(wc -l <experiments/results/tiny.csv)" = 9 ] || fail "expected a head, and group and seed four times"
has '<h2>tiny</h2>' out/report.html
echo "sweep: $kills workers killed; all tables equal"
