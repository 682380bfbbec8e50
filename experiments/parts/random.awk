# Numbers and hashes that are the same in every awk: whole numbers below 2^53, no srand, no rand.
# Run with LC_ALL=C, so that a character is a byte.

function random_seed(n, i) {
    random_state = n % 2147483646 + 1
    for (i = 0; i < 4; i++) random_next() # small seeds have small first numbers
}

# In (0, 1). Park and Miller, Random number generators: good ones are hard to find, CACM 1988.
function random_next() {
    random_state = random_state * 16807 % 2147483647
    return random_state / 2147483647
}

# 0, 1, ... n - 1
function random_below(n) { return int(random_next() * n) }

# A whole number below 2^31 - 1, by the bytes of a text.
function random_hash(text, i, h, n) {
    if (!("a" in random_code))
        for (i = 1; i < 256; i++) random_code[sprintf("%c", i)] = i
    n = length(text)
    for (i = 1; i <= n; i++) h = (h * 257 + random_code[substr(text, i, 1)] + 1) % 2147483647
    return h * 16807 % 2147483647
}

# list[1..n] in random order
function random_shuffle(list, n, i, k, held) {
    for (i = n; i > 1; i--) {
        k = 1 + random_below(i)
        held = list[i]
        list[i] = list[k]
        list[k] = held
    }
}

# The text of a string of a JSON line as it is written there, escapes and all.
function json_text(line, key) {
    if (!match(line, "\"" key "\": *\"([^\"\\\\]|\\\\.)*\"")) return ""
    line = substr(line, RSTART, RLENGTH)
    sub("^\"" key "\": *\"", "", line)
    return substr(line, 1, length(line) - 1)
}
