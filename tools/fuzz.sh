#!/bin/sh
# Runs every fuzz target of a build folder for some seconds, from its committed corpus.
# usage: tools/fuzz.sh BUILD_DIR SECONDS
set -eu
build=$1
seconds=$2
root=$(cd "$(dirname "$0")/.." && pwd)
failed=0
ran=0
for target in "$build"/tests/fuzz/fuzz_*; do
    [ -x "$target" ] && [ ! -d "$target" ] || continue
    name=$(basename "$target")
    grown="$build/corpus/${name#fuzz_}"
    mkdir -p "$grown"
    echo "fuzz: $name, $seconds s"
    "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -verbosity=0 -artifact_prefix="$build/crash-$name-" \
        "$grown" "$root/tests/fuzz/corpus/${name#fuzz_}" || failed=1
    ran=$((ran + 1))
done
echo "fuzz: $ran targets, $([ $failed = 0 ] && echo 'nothing found' || echo "findings in $build/crash-*")"
[ $ran -gt 0 ] && [ $failed = 0 ]
