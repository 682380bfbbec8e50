#!/bin/sh
# However a job of several ranks ends, it ends: a killed rank, a signal, an error on one rank alone.
# The message comes once, and the last checkpoint is whole.
set -u
. "$SOURCE/tests/mpi/common.sh"

begin() { # OUT SECONDS: a long run of 2 ranks in the background, past its first checkpoint; $job, $one, $two
    timeout 60 "$MPIRUN" --mca odls_base_sigkill_timeout "$2" -n 2 "$DIAL" train --base "$toy" \
        --source "$toy/source.jsonl" --target "$toy/target.jsonl" --critic-warmup 2 --critic-widths 8 \
        --lora-r 2 --maps 0 --threads 1 --steps 100000 --save-every 5 --log-every 1000000 --out "$1" \
        </dev/null >"$1.out" 2>"$1.err" &
    job=$!
    for i in $(seq 300); do
        [ -e "$1/latest.json" ] && break
        sleep 0.1
    done
    [ -e "$1/latest.json" ] || failed "no checkpoint came" "$1.err"
    mpirun=$(pgrep -P $job)
    set -- $(pgrep -P "$mpirun" | sort -n)
    one=$1
    two=$2
}
go_on() { # OUT: the run continues from its last checkpoint, in one process
    step=$(grep -o '"step":[0-9]*' "$1/latest.json" | tr -dc 0-9)
    train "$1" --maps 0 --save-every 5 --log-every 1000000 --steps $((step + 2)) --resume \
        >"$1.doc" 2>"$1.log" || failed "--resume failed" "$1.log"
    grep -q "\"steps\":$((step + 2))," "$1.doc" || failed "expected $((step + 2)) steps" "$1.doc"
}

begin killed 1
kill -9 "$two"
wait $job && failed "a job without one of its ranks succeeded" killed.err
grep -qE 'rank 1 of 2.*gone|rank 1 .*signal 9' killed.err || failed "no message names rank 1" killed.err
grep -qE '^[0-9]+ .* [RSDT] ' "/proc/$one/stat" 2>/dev/null && failed "rank 0 still runs"
go_on killed

begin stopped 20 # a sanitizer on a busy machine takes more than 2 s to save
kill -INT "$mpirun" # mpirun hands it on as SIGTERM
wait $job && failed "a stopped job succeeded" stopped.err
[ "$(grep -c 'the state is saved' stopped.err)" = 1 ] || failed "expected one message" stopped.err
saved=$(grep -oE 'stopped at step [0-9]+' stopped.err | tr -dc 0-9)
[ "$(grep -c "\"event\":\"save\",\"step\":$saved," stopped/metrics.jsonl)" = 1 ] || failed "expected one save at $saved" stopped.err
grep -q "\"step\":$saved" stopped/latest.json || failed "the last checkpoint is another" stopped/latest.json
go_on stopped

# A file that is bad, or another, on one machine alone: each rank in a folder of its own.
mkdir 0 1
cp "$toy/source.jsonl" 0
here() { # MESSAGE CODE [FLAGS]
    message=$1
    code=$2
    shift 2
    ranks 2 sh -c 'cd $OMPI_COMM_WORLD_RANK && exec "$0" "$@"' "$DIAL" train --base "$toy" \
        --source source.jsonl --target "$toy/target.jsonl" --steps 2 --critic-warmup 0 --threads 1 \
        --quiet --out run "$@" >here.out 2>here.err
    got=$?
    [ $got = "$code" ] || failed "expected exit $code, found $got" here.err
    [ "$(grep -c "$message" here.err)" = 1 ] || failed "expected once: $message" here.err
}
sed '7s/"chosen"/"chosen/' "$toy/source.jsonl" >1/source.jsonl
here 'source.jsonl:7.*rank 1 of 2' 3
rm -rf 0/run 1/run
sed 7d "$toy/source.jsonl" >1/source.jsonl
here 'rank 1 of 2.*the rows.*not the same' 2
touch 0/run/file
here 'the folder is not empty' 2 # rank 0 alone looks, and all end
[ ! -e 1/run ] || failed "rank 1 wrote a run"
