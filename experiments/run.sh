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
# OUT: runs and tables (build/experiments). JOBS: runs at a time, one thread each, so that results
# do not depend on it.
set -u
cd "$(dirname "$0")/.."

dial=${DIAL:-build/dial}
out=${OUT:-build/experiments}
jobs=${JOBS:-$(nproc 2>/dev/null || echo 2)}
here=experiments
mkdir -p "$out" "$here/results"
sh $here/prepare.sh "$out/data" || exit 1
DIAL_DATA="$out/data:$PWD/data${DIAL_DATA:+:$DIAL_DATA}"
export DIAL_DATA

[ $# -gt 0 ] || set -- $(cd $here && ls *.json | sed 's/\.json$//')
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
done

# Claims and page over all settings that have been run; the sweeps along an axis are no settings.
runs=$(cd $here && grep -L '"grid"' *.json | sed 's/\.json$//' |
    while read -r name; do [ -f "../$out/$name/sweep.json" ] && echo "$out/$name"; done | paste -sd, -)
axes=$(cd $here && grep -l '"grid"' *.json | sed 's/\.json$//' |
    while read -r name; do [ -f "../$out/$name/sweep.json" ] && echo "$out/$name"; done | paste -sd, -)
[ -n "$runs" ] || { echo "run: no setting has been run"; exit 0; }
"$dial" report --runs "$runs${axes:+,$axes}" --title "Experiments" --out "$out/report.html" --quiet >"$out/report.json" || exit 1
echo
"$dial" report --runs "$runs" --claims $here/parts/claims.json --out "$out/claims.json" --text | tee "$here/results/claims.txt"
echo "page: $out/report.html"
