#!/bin/sh
# tools/lint.sh must be able to fail: each fault planted in a copy of the sources is found.
set -u
work=$(mktemp -d "${TMPDIR:-/tmp}/dial-lint-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cd "$SOURCE" || exit 1
# -L: the copy must not lead back into the sources by a link
cp -rL tools src include cmake CMakeLists.txt CMakePresets.json Makefile "$work/"
mkdir "$work/tests" && cp tests/CMakeLists.txt "$work/tests/"
cd "$work" || exit 1
if [ -n "$(find . -type l)" ]; then echo "a link in the copy"; exit 1; fi
failed=0

plant() { # file, text of the fault, words of the finding
    cp "$1" saved
    printf '%s\n' "$2" >>"$1"
    found=$(sh tools/lint.sh)
    code=$?
    cp saved "$1"
    if [ $code = 0 ] || ! echo "$found" | grep -q "^$1:[0-9]*: .*$3"; then
        echo "not found in $1: $2"
        echo "$found"
        failed=1
    fi
}

rm -f saved
if ! sh tools/lint.sh; then echo "the sources as they are do not pass"; exit 1; fi
plant src/base/log.c '#include "text/unicode.h"' 'base stands left of text'
mkdir -p src/cpu && : >src/cpu/lint_plant.c
plant src/cpu/lint_plant.c '#include "ref/ref.h"' 'cpu does not see ref'
plant src/cmd/main.c '#include "base/buf.h"' 'cmd includes only'
plant src/base/log.c 'void f(void) { g = malloc(3); }' 'heap'
plant src/base/log.c 'void f(void) { printf("x"); }' 'does not print'
plant src/base/log.c 'void f(void) { fputs("x", stderr); }' 'does not print'
plant src/base/log.c 'void f(void) { exit(1); }' 'exit'
plant src/base/log.c "$(seq 1 1001 | sed 's/.*/int x&;/')" 'over 1000 lines'
plant src/base/log.c "void f(void)
{
$(seq 1 130)
}" 'over 120'
plant src/base/log.c 'int x; ' 'blank'
plant src/base/log.c 'int	x;' 'tab'
plant cmake/modules.cmake 'add_compile_options(-march=native)' 'no flag'
# neither strings nor comments are code
cp src/base/log.c saved
printf '%s\n' '/* malloc(1), exit(2) */' 'const char *s = "stderr exit(1)";' >>src/base/log.c
sh tools/lint.sh || { echo "took a string or a comment for code"; failed=1; }
exit $failed
