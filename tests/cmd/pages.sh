#!/bin/sh
# Man pages and completion know every verb and flag that the help pages know, and their shells and
# formatters (where they are installed) have nothing to complain of.
set -u
work=$(mktemp -d "${TMPDIR:-/tmp}/dial-pages-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
sh "$SOURCE/tools/pages.sh" "$DIAL" "$work" || exit 1
failed=0
fault() { echo "$*"; failed=1; }

[ "$("$DIAL" --page verbs | wc -l)" -ge 12 ] || fault "few verbs: $("$DIAL" --page verbs)"
for verb in $("$DIAL" --page verbs); do
    page=$work/man1/dial-$verb.1
    grep -q "^.BR dial.-$verb (1)" "$work/man1/dial.1" || fault "dial(1) does not name $verb"
    flags=$("$DIAL" "$verb" --help | sed -n 's/^  --\([a-z][a-z0-9-]*\).*/\1/p')
    [ "$(echo "$flags" | wc -l)" -gt 8 ] || fault "$verb: few flags in its help"
    echo "$flags" | LC_ALL=C sort -u >"$work/want"
    same() { # SHELL: the flags that it knows come as lines on stdin
        LC_ALL=C sort -u | diff "$work/want" - >"$work/diff" || fault "$1, $verb: $(cat "$work/diff")"
    }
    sed -n 's/^.B \\-\\-//p' "$page" | tr -d '\\' | same man
    sed -n "s/^ *$verb) words='\(.*\)' ;;/\1/p" "$work/bash/dial" | tr ' ' '\n' | sed -n 's/^--//p' | same bash
    sed -n "s/.*from $verb' -l \([a-z0-9-]*\).*/\1/p" "$work/fish/dial.fish" | same fish
    awk -v v="    $verb)" '$0 == v { on = 1 } on; /;;$/ { on = 0 }' "$work/zsh/_dial" |
        sed -n "s/^ *'\**--\([a-z0-9-]*\)\[.*/\1/p" | same zsh
done
[ -z "$("$DIAL" --page nothing 2>/dev/null)" ] || fault "a page that is not there was printed"

if command -v groff >/dev/null; then
    for page in "$work"/man1/*.1; do
        said=$(groff -man -Tutf8 -ww -z "$page" 2>&1)
        [ -z "$said" ] || fault "$said"
    done
fi
if command -v bash >/dev/null; then
    bash -n "$work/bash/dial" || failed=1
    words() { # WORD...: what bash would offer
        bash -c '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _dial; echo "${COMPREPLY[*]}"' x "$work/bash/dial" "$@"
    }
    [ "$(words dial sco)" = score ] || fault "bash offers '$(words dial sco)' for sco"
    [ "$(words dial train --preset pa)" = paper ] || fault "bash offers '$(words dial train --preset pa)' for --preset pa"
    [ "$(words dial export --no)" = --no-verify ] || fault "bash offers '$(words dial export --no)' for --no"
fi
if command -v zsh >/dev/null; then zsh -n "$work/zsh/_dial" || failed=1; fi
if command -v fish >/dev/null; then
    fish -n "$work/fish/dial.fish" || failed=1
    said=$(fish -c "source $work/fish/dial.fish; complete -C 'dial train --preset pa'" 2>/dev/null)
    case $said in paper*) ;; *) fault "fish offers '$said' for --preset pa" ;; esac
fi
exit $failed
