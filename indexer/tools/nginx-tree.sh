#!/bin/bash
# nginx-tree.sh SRC DEST CC_OPT LD_OPT [configure flag ...]
#
# Copies the nginx source tree SRC to DEST and configures it there with this
# checkout as a dynamic module. Debian's nginx-dev brings conf_flags with the
# tree: the flags the distribution's nginx was configured with.
set -euo pipefail

if [ $# -lt 4 ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
src=$1 dest=$2 cc_opt=$3 ld_opt=$4
shift 4
root=$(cd "$(dirname "$0")/../.." && pwd)

if [ ! -x "$src/configure" ] || [ ! -f "$src/src/core/nginx.h" ]; then
    echo "$src is no nginx source tree: install the package nginx-dev" \
        "(indexer/tools/deps.sh build) or set NGX_SRC" >&2
    exit 1
fi

rm -rf "$dest"
mkdir -p "$dest"
cp -R "$src/." "$dest/"
cd "$dest"
rm -rf objs Makefile

NGX_CONF_FLAGS=()
if [ -f conf_flags ]; then
    # shellcheck disable=SC1091
    . ./conf_flags
fi

flags=("${NGX_CONF_FLAGS[@]}")
for flag in --with-compat --with-threads --with-stream=dynamic \
    --with-stream_ssl_module --with-http_ssl_module; do
    case " ${flags[*]} " in
        *" $flag "*) ;;
        *) flags+=("$flag") ;;
    esac
done

# Leaks of configure's little test programs are no finding.
export ASAN_OPTIONS=detect_leaks=0
if ! ./configure "${flags[@]}" --with-cc="${CC:-cc}" \
    --with-cc-opt="$cc_opt" --with-ld-opt="$ld_opt" "$@" \
    --add-dynamic-module="$root" >configure.log 2>&1; then
    tail -n 20 configure.log >&2
    echo "nginx's configure failed; all of it: $dest/configure.log" >&2
    exit 1
fi
