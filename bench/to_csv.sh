#!/bin/sh
# dial.bench/1 on stdin -> CSV lines; CPU, COMMIT and COMMAND come from the environment.
set -eu
tr -d '\n' | sed 's/{"name"/\n{"name"/g' | awk -v cpu="${CPU:-}" -v commit="${COMMIT:-}" \
    -v command="${COMMAND:-}" -v date="$(date -u +%Y-%m-%d)" '
function field(key,   s) {
    s = $0
    if (!match(s, "\"" key "\":")) return ""
    s = substr(s, RSTART + RLENGTH)
    if (substr(s, 1, 1) == "\"") { s = substr(s, 2); sub(/".*/, "", s); gsub(/,/, ";", s) }
    else sub(/[,}].*/, "", s)
    return s
}
NR == 1 { device = field("device"); next }
{
    print date "," commit "," cpu "," device "," field("dtype") "," field("name") "," field("tokens") "," \
        field("median") "," field("tokens_per_second") "," field("gflops") "," field("limit_gflops") "," \
        field("peak_fraction") "," field("peak_memory_bytes") "," command
}'
