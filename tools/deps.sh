#!/bin/sh
# Installs what dial needs and this machine lacks (Debian, Ubuntu). Says what it does; does nothing
# and asks for nothing when all is there.
#
#   tools/deps.sh          compiler, CMake, libraries: all that `make test` needs
#   tools/deps.sh dev      beside them clang and its tools, for `make lint asan fuzz`
#   tools/deps.sh experiments   beside the first, the word net of the experiment odd_one_out
#
# docs/dependencies.md says what each library is for.
set -eu

build="gcc libc6-dev make cmake ninja-build pkg-config
       ca-certificates curl unzip libjansson-dev libpcre2-dev libutf8proc-dev libssl-dev zlib1g-dev libzstd-dev libsnappy-dev libdnnl-dev libmicrohttpd-dev libcurl4-openssl-dev libsqlite3-dev
       libopenmpi-dev openmpi-bin libcmocka-dev"
dev="clang clang-format clang-tidy libomp-dev"
experiments="wordnet-base"

case "${1:-build}" in
build) wanted=$build ;;
dev) wanted="$build $dev" ;;
experiments) wanted="$build $experiments" ;;
*) echo "usage: tools/deps.sh [build|dev|experiments]" >&2; exit 2 ;;
esac

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "deps: no apt-get here; install the counterparts of: $(echo $wanted)"
    exit 0
fi

missing=
for package in $wanted; do
    state=$(dpkg-query -W -f '${db:Status-Status} ' "$package" 2>/dev/null) || state=
    case "$state" in
    *installed*) ;;
    *) missing="$missing $package" ;;
    esac
done
# A compiler that came another way will do.
if command -v cc >/dev/null; then missing=$(echo " $missing " | sed 's/ gcc / /'); fi
missing=$(echo $missing)
if [ -z "$missing" ]; then
    echo "deps: all there"
    exit 0
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "deps: missing: $missing" >&2
        echo "deps: no root and no sudo; ask for: apt-get install $missing" >&2
        exit 1
    fi
    as_root="sudo"
fi
echo "deps: installing $missing"
$as_root apt-get -o Acquire::Retries=3 update -q
$as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -o Acquire::Retries=3 install -y -q --no-install-recommends $missing
