#!/bin/sh
# What `make install` lays down can be used: the program runs, a C and a C++ file compile with
# pkg-config against the shared and the static library, the examples through pkg-config and through
# find_package, and they run; the library shows nothing but dial_*, under its version.
set -eu
work=$(mktemp -d "${TMPDIR:-/tmp}/dial-install-XXXXXX")
trap 'rm -rf "$work"' EXIT
cmake --install "$BUILD" --prefix "$work/usr" >"$work/log"
"$work/usr/bin/dial" --version

pc=$(find "$work/usr" -name dial.pc)
lib=$(dirname "$(dirname "$pc")")
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
cat >"$work/use.c" <<'END'
#include <stdio.h>
#include <string.h>
#include "dial/dial.h"
int main(void)
{
    dial_train_options o;
    dial_error err;
    memset(&err, 0, sizeof err);
    dial_options_default(dial_train_table, &o, sizeof o);
    printf("%s %d %d\n", dial_version(), o.lora_r == 64,
           dial_model_open("/nonexistent", NULL, NULL, NULL, &err) != DIAL_OK);
    return 0;
}
END
cp "$work/use.c" "$work/use.cc"
version=$("$work/usr/bin/dial" --version | cut -d' ' -f2)

check() { # the program made
    said=$(LD_LIBRARY_PATH="$lib" "$1")
    [ "$said" = "$version 1 1" ] || { echo "$1 said: $said"; exit 1; }
}
cc "$work/use.c" -o "$work/shared" $(pkg-config --cflags --libs dial)
check "$work/shared"
# with the archive in the place of -ldial the shared library cannot slip in
cc "$work/use.c" -o "$work/static" \
    $(pkg-config --static --cflags --libs dial | sed "s|-ldial |$lib/libdial.a |")
check "$work/static"
if command -v c++ >/dev/null; then
    c++ "$work/use.cc" -o "$work/cxx" $(pkg-config --cflags --libs dial)
    check "$work/cxx"
fi

# The examples, both ways, from a prefix that was moved, as a package manager would.
mv "$work/usr" "$work/moved"
pc=$(find "$work/moved" -name dial.pc)
lib=$(dirname "$(dirname "$pc")")
PKG_CONFIG_PATH=$(dirname "$pc")
PATH="$work/moved/bin:$PATH"
export LD_LIBRARY_PATH="$lib" XDG_CACHE_HOME="$work/cache"
toy=$SOURCE/tests/fixtures/toy
for name in score best_of_n train; do
    cc -Wall -Wextra -Werror "$SOURCE/examples/$name.c" -o "$work/$name" $(pkg-config --cflags --libs dial)
done
cmake -S "$SOURCE/examples" -B "$work/examples" -DCMAKE_PREFIX_PATH="$work/moved" >"$work/log" || { cat "$work/log"; exit 1; }
cmake --build "$work/examples" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
"$work/train" base="$toy" source="$toy/source.jsonl" target="$toy/target.jsonl" out="$work/run" steps=3 critic-warmup=1 \
    critic-widths=8 maps=0 lora-r=2 select=earliest threads=1 >"$work/doc" 2>"$work/log" || { cat "$work/log"; exit 1; }
grep -q '"schema":"dial.train/1"' "$work/doc"
one=$(dial score --model "$work/run" --prompt 2+2= --response 4 --quiet | sed 's/.*"score":\([^,]*\),.*/\1/')
for program in "$work/score" "$work/examples/score" "$work/examples/score_static"; do
    said=$("$program" "$work/run" 2+2= 4 5 | head -1)
    # as numbers: both are printed with 9 digits, but not in one style
    awk -v a="$said" -v b="$one" 'BEGIN { exit a + 0 != b + 0 }' || { echo "$program said $said, dial score $one"; exit 1; }
done
echo '{"prompt":"2+2=","responses":["4","5","four"]}' >"$work/cand.jsonl"
"$work/examples/best_of_n" "$work/run" "$work/cand.jsonl" 2>"$work/log" | grep -q '^{"i":0,"best":[012],"order":\[.,.,.\],' ||
    { cat "$work/log"; exit 1; }
code=0
"$work/score" /nonexistent p r 2>"$work/log" || code=$?
[ $code = 2 ] && grep -q '^error: .*; try: ' "$work/log" || { echo "expected exit 2 and an error:"; cat "$work/log"; exit 1; }
for page in man1/dial.1 man1/dial-train.1 bash-completion/completions/dial zsh/site-functions/_dial \
    fish/vendor_completions.d/dial.fish systemd/system/dial@.service cmake/dial/dialConfig.cmake; do
    [ -n "$(find "$work/moved" -path "*/$page")" ] || { echo "not installed: $page"; exit 1; }
done

# Hidden is what is not DIAL_API; what is declared DIAL_API is there.
shown=$(nm -D --defined-only "$lib/libdial.so" | awk '$2 ~ /[TDRB]/ { print $3 }')
echo "$shown" | grep -v '@@DIAL_0\.1$' && { echo "libdial.so shows names without the version DIAL_0.1"; exit 1; }
shown=$(echo "$shown" | sed 's/@@.*//')
other=$(echo "$shown" | grep -v '^dial_' || true)
[ -z "$other" ] || { echo "libdial.so also shows: $other"; exit 1; }
declared=$(cat "$work"/moved/include/dial/*.h | tr '\n' ' ' | tr ';' '\n' |
    sed -n 's/.*DIAL_API [^([]*[ *]\(dial_[a-z0-9_]*\)[[(].*/\1/p')
[ "$(echo "$declared" | wc -l)" -gt 20 ] || { echo "found few declarations: $declared"; exit 1; }
for name in $declared; do
    echo "$shown" | grep -qx "$name" || { echo "declared, not in libdial.so: $name"; exit 1; }
done
