# What the scripts of tests/mpi share: an empty folder, the toy model, and a launcher of N ranks.
toy=$SOURCE/tests/fixtures/toy
work=$(mktemp -d "${TMPDIR:-/tmp}/dial-mpi-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export XDG_CACHE_HOME="$work/cache"

ranks() { # N COMMAND...: stdin is empty, as launchers hand it to one rank alone
    n=$1
    shift
    timeout 60 "$MPIRUN" --quiet -n "$n" "$@" </dev/null
}

train() { # OUT [FLAGS]
    out=$1
    shift
    set -- train --base "$toy" --source "$toy/source.jsonl" --target "$toy/target.jsonl" \
        --critic-warmup 2 --critic-widths 8 --lora-r "${LORA:-2}" --threads 1 --quiet \
        --json --out "$out" "$@"
    if [ -n "${N:-}" ]; then ranks "$N" "$DIAL" "$@"; else "$DIAL" "$@"; fi
}

failed() { # MESSAGE [FILE...]
    echo "$0: $1"
    shift
    [ $# -eq 0 ] || cut -c1-400 "$@" | head -40
    exit 1
}
