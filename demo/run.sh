#!/bin/sh
# The main job on a real model: SmolLM2 learns from pairs of English film reviews which of two is the
# more favourable, and is then asked about reviews in Yoruba, of which it has seen texts but not one
# label.
#
#   base       no training: a linear probe on the frozen model, fitted to the English labels
#   src-pref   trained on the English labels alone
#   dial       the same, and Yoruba reviews without labels: a Wasserstein critic draws the pair
#              differences of the two languages together
#   mmd        the same with a closed-form distance in the place of the critic
#   oracle     what labels in Yoruba would have given
#
# The model's first 22 of 30 blocks are frozen and go over every text once (the stored trunk); what is
# trained is a map of rank 32 on top of them and the reward head, so that a run takes seconds.
# Runs are kept in build/demo; a second call reuses those that are done.
set -eu
cd "$(dirname "$0")/.."

dial=build/dial
out=build/demo
data=data/nollysenti
model=$(sh demo/fetch_model.sh smollm2)
mkdir -p "$out"

# The same settings for every method. Setting and numbers were chosen on the validation files
# (docs/demo.md); the test files are read to report.
settings="--base $model --preset native --layer 75% --pooling last --align-share 0.1
    --critic-iters 3 --select last --maps 200
    --source $data/en_train.jsonl --target $data/yo_train.jsonl --heldout-source $data/en_val.jsonl
    --eval english=$data/en_test.jsonl --eval yoruba=$data/yo_test.jsonl"

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
train mmd --lambda 10
train oracle

$dial report --runs "$out/base,$out/src-pref,$out/dial,$out/mmd,$out/oracle" \
    --title "From English to Yoruba, SmolLM2-135M" --out "$out/report.html" --text
cat << END

The page with curves, intervals and maps of the embeddings: $out/report.html
Score a text of your own (here: "this film is very good" and "this film is not good at all"):

    echo '{"prompt":"","chosen":"Fíìmù yìí dára púpọ̀.","rejected":"Fíìmù yìí kò dára rárá."}' | $dial score --model $out/mmd --data -
END
