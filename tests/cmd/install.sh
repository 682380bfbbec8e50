#!/bin/sh
# What `make install` lays down can be used: the program runs, a C and a C++ file compile with
# pkg-config against the shared and the static library, and the library shows nothing but dial_*.
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

# Hidden is what is not DIAL_API; what is declared DIAL_API is there.
shown=$(nm -D --defined-only "$lib/libdial.so" | awk '$2 ~ /[TDRB]/ { print $3 }')
other=$(echo "$shown" | grep -v '^dial_' || true)
[ -z "$other" ] || { echo "libdial.so also shows: $other"; exit 1; }
declared=$(cat "$work"/usr/include/dial/*.h | tr '\n' ' ' | tr ';' '\n' |
    sed -n 's/.*DIAL_API [^([]*[ *]\(dial_[a-z0-9_]*\)[[(].*/\1/p')
[ "$(echo "$declared" | wc -l)" -gt 20 ] || { echo "found few declarations: $declared"; exit 1; }
for name in $declared; do
    echo "$shown" | grep -qx "$name" || { echo "declared, not in libdial.so: $name"; exit 1; }
done
