#!/bin/sh
# Data sets that experiments put together from files of DIAL_DATA and from WordNet. The same input
# gives the same files, on any machine. usage: prepare.sh FOLDER
#
#   blimp/semantics_*          blimp's families whose sentences the project does not ship as one file
#   odd_one_out/*              from WordNet 3.0 (WORDNET, else /usr/share/wordnet; Debian: wordnet-base)
#   xstest/*, few_shot/*       splits of xstest's pairs, and ten reviews against all others
#
# What has no input is left out, and so are the experiments that need it.
set -eu
export LC_ALL=C
here=$(dirname "$0")
out=$1
wordnet=${WORDNET:-/usr/share/wordnet}

# make NAME SCRIPT FILE ...: a folder of files that an awk script writes, whole or not at all
make() {
    name=$1 script=$2
    shift 2
    rm -rf "$out/$name.part" && mkdir -p "$out/$name.part"
    awk -v out="$out/$name.part" -f "$here/parts/random.awk" -f "$here/parts/$script" "$@"
    rm -rf "${out:?}/$name" && mv "$out/$name.part" "$out/$name"
}

# first PATH: the file in the first folder of DIAL_DATA or of the project that has it
first() (
    IFS=:
    for folder in "$here/../data" ${DIAL_DATA:-}; do
        [ -f "$folder/$1" ] || continue
        echo "$folder/$1"
        break
    done
)

mkdir -p "$out"
if [ -f "$wordnet/data.noun" ]; then
    make odd_one_out odd_one_out.awk "$wordnet/index.noun" "$wordnet/data.noun"
fi
file=$(first xstest/pairs_train.jsonl)
[ -z "$file" ] || make xstest xstest.awk "$file"
file=$(first nollysenti/en_train.jsonl)
[ -z "$file" ] || make few_shot few_shot.awk "$file"

IFS=:
for folder in ${DIAL_DATA:-}; do
    [ -d "$folder/blimp/paradigms" ] || continue
    mkdir -p "$out/blimp"
    for part in train test; do
        : >"$out/blimp/semantics_$part.jsonl.part"
        for file in "$folder"/blimp/paradigms/*_"$part".jsonl; do
            if head -n 1 "$file" | grep -q '"field": *"semantics"'; then
                cat "$file" >>"$out/blimp/semantics_$part.jsonl.part"
            fi
        done
        mv "$out/blimp/semantics_$part.jsonl.part" "$out/blimp/semantics_$part.jsonl"
    done
    break
done
