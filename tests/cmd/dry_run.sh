#!/bin/sh
# --dry-run foretells the peak memory of the run within 10 %, on a batch whose activations are a
# large part of it. The time is compared where a machine is quiet (bench/run.sh).
set -eu
toy=$SOURCE/tests/fixtures/toy
work=$(mktemp -d "${TMPDIR:-/tmp}/dial-dry-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME="$work/cache"

number() { # key file
    grep -o "\"$1\":[0-9]*" "$2" | head -n 1 | sed 's/.*://'
}

flags="--base $toy --source $toy/source.jsonl --target $toy/target.jsonl --steps 6 --save-every 6
       --batch-source 112 --batch-target 112 --lora-r 32 --lora-targets all --critic-warmup 0 --maps 0
       --quiet --json"
# shellcheck disable=SC2086
"$DIAL" train $flags --dry-run --out plan >plan.json
# shellcheck disable=SC2086
"$DIAL" train $flags --out run >run.json
[ ! -e plan ] || { echo "--dry-run wrote --out"; exit 1; }
planned=$(sed 's/.*"memory"://' plan.json >memory.json; number total memory.json)
activations=$(number activations plan.json)
peak=$(number peak_memory_bytes run.json)
echo "planned $planned bytes, of them $activations of activations; the run's peak was $peak"
[ $((4 * activations)) -gt "$peak" ] || { echo "activations are too small a part to test"; exit 1; }
[ $((100 * planned)) -gt $((90 * peak)) ] && [ $((100 * planned)) -lt $((110 * peak)) ] ||
    { echo "off by more than 10 %"; exit 1; }
grep -q '"basis":"measured"' plan.json

# config.json and tokenizer.json are enough for the plan, and for nothing that would read weights.
fail() { echo "$1"; exit 1; }
mkdir shape
cp "$toy/config.json" "$toy/tokenizer.json" "$toy/tokenizer_config.json" shape
shape_flags=$(printf '%s' "$flags" | sed "s|--base $toy |--base shape/config.json |")
# shellcheck disable=SC2086
"$DIAL" train $shape_flags --dry-run --out plan >shape.json
of() { sed 's/.*"memory"://' "$1" >memory.json; number total memory.json; }
[ $((100 * $(of shape.json))) -gt $((80 * planned)) ] && [ $((100 * $(of shape.json))) -lt $((120 * planned)) ] ||
    fail "the plan of a shape: $(of shape.json) bytes, of the model: $planned"
# shellcheck disable=SC2086
"$DIAL" train $shape_flags --out run2 >err.txt 2>&1 && fail "trained weights from chance"
grep -q "has no weights" err.txt || fail "$(cat err.txt)"
rm shape/tokenizer.json
# shellcheck disable=SC2086
"$DIAL" train $shape_flags --dry-run --out plan >err.txt 2>&1 && fail "counted tokens without a tokenizer"
grep -q "put the model's tokenizer.json beside it" err.txt || fail "$(cat err.txt)"
"$DIAL" bench --model shape/config.json --what forward --length 16 --repeat 1 --quiet --json |
    grep -q '"tokens_per_second":[0-9]' || fail "no figure for a shape"
