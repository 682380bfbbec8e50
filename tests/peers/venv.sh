#!/bin/sh
# Makes build/peers/venv with the peers that dial is compared with, and prints its python.
# PEERS_PYTHON names a python that has them already.
set -eu
if [ -n "${PEERS_PYTHON:-}" ]; then
    echo "$PEERS_PYTHON"
    exit
fi
cd "$(dirname "$0")/../.."
venv=build/peers/venv
if [ ! -f $venv/done ] || [ tests/peers/venv.sh -nt $venv/done ]; then # what is wanted may have grown
    mkdir -p build/peers
    python3 -m venv $venv >&2 || {
        echo "peers: python3-venv is missing; try: apt-get install python3-venv" >&2
        exit 1
    }
    $venv/bin/pip install -q torch transformers peft trl datasets accelerate tokenizers safetensors gguf numpy sentence-transformers setuptools \
        openai huggingface_hub prometheus_client requests schemathesis fastapi uvicorn tensorboard >&2
    touch $venv/done
fi
echo "$PWD/$venv/bin/python"
