#!/bin/sh
# Every --help is exactly as committed in tests/cmd/help/. After a change that is meant:
#   DIAL_UPDATE=1 DIAL=build/dial SOURCE=. sh tests/cmd/help.sh
set -u
failed=0
for verb in '' train eval score rank embed info data bench report serve doctor select sweep export pull merge adapt; do
    golden="$SOURCE/tests/cmd/help/${verb:-dial}.txt"
    if [ -n "${DIAL_UPDATE:-}" ]; then
        "$DIAL" $verb --help >"$golden" || failed=1
        continue
    fi
    for flag in --help -h; do
        "$DIAL" $verb $flag | diff -u "$golden" - || failed=1
    done
    "$DIAL" $verb --help | awk 'length > 80 && !/^usage:/ && !/^  (dial|echo) / { print "over 80 columns: " $0; bad = 1 } END { exit bad }' ||
        failed=1
done
exit $failed
