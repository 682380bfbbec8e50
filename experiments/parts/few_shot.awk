# Ten labelled rows and many without labels (method.md 5.5b): five tens that share no row, and one
# target of all rows that share no text with any of them, so that draws differ in the source alone.
#
#   awk -v out=FOLDER -f random.awk -f few_shot.awk nollysenti/en_train.jsonl
{
    order[NR] = NR
    row[NR] = $0
    chosen[NR] = json_text($0, "chosen")
    rejected[NR] = json_text($0, "rejected")
}

END {
    random_seed(1)
    random_shuffle(order, NR)
    for (k = 1; k <= NR; k++) {
        i = order[k]
        if (drawn == 50 || chosen[i] in used || rejected[i] in used) continue
        used[chosen[i]] = used[rejected[i]] = 1
        ten = int(drawn / 10)
        drawn++
        print row[i] > (out "/ten_" ten ".jsonl")
    }
    for (i = 1; i <= NR; i++)
        if (!(chosen[i] in used) && !(rejected[i] in used)) print row[i] > (out "/rest.jsonl")
}
