# Does a stream look as expected?  awk -f match.awk EXPECTED ACTUAL
# A line of EXPECTED is literal, or "~ REGEX" for one line, or "..." for any number of lines.
FNR == 1 { file++ }
file == 1 { want[++n] = $0 }
file == 2 { got[++m] = $0 }

function fits(i, line) {
    if (substr(want[i], 1, 2) == "~ ") return line ~ ("^" substr(want[i], 3) "$")
    return want[i] == line
}

function match_from(i, j) {
    while (i <= n && want[i] != "...") {
        if (j > reached) reached = j
        if (j > m || !fits(i, got[j])) return 0
        i++
        j++
    }
    if (i > n) return j > m
    for (; j <= m + 1; j++)
        if (match_from(i + 1, j)) return 1
    return 0
}

END {
    reached = 1
    if (match_from(1, 1)) exit 0
    print "  expected:"
    for (i = 1; i <= n; i++) print "    | " want[i]
    print "  found (first " reached - 1 " lines fit):"
    for (j = 1; j <= m; j++) print "    | " got[j]
    exit 1
}
