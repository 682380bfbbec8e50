#!/bin/sh
# dial beside the projects that it works with: PEFT + transformers on the same adapter, both ways.
set -eu
cd "$(dirname "$0")/../.."
python=$(sh tests/peers/venv.sh)
work=build/peers/work
toy=tests/fixtures/toy
rm -rf $work
mkdir -p $work
build/dial train --base $toy --source $toy/source.jsonl --target $toy/target.jsonl --method dial --steps 30 \
    --lr 1e-2 --lora-r 8 --lora-alpha 16 --lora-targets all --dtype f32 --critic-warmup 5 --maps 0 --out $work/run \
    --quiet --json > $work/train.json
"$python" tests/peers/peft_equal.py $toy $work
# and beside the clients of its server
"$python" tests/peers/serve_clients.py build/dial $work/run
# and beside the programs that its exports are for
"$python" tests/peers/export_equal.py build/dial $toy tests/fixtures/models $work/export
llama=$(sh bench/peers/llama.sh)
"$python" tests/peers/llama_equal.py build/dial "$llama/llama-server" $toy $work/export
# and beside the reader of its event files
"$python" tests/peers/events_equal.py build/dial $toy $work/events
# and from Python
"$python" tests/peers/python_package.py build/dial $work/run $work/python
