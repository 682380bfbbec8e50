#!/bin/sh
# Data sets that experiments put together from files of DIAL_DATA: blimp's families whose sentences
# the project does not ship as one file. usage: prepare.sh FOLDER
set -eu
out=$1/blimp
mkdir -p "$out"

IFS=:
for folder in ${DIAL_DATA:-}; do
    [ -d "$folder/blimp/paradigms" ] || continue
    for part in train test; do
        : >"$out/semantics_$part.jsonl.part"
        for file in "$folder"/blimp/paradigms/*_"$part".jsonl; do
            if head -n 1 "$file" | grep -q '"field": *"semantics"'; then
                cat "$file" >>"$out/semantics_$part.jsonl.part"
            fi
        done
        mv "$out/semantics_$part.jsonl.part" "$out/semantics_$part.jsonl"
    done
    break
done
