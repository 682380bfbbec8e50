#!/bin/sh
# The house rules that a compiler does not hold. Every finding is one line FILE:LINE: RULE.
#
#   tools/lint.sh          text rules only: seconds, part of `make test`
#   tools/lint.sh all      and clang-format, clang-tidy (needs build/release/compile_commands.json)
set -u
cd "$(dirname "$0")/.." || exit 2

# Includes point left in this list; ref and cpu do not see each other; cmd sees the public header.
order="base text data tensor ref cpu model align dist train eval report serve api cmd"

sources() { find src include tests bench -name '*.[ch]' 2>/dev/null | LC_ALL=C sort; }

includes() {
    find src -name '*.[ch]' | LC_ALL=C sort | xargs awk -v order="$order" '
        BEGIN { n = split(order, name, " "); for (i = 1; i <= n; i++) rank[name[i]] = i }
        FNR == 1 { split(FILENAME, part, "/"); own = part[2]
                   if (!(own in rank)) print FILENAME ":1: folder src/" own " is not in the order of tools/lint.sh" }
        /^[ \t]*#[ \t]*include[ \t]*"/ {
            split($0, quoted, "\""); path = quoted[2]
            folder = path ~ /\// ? substr(path, 1, index(path, "/") - 1) : own
            at = FILENAME ":" FNR ": "
            if (folder == "dial") next
            if (!(folder in rank)) print at "includes an unknown folder: " path
            else if (own == "cmd" && folder != "cmd") print at "cmd includes only dial/ and its own: " path
            else if (own == "cpu" && folder == "ref") print at "cpu does not see ref: " path
            else if (rank[folder] > rank[own]) print at own " stands left of " folder ": " path
        }'
}

# FILE:LINE:text of the code: without strings, and without lines that start or continue a comment.
code() {
    xargs awk '!/^[ \t]*(\/\*|\*|\/\/)/ { gsub(/"([^"\\]|\\.)*"/, "\"\""); sub(/\/\*.*\*\//, "")
                                        print FILENAME ":" FNR ":" $0 }'
}

heap() {
    find src -name '*.[ch]' ! -path src/base/alloc.c | LC_ALL=C sort | code |
        grep -E '[^_[:alnum:].>](malloc|calloc|realloc|reallocarray|aligned_alloc|posix_memalign|strdup|strndup|asprintf|vasprintf)[ ]*\(' |
        sed -E 's/^([^:]*:[0-9]+):.*/\1: heap outside src\/base\/alloc.c/'
}

# _exit of a forked child that could not become another program is no exit of the library.
library_output() {
    find src -name '*.[ch]' ! -path 'src/cmd/*' | LC_ALL=C sort | code |
        grep -v '^src/api/process.c:[0-9]*:.*_exit(127)' |
        grep -E '[^_[:alnum:].>](printf|puts|putchar|perror|exit|_exit|quick_exit|abort)[ ]*\(|[^_[:alnum:]](stdout|stderr)[^_[:alnum:]]' |
        sed -E 's/^([^:]*:[0-9]+):.*/\1: the library does not print, exit or abort/'
}

# Lines of a file, lines of a function. Past the first number it is told, past the second it fails:
# 800 and 80 are the rule, and a rule may be broken where the code reads better.
length() { # most lines of a file, of a function
    sources | xargs awk -v most="$1" '
        function done() { if (file != "" && lines > most) print file ":" lines ": over " most " lines" }
        FNR == 1 { done(); file = FILENAME }
        { lines = FNR }
        END { done() }'
    # A function runs from a "{" to the next "}" in the first column.
    find src -name '*.c' | LC_ALL=C sort | xargs awk -v most="$2" '
        FNR == 1 { start = 0 }
        /^\{/ { start = FNR }
        /^\}/ { if (start && FNR - start - 1 > most)
                    print FILENAME ":" start ": function of " FNR - start - 1 " lines, over " most
                start = 0 }'
}

global_flags() {
    grep -nE -- '-march=native|-ffast-math|-Ofast' CMakeLists.txt CMakePresets.json Makefile cmake/*.cmake tests/CMakeLists.txt |
        sed -E 's/^([^:]*:[0-9]+):.*/\1: no flag that changes numbers or binds to one machine/'
}

blanks() {
    sources | xargs grep -nE '[[:blank:]]+$' /dev/null | sed -E 's/^([^:]*:[0-9]+):.*/\1: blank at the end/'
    sources | xargs grep -nP '\t' /dev/null | sed -E 's/^([^:]*:[0-9]+):.*/\1: tab/'
}

length 800 80 | sed 's/^/note: /'
found=$(includes; heap; library_output; length 1000 120; global_flags; blanks)
status=0
if [ -n "$found" ]; then
    echo "$found"
    status=1
fi
echo "lint: $(sources | wc -l) files, $(printf '%s' "$found" | grep -c '') findings of the text rules"

if [ "${1:-}" = all ]; then
    echo "lint: clang-format"
    sources | xargs clang-format --dry-run -Werror || status=1
    echo "lint: clang-tidy"
    find src -name '*.c' | LC_ALL=C sort |
        xargs -P "$(nproc)" -n 4 clang-tidy --quiet -p build/release || status=1
fi
exit $status
