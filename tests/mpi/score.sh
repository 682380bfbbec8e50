#!/bin/sh
# Scores, evaluations and embeddings of 2 and 4 ranks are, byte for byte, those of one process.
set -u
. "$SOURCE/tests/mpi/common.sh"
train run --steps 4 --maps 0 >/dev/null 2>log || failed "training failed" log

# Three blocks of rows at two ranks (256 rows a rank and block), bad rows and equal prompts among them.
awk 'BEGIN { for (i = 0; i < 1100; i++)
    if (i % 97 == 5) print "{\"prompt\":\"p\"}"
    else printf "{\"id\":\"%d\",\"prompt\":\"prompt number %d\",\"response\":\"%s\"}\n",
                i, i % 41, substr("some words of a reply that grows and grows", 1, 1 + i % 40) }' >rows.jsonl

all() { # NAME [LAUNCHER...]
    name=$1
    shift
    "$@" "$DIAL" score --model run --data rows.jsonl --on-error skip --max-bad 20% --out "$name.jsonl" \
        --summary "$name.summary" --quiet --threads 1 || return 1
    "$@" "$DIAL" score --model run --data "$toy/val.jsonl" --quiet --threads 1 >"$name.stdout" || return 1
    "$@" "$DIAL" score --model run --prompt a --response b --quiet --threads 1 >"$name.one" || return 1
    "$@" "$DIAL" eval --model run --data val="$toy/val.jsonl" --scores "$name.scores" --json --quiet \
        --threads 1 >"$name.eval.json" || return 1
    "$@" "$DIAL" embed --model run --data "$toy/val.jsonl" --out "$name.npy" --json --quiet \
        --threads 1 >"$name.embed.json" || return 1
    sed -i "s/\"out\":\"[^\"]*\"//" "$name.summary" "$name.embed.json"
    sed -i -E 's/"(seconds|tokens_per_second)":[^,}]*,?//g' "$name.eval.json"
}

all one >log 2>&1 || failed "one process failed" log
[ "$(wc -l <one.jsonl)" = 1100 ] || failed "expected 1100 lines" one.jsonl
for n in ${RANKS:-2 4}; do
    all "n$n" ranks "$n" >log 2>&1 || failed "$n ranks failed" log
    for file in one.*; do
        cmp "$file" "n$n.${file#one.}" || failed "$n ranks differ from one process in $file"
    done
    echo "score: $n ranks equal one process in $(ls one.* | wc -l) files"
done

# Standard input reaches one rank alone: refused, once, before anything is written.
ranks 2 "$DIAL" score --model run --data - --out none.jsonl --threads 1 >out 2>err && failed "stdin was taken"
[ "$(grep -c 'one of the 2 processes alone' err)" = 1 ] || failed "expected one message" err
[ ! -e none.jsonl ] || failed "none.jsonl was written"
