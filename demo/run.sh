#!/bin/sh
# The main job on a real model: a language model learns from pairs of sentences which of two is
# acceptable English, on 20 phenomena of syntax, and is then asked about 13 phenomena of morphology,
# of which it has seen sentences but not one label.
#
#   base       no training: a linear probe on the frozen model, fitted to the syntax labels
#   src-pref   trained on the syntax labels alone
#   dial       the same, and morphology sentences without labels: their embeddings are drawn together
#   oracle     what labels in morphology would have given
#
# Runs are kept in build/demo; a second call reuses those that are done.
set -eu
cd "$(dirname "$0")/.."

dial=build/dial
out=build/demo
data=data/blimp
model=$(sh demo/fetch_model.sh smollm2)
mkdir -p "$out"

# The same settings for every method. Setting and numbers were chosen on the validation files
# (docs/demo.md); the test files are read to report.
settings="--base $model --layer 50% --source $data/syntax_train.jsonl --target $data/morphology_train.jsonl
    --heldout-source $data/syntax_val.jsonl --eval syntax=$data/syntax_test.jsonl
    --eval morphology=$data/morphology_test.jsonl --max-length 96 --lr 2e-4 --batch-source 8 --batch-target 8
    --steps 200 --lambda 0.003 --critic-warmup 30 --maps 150"

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
        $([ -d "$out/$method" ] && echo --resume) --json > "$out/$method.json.part" ||
        exit $?
    mv "$out/$method.json.part" "$out/$method.json"
}

train base --head-init probe
train src-pref
train dial
train oracle

$dial report --runs "$out/base,$out/src-pref,$out/dial,$out/oracle" \
    --title "From syntax to morphology, SmolLM2-135M" --out "$out/report.html" --text
cat << END

The page with curves, intervals and maps of the embeddings: $out/report.html
Score a sentence of your own:

    echo '{"prompt":"","chosen":"The window was broken by some teacher.","rejected":"The window was broken by some window."}' | $dial score --model $out/dial --data -
END
