#!/bin/sh
# The main job on a real model: a language model learns from English film reviews which of two is
# favourable, and is asked the same in Yoruba, without one Yoruba label.
#
#   base       no training: a linear probe on the frozen model, fitted to the English labels
#   src-pref   trained on the English labels alone
#   dial       the same, and Yoruba reviews without labels: their embeddings become indistinguishable
#   oracle     what labels in Yoruba would have given
#
# Runs are kept in build/demo; a second call reuses those that are done.
set -eu
cd "$(dirname "$0")/.."

dial=build/dial
out=build/demo
data=data/nollysenti
model=$(sh demo/fetch_model.sh smollm2)
mkdir -p "$out"

# The same settings for every method; chosen on en_val and on unlabelled Yoruba (docs/demo.md).
settings="--base $model --layer 50% --pooling mean --source $data/en_train.jsonl
    --target $data/yo_train.jsonl --heldout-source $data/en_val.jsonl --eval english=$data/en_test.jsonl
    --eval yoruba=$data/yo_test.jsonl --max-length 192 --lr 2e-4 --steps 120 --maps 60"

train() { # METHOD FLAGS...
    method=$1
    shift
    if [ -f "$out/$method/dial.json" ]; then
        echo "== $method: done before, reused ($out/$method)"
        return
    fi
    echo "== $method"
    # shellcheck disable=SC2086
    $dial train $settings --method "$method" "$@" --out "$out/$method" \
        $([ -d "$out/$method" ] && echo --resume) --quiet --json > "$out/$method.json.part" ||
        exit $?
    mv "$out/$method.json.part" "$out/$method.json"
}

train base --head-init probe
train src-pref
train dial
train oracle

$dial report --runs "$out/base,$out/src-pref,$out/dial,$out/oracle" \
    --title "English film reviews to Yoruba, SmolLM2-135M" --out "$out/report.html" --text
cat << END

The page with curves, intervals and maps of the embeddings: $out/report.html
Score a sentence of your own:

    $dial score --model $out/dial --prompt "Review: " --response "Mo gbádùn eré yìí gan-an." --text
END
