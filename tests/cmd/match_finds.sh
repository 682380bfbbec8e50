#!/bin/sh
# The matcher and the runner of cases must be able to fail: each of these cases is wrong once.
set -u
work=$(mktemp -d "${TMPDIR:-/tmp}/dial-match-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

expect() { # fail|pass, then the case on stdin
    cat >"$work/x.case"
    if sh "$SOURCE/tests/cmd/run_case.sh" "$work/x.case" >"$work/log"; then got=pass; else got=fail; fi
    if [ $got != "$1" ]; then
        echo "expected to $1:"
        cat "$work/x.case" "$work/log"
        failed=1
    fi
}

expect pass <<'END'
$ printf 'a\nb\nc\n'; echo e >&2; exit 3
exit 3
--- stdout
a
...
~ [bc]
--- stderr
e
END
expect fail <<'END'
$ exit 3
END
expect fail <<'END'
$ echo a
END
expect fail <<'END'
$ echo a >&2
END
expect fail <<'END'
$ printf 'a\nb\n'
--- stdout
a
END
expect fail <<'END'
$ echo a
--- stdout
a
b
END
expect fail <<'END'
$ echo abc
--- stdout
~ ab
END
expect pass <<'END'
$ printf 'a\nb\nb\nc\n'
--- stdout
...
b
c
END
expect fail <<'END'
$ true
$ false
END
expect fail <<'END'
nonsense
END
exit $failed
