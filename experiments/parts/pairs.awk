# What native gains over src-pref between two domains, against how far apart they are (method.md
# 5.7). Reads the sweep.json of pairs_blimp, prints Markdown.
#
#   awk -f random.awk -f pairs.awk build/experiments/pairs_blimp/sweep.json
#
# Distances are those that src-pref's checkpoint has to the target's texts: no label of the target is
# read for them. Intervals (95%) resample paradigms on both sides, a pair (a, b) with the weight c_a c_b
# of two Exp(1) draws (method.md 10.1), 1000 times.
function number_of(run, key) {
    if (!match(run, "\"" key "\": *-?[0-9.e+-]+")) return ""
    run = substr(run, RSTART, RLENGTH)
    sub(/^"[^"]*": */, "", run)
    return run + 0
}

# Takes the runs in; a run begins at {"dir":
{
    n_runs = split($0, run, /\{"dir":/)
    for (r = 2; r <= n_runs; r++) {
        target = substr(run[r], index(run[r], "\"eval\""))
        pair = json_text(run[r], "a") SUBSEP json_text(run[r], "b")
        if (json_text(run[r], "status") == "failed" || number_of(target, "target") == "") continue
        if (json_text(run[r], "method") == "src-pref") {
            baseline[pair] = number_of(target, "target")
            fact["a_distance", pair] = number_of(run[r], "a_distance")
            fact["w1", pair] = number_of(run[r], "w1")
            fact["source_accuracy", pair] = number_of(run[r], "source_accuracy")
        } else if (json_text(run[r], "method") == "mmd")
            native[pair] = number_of(target, "target")
    }
}

# order[1..n] by rising key[order[.]]
function sort_by(order, key, n, i, k, held) {
    for (i = 2; i <= n; i++) {
        held = order[i]
        for (k = i - 1; k >= 1 && key[order[k]] > key[held]; k--) order[k + 1] = order[k]
        order[k + 1] = held
    }
}

# The 2.5% and 97.5% quantiles of value[1..n], as text.
function interval(value, n, digits, i, order) {
    for (i = 1; i <= n; i++) order[i] = i
    sort_by(order, value, n)
    return sprintf("%+." digits "f to %+." digits "f", value[order[int(0.025 * n) + 1]], value[order[int(0.975 * n)]])
}

# Weighted mean of the gain over rank[from..to].
function mean_gain(rank, from, to, weight, i, sum, total) {
    for (i = from; i <= to; i++) {
        sum += weight[rank[i]] * gain[rank[i]]
        total += weight[rank[i]]
    }
    return 100 * sum / total
}

# Weighted correlation of the gain and a fact over all pairs.
function correlation(value, weight, i, t, mx, my, xx, yy, xy) {
    for (i = 1; i <= n; i++) {
        t += weight[i]
        mx += weight[i] * value[i]
        my += weight[i] * gain[i]
    }
    mx /= t
    my /= t
    for (i = 1; i <= n; i++) {
        xx += weight[i] * (value[i] - mx) ^ 2
        yy += weight[i] * (gain[i] - my) ^ 2
        xy += weight[i] * (value[i] - mx) * (gain[i] - my)
    }
    return xx * yy > 0 ? xy / sqrt(xx * yy) : 0
}

# The weights of draw d of all pairs; draw 0: one each.
function weigh(d, weight, i, c) {
    random_seed(d)
    for (i = 1; i <= n; i++) {
        if (!(from[i] in c)) c[from[i]] = -log(random_next())
        if (!(to[i] in c)) c[to[i]] = -log(random_next())
        weight[i] = d > 0 ? c[from[i]] * c[to[i]] : 1
    }
}

# A table of the gain by thirds of a fact, and how the two go together.
function table(name, title, parts, i, k, d, rank, value, lo, hi, weight, drawn, one, r) {
    for (i = 1; i <= n; i++) {
        value[i] = fact[name, key[i]]
        rank[i] = i
    }
    sort_by(rank, value, n)
    for (d = 0; d <= draws; d++) {
        weigh(d, weight)
        for (k = 1; k <= parts; k++)
            drawn[k, d] = mean_gain(rank, int((k - 1) * n / parts) + 1, int(k * n / parts), weight)
        drawn[0, d] = correlation(value, weight)
    }
    printf "\n| %s | pairs | native - src-pref, points | 95%% interval |\n| --- | --- | --- | --- |\n", title
    for (k = 1; k <= parts; k++) {
        lo = int((k - 1) * n / parts) + 1
        hi = int(k * n / parts)
        for (d = 1; d <= draws; d++) one[d] = drawn[k, d]
        printf "| %.3f to %.3f | %d | %+.1f | %s |\n", value[rank[lo]], value[rank[hi]], hi - lo + 1, drawn[k, 0], interval(one, draws, 1)
    }
    for (d = 1; d <= draws; d++) one[d] = drawn[0, d]
    printf "\nCorrelation of the gain and this: %+.2f (%s).\n", drawn[0, 0], interval(one, draws, 2)
}

END {
    draws = 1000
    for (pair in native) {
        if (!(pair in baseline) || fact["a_distance", pair] == "" || fact["w1", pair] == "") continue
        key[++n] = pair
    }
    if (n < 6) {
        print "pairs: fewer than 6 pairs are done"
        exit 1
    }
    for (i = 1; i <= n; i++) order[i] = i
    sort_by(order, key, n) # not the order of an awk's hash table
    for (i = 1; i <= n; i++) sorted[i] = key[order[i]]
    for (i = 1; i <= n; i++) {
        key[i] = sorted[i]
        split(key[i], side, SUBSEP)
        from[i] = side[1]
        to[i] = side[2]
        gain[i] = native[key[i]] - baseline[key[i]]
        better += gain[i] > 0
        worse += gain[i] < 0
        all[i] = i
    }
    for (d = 0; d <= draws; d++) {
        weigh(d, weight)
        value = mean_gain(all, 1, n, weight)
        if (d == 0) whole = value
        else mean[d] = value
    }
    printf "%d ordered pairs of paradigms: native - src-pref %+.1f points (%s), better in %d, worse in %d.\n", n, whole, interval(mean, draws, 1), better, worse
    parts = n >= 100 ? 10 : 3
    table("a_distance", "proxy A-distance", parts)
    table("w1", "W1 of a fresh critic", parts)
    table("source_accuracy", "accuracy of src-pref on held-out source rows", parts)
}
