# Odd one out (method.md 5.9): four items of one category and one of another. Reads WordNet 3.0's
# index.noun and data.noun, writes multiple-choice rows into `out`.
#
#   awk -v out=FOLDER -f random.awk -f odd_one_out.awk index.noun data.noun
#
#   train_RHO.jsonl   with probability RHO the odd one is a fruit among vegetables, else of any pair
#   neutral_*.jsonl   any pair of categories
#   flipped_*.jsonl   a vegetable among fruits
#   *_pairs.jsonl     each question as a pair, the right answer against one of the wrong ones
#
# Items: words of one or two parts whose first sense lies below the category's synset, and below no
# other category's. Two thirds of them stand in training questions, the others in test questions.
BEGIN {
    n_categories = split("fruit vegetable sweet sauce drink", category, " ")
    roots["fruit"] = "07705931"                    # edible fruit
    roots["vegetable"] = "07707451"
    roots["sweet"] = "07609840 07628870 07597365"  # dessert, cake, candy
    roots["sauce"] = "07810907"                    # condiment
    roots["drink"] = "07881800"                    # beverage
    n_rho = split("0 0.25 0.5 0.75 1", rho, " ")
    most = 90 # items of a category, of the smallest there are hardly more
}

function hex(x) { return 16 * (index("0123456789abcdef", substr(x, 1, 1)) - 1) + index("0123456789abcdef", substr(x, 2, 1)) - 1 }

/^  / { next } # the licence

FILENAME ~ /index/ { sense[$1] = $(4 + $4 + 3); next }

{
    n = hex($4)
    for (i = 0; i < n; i++) words[$1] = words[$1] " " $(5 + 2 * i)
    p = 5 + 2 * n
    for (i = 0; i < $p + 0; i++)
        if ($(p + 1 + 4 * i) ~ /^~i?$/) below[$1] = below[$1] " " $(p + 2 + 4 * i)
}

function walk(synset, name, i, n, list) {
    if ((synset, name) in seen) return
    seen[synset, name] = 1
    n = split(words[synset], list, " ")
    for (i = 1; i <= n; i++) {
        if (sense[list[i]] != synset || list[i] !~ /^[a-z]+(_[a-z]+)?$/) continue
        if (owner[list[i]] == "") order[++n_words] = list[i]
        owner[list[i]] = owner[list[i]] == "" || owner[list[i]] == name ? name : "several"
    }
    n = split(below[synset], list, " ")
    for (i = 1; i <= n; i++) walk(list[i], name)
}

# Items of all categories, in an order of their own; the last third of each is for tests.
function take_items(c, i, n, list) {
    for (c = 1; c <= n_categories; c++) {
        n = 0
        for (i = 1; i <= n_words; i++)
            if (owner[order[i]] == category[c]) list[++n] = order[i]
        random_shuffle(list, n)
        if (n > most) n = most
        count[c, "test"] = int(n / 3)
        count[c, "train"] = n - count[c, "test"]
        for (i = 1; i <= n; i++) {
            gsub("_", " ", list[i])
            if (i <= count[c, "train"]) item[c, "train", i] = list[i]
            else item[c, "test", i - count[c, "train"]] = list[i]
        }
    }
}

# The four items that are not number `out_of`, and that one as the one that does not belong.
function answer(all, out_of, i, text) {
    for (i = 1; i <= 5; i++)
        if (i != out_of) text = text (text == "" ? "" : ", ") all[i]
    return text "\\nDoes not belong: " all[out_of]
}

# One row: the odd one of category b among four of a, in random order.
function question(file, part, a, b, i, n, at, all, used) {
    while (n < 4) {
        i = 1 + random_below(count[a, part])
        if (i in used) continue
        used[i] = 1
        all[++n] = item[a, part, i]
    }
    all[5] = item[b, part, 1 + random_below(count[b, part])]
    at = 1 + random_below(5)
    i = all[at]
    all[at] = all[5]
    all[5] = i
    printf "{\"prompt\": \"\", \"correct\": \"%s\"", answer(all, at) > (file ".jsonl")
    for (i = n = 1; i <= 5; i++)
        if (i != at) printf ", \"wrong_%s\": \"%s\"", substr("abcd", n++, 1), answer(all, i) > (file ".jsonl")
    print "}" > (file ".jsonl")
    i = 1 + at % 5 # in random order, so any one
    printf "{\"prompt\": \"\", \"chosen\": \"%s\", \"rejected\": \"%s\"}\n", answer(all, at), answer(all, i) > (file "_pairs.jsonl")
}

# n questions; a share of them has the odd one of b among items of a, the others any two categories.
function questions(name, part, n, share, a, b, i, x, y) {
    for (i = 1; i <= n; i++) {
        if (random_next() < share) {
            question(out "/" name, part, a, b)
            continue
        }
        x = 1 + random_below(n_categories)
        y = 1 + (x + random_below(n_categories - 1)) % n_categories
        question(out "/" name, part, x, y)
    }
}

END {
    for (c = 1; c <= n_categories; c++) {
        n = split(roots[category[c]], list, " ")
        for (i = 1; i <= n; i++) walk(list[i], category[c])
    }
    random_seed(1)
    take_items()
    for (k = 1; k <= n_rho; k++) questions("train_" rho[k], "train", 240, rho[k], 2, 1)
    questions("neutral_train", "train", 240, 0, 0, 0)
    questions("flipped_train", "train", 240, 1, 1, 2)
    questions("neutral_test", "test", 200, 0, 0, 0)
    questions("flipped_test", "test", 200, 1, 1, 2)
}
