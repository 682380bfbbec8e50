#!/bin/sh
# Repeats the experiments: each file of this folder is one sweep, resumable; what is finished is not
# trained again. Small results (no texts) are written to experiments/results, the claims over all of
# them are printed last.
#
#   experiments/run.sh            all of them
#   experiments/run.sh NAME ...   these; the claims are over what has been run so far
#
# DIAL_DATA names folders (separated by ":") with the data that the project does not ship; an
# experiment whose data or base model is not there is left out, with a line that says so.
# OUT: runs and tables (build/experiments). EXPERIMENTS: another folder of such files. JOBS: runs at a time, one thread each, so that results
# do not depend on it.
set -u
cd "$(dirname "$0")/.."

dial=${DIAL:-build/dial}
out=${OUT:-build/experiments}
jobs=${JOBS:-$(nproc 2>/dev/null || echo 2)}
here=${EXPERIMENTS:-experiments}
mkdir -p "$out" "$here/results"
sh experiments/prepare.sh "$out/data" || exit 1
DIAL_DATA="$out/data:$PWD/data${DIAL_DATA:+:$DIAL_DATA}"
export DIAL_DATA

[ $# -gt 0 ] || set -- $(cd "$here" && ls *.json | sed 's/\.json$//')
for name; do
    [ -f "$here/$name.json" ] || { echo "run: no experiment $here/$name.json" >&2; exit 2; }
    echo "== $name"
    if ! "$dial" sweep --grid "$here/$name.json" --out "$out/$name" --dry-run --json \
        >"$out/plan.json" 2>"$out/plan.log"; then
        grep -Eq 'no such (file|model)' "$out/plan.log" || { cat "$out/plan.log"; exit 1; }
        sed 's/^/   left out: /' "$out/plan.log"
        continue
    fi
    "$dial" sweep --grid "$here/$name.json" --out "$out/$name" --jobs "$jobs" --threads "$jobs" \
        --text || exit $?
    cp "$out/$name/table.md" "$here/results/$name.md"
    cp "$out/$name/table.csv" "$here/results/$name.csv"
    [ "$name" != pairs_blimp ] || LC_ALL=C awk -f experiments/parts/random.awk \
        -f experiments/parts/pairs.awk "$out/$name/sweep.json" >"$here/results/pairs_distance.md" || exit 1
done

# Page and claims over all that has been run so far. A sweep along an axis has no group with the
# recipe's plain label, so the claims pass it over.
runs=
for file in "$here"/*.json; do
    name=$(basename "$file" .json)
    [ ! -f "$out/$name/sweep.json" ] || runs="$runs${runs:+,}$out/$name"
done
[ -n "$runs" ] || { echo "run: nothing has been run"; exit 0; }
echo
"$dial" report --runs "$runs" --claims "$here/parts/claims.json" --title Experiments \
    --out "$out/report.html" --text --quiet >"$out/claims.txt" || exit 1
cp "$out/claims.txt" "$here/results/claims.txt"
cat "$out/claims.txt"
echo "page: $out/report.html"
