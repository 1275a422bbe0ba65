#!/bin/bash
# nodes.sh [--electrum] [DIR]
#
# Brings bitcoind, bitcoin-cli (Bitcoin Knots), litecoind and litecoin-cli, with
# --electrum also the Electrum wallet, as DIR/bin/*; DIR is build/nodes unless
# told. They are Debian packages of trixie and trixie-backports, unpacked below
# DIR with all their libraries and run through their own dynamic loader, so they
# run on older releases too and nothing is installed on the machine.
#
# Any user; several at once wait for the first; when all is there it returns
# at once. Needs the network (25 MB, with Electrum 60 MB) only the first time.
set -euo pipefail

tools=$(cd "$(dirname "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR
. "$tools/apt-private.sh"

suite=trixie
electrum=
dir=
for arg in "$@"; do
    case "$arg" in
        --electrum) electrum=1 ;;
        -*)
            sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
            exit 2
            ;;
        *) dir=$arg ;;
    esac
done
dir=${dir:-$tools/../../build/nodes}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

# Raise it when the contents or the wrappers change.
version=1

have() { [ "$(cat "$dir/$1.version" 2>/dev/null)" = "$version" ]; }
complete() { have node && { [ -z "$electrum" ] || have electrum; }; }

complete && exit 0
exec 9>"$dir/.lock"
flock 9
complete && exit 0

tmp=$(mktemp -d "$dir/tmp.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

arch=$(dpkg --print-architecture)
mirror=$(debian_mirror)

# fetch_list: the private apt knows the suites.
fetch_lists() {
    private_apt "$tmp/apt"
    {
        private_source deb "$mirror" "$suite"
        private_source deb "$mirror" "$suite-backports"
    } >"$tmp/apt/sources.list"
    cat >"$tmp/apt/preferences" <<END
Package: bitcoin-knots* electrum python3-electrum* python3-aiorpcx
Pin: release n=$suite-backports
Pin-Priority: 900
END
    private_apt_get update ||
        die "cannot read Debian $suite: no network, or the mirror lacks it"
}

# unpack PREFIX PACKAGE...: the packages and all they depend on.
unpack() {
    local prefix=$1 deb
    shift
    rm -f "$tmp"/apt/archives/*.deb
    private_apt_get install --download-only "$@" ||
        die "cannot fetch $*"
    mkdir -p "$prefix"
    for deb in "$tmp"/apt/archives/*.deb; do
        dpkg-deb -x "$deb" "$prefix"
    done
}

# Prints the paths of loader and libraries below the prefix $1.
loader() {
    local f
    for f in "$1"/usr/lib64/ld-linux-*.so.* "$1"/usr/lib/ld-linux-*.so.*; do
        if [ -e "$f" ]; then
            echo "${f#"$1"/}"
            return
        fi
    done
    die "no dynamic loader in $1"
}
libdir() {
    local f
    for f in "$1"/usr/lib/*/libc.so.6; do
        if [ -e "$f" ]; then
            f=${f%/libc.so.6}
            echo "${f#"$1"/}"
            return
        fi
    done
    die "no libc in $1"
}

# wrapper PREFIX NAME PROGRAM [ARGUMENT]: bin/NAME runs PREFIX/PROGRAM.
wrapper() {
    local prefix=$1 name=$2 program=$3 argument=${4:-} out
    out=$tmp/bin-$name
    [ -e "$tmp/$prefix/$program" ] || die "no $program in the packages"
    {
        # shellcheck disable=SC2016 # expanded by the wrapper
        printf '#!/bin/sh\np=$(readlink -f "$0")\np=${p%%/bin/*}/%s\n' "$prefix"
        if [ "$prefix" = electrum ]; then
            # shellcheck disable=SC2016
            printf 'export PYTHONHOME="$p/usr" PYTHONNOUSERSITE=1\nunset PYTHONPATH\n'
        fi
        # shellcheck disable=SC2016
        printf 'exec "$p/%s" --library-path "$p/%s" --argv0 "$p/%s" "$p/%s" %s"$@"\n' \
            "$(loader "$tmp/$prefix")" "$(libdir "$tmp/$prefix")" \
            "$program" "$program" "$argument"
    } >"$out"
    chmod 755 "$out"
}

# A part becomes visible as a whole: files, then wrappers, then its version.
publish() {
    local prefix=$1 f
    rm -rf "${dir:?}/$prefix" "$dir/$prefix.version"
    mv "$tmp/$prefix" "$dir/$prefix"
    mkdir -p "$dir/bin"
    for f in "$tmp"/bin-*; do
        mv "$f" "$dir/bin/${f##*/bin-}"
    done
    echo "$version" >"$tmp/version"
    mv "$tmp/version" "$dir/$prefix.version"
}

bring_nodes() {
    local name
    echo "${0##*/}: fetching bitcoind and litecoind from Debian $suite" >&2
    {
        private_stub debconf all debconf-2.0
        private_stub systemd "$arch"
    } >"$tmp/apt/status"
    unpack "$tmp/node" bitcoin-knots litecoind
    for name in bitcoind bitcoin-cli bitcoin-tx litecoin-cli; do
        wrapper node "$name" "usr/bin/$name"
    done
    # usr/bin/litecoind is a script that needs usr/lib at its place.
    wrapper node litecoind usr/lib/litecoin/litecoind
    publish node
}

bring_electrum() {
    local name python
    echo "${0##*/}: fetching the Electrum wallet from Debian $suite" >&2
    {
        # What the command line wallet does not need.
        for name in debconf ca-certificates tzdata netbase media-types \
            libjs-sphinxdoc python3-qdarkstyle; do
            private_stub "$name" all
        done
        private_stub dpkg "$arch"
        private_stub tar "$arch"
        private_stub python3-pil "$arch" "python3-pillow (= 999)"
    } >"$tmp/apt/status"
    unpack "$tmp/electrum" python3-electrum
    # The start script is in the package of the graphical wallet.
    (cd "$tmp" && private_apt_get download electrum) ||
        die "cannot fetch electrum"
    dpkg-deb -x "$tmp"/electrum_*.deb "$tmp/electrum"
    python=$(cd "$tmp/electrum" && echo usr/bin/python3.?*)
    # shellcheck disable=SC2016 # expanded by the wrapper
    wrapper electrum electrum "$python" '-s "$p/usr/bin/electrum" '
    publish electrum
}

fetch_lists
have node || bring_nodes
if [ -n "$electrum" ] && ! have electrum; then
    bring_electrum
fi
