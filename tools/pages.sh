#!/bin/sh
# Man pages and shell completion as `make install` lays them down, from the program itself.
# usage: pages.sh DIAL FOLDER
set -eu
dial=$1
out=$2
mkdir -p "$out/man1" "$out/bash" "$out/zsh" "$out/fish"
rm -f "$out"/man1/*
"$dial" --page man >"$out/man1/dial.1"
for verb in $("$dial" --page verbs); do
    "$dial" --page "man:$verb" >"$out/man1/dial-$verb.1"
done
"$dial" --page bash >"$out/bash/dial"
"$dial" --page zsh >"$out/zsh/_dial"
"$dial" --page fish >"$out/fish/dial.fish"
