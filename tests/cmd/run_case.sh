#!/bin/sh
# Runs one case file: commands with the exit code and the streams that they must have.
#
#   # why this case is here
#   $ dial train --steps x          a shell command; "dial" is the program under test
#   > --more                        goes on with it (a newline is kept)
#   exit 2                          0 if not said
#   --- stdout                      literal lines, "~ REGEX", or "..." for any lines;
#   --- stderr                      a stream without a section must stay empty
#
# Blank lines and lines that begin with "#" say nothing, inside a section too: write "~ " and "~ #".
#
# A file may hold several commands, run in order in one empty folder. They may use $TOY (the folder
# tests/fixtures/toy), $ROWS (base, source and target of it as flags) and $FAST (flags of a run that
# takes a fraction of a second). Environment: DIAL (the program), SOURCE (the root of the sources).
set -u
case_file=$1
here=$SOURCE/tests/cmd
export TOY="$SOURCE/tests/fixtures/toy"
export ROWS="--base $TOY --source $TOY/source.jsonl --target $TOY/target.jsonl"
export FAST="--steps 4 --critic-warmup 2 --critic-widths 8 --lora-r 2 --maps 0 --select earliest --threads 1 --quiet"
unset NO_COLOR DIAL_CACHE DIAL_DATA XDG_CACHE_HOME

work=$(mktemp -d "${TMPDIR:-/tmp}/dial-case-XXXXXX") || exit 1
trap 'chmod -R u+rwX "$work"; rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/steps" "$work/cwd"
ln -s "$DIAL" "$work/bin/dial"
export PATH="$work/bin:$PATH" XDG_CACHE_HOME="$work/cache"

awk -v dir="$work/steps/" '
    function open_step() { step = dir sprintf("%02d", ++n); to = step ".cmd"; exit_code = 0
                           printf "" > (step ".out"); printf "" > (step ".err"); print 0 > (step ".exit") }
    in_command && /^> /  { print substr($0, 3) > to; next }
    { in_command = 0 }
    /^#/ || /^$/         { next }
    /^\$ /               { open_step(); print substr($0, 3) > to; in_command = 1; section = ""; next }
    /^exit [0-9]+$/ && section == "" && n { close(step ".exit"); print $2 > (step ".exit"); next }
    /^--- stdout$/ && n  { section = to = step ".out"; next }
    /^--- stderr$/ && n  { section = to = step ".err"; next }
    section != ""        { print > section; next }
    { print "line " FNR ": not understood: " $0; bad = 1 }
    END { if (!n) { print "no command"; bad = 1 } exit bad }
' "$case_file" || exit 1

cd "$work/cwd" || exit 1
failed=0
for cmd in "$work"/steps/*.cmd; do
    step=${cmd%.cmd}
    sh "$cmd" >"$step.stdout" 2>"$step.stderr" </dev/null
    code=$?
    fault=
    [ "$code" = "$(cat "$step.exit")" ] || fault="exit $code, expected $(cat "$step.exit")"
    out=$(awk -f "$here/match.awk" "$step.out" "$step.stdout") || fault="$fault
stdout
$out"
    err=$(awk -f "$here/match.awk" "$step.err" "$step.stderr") || fault="$fault
stderr
$err"
    if [ -n "$fault" ]; then
        echo "$case_file"
        sed 's/^/$ /' "$cmd"
        printf '%s\n' "$fault"
        [ "$code" = "$(cat "$step.exit")" ] || sed 's/^/  stderr: /' "$step.stderr" | tail -20
        failed=1
    fi
done
exit $failed
