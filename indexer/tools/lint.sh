#!/bin/bash
# lint.sh DIR JOBS NGINX [TOOL...]
#
# Runs clang-tidy, cppcheck and gcc's analyzer (tidy cppcheck analyzer; all of
# them unless named) over indexer/ and ngx_electrumx_module/ with the headers
# of the nginx tree NGINX. DIR gets their output. What lint.known has was judged;
# everything else is printed and makes this fail.
set -euo pipefail
export LC_ALL=C

[ $# -ge 3 ] || {
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
dir=$1 jobs=$2 nginx=$3
shift 3
known=$(dirname "$0")/lint.known
[ $# -gt 0 ] || set -- tidy cppcheck analyzer
mkdir -p "$dir"
rm -f "$dir"/*.out

flags=(-std=gnu11 -D_GNU_SOURCE -Iindexer -Iindexer/lib -Ingx_electrumx_module)
for d in core event event/modules event/quic os/unix http http/modules http/v2 \
    http/v3 stream; do
    flags+=(-isystem "$nginx/src/$d")
done
flags+=(-isystem "$nginx/objs")
sources=(indexer/*.c indexer/lib/*.c ngx_electrumx_module/*.c)

need() {
    command -v "$1" >/dev/null || {
        echo "lint: $1 is not installed" >&2
        exit 2
    }
}

# One process for each file; what they say goes to files of their own.
each() {
    printf '%s\n' "${sources[@]}" | xargs -P "$jobs" -I{} bash -c \
        'f=$1 out=$2; shift 2; "$@" "$f" >"$out/${f//\//_}.$$.out" 2>&1 || :' \
        - {} "$dir" "$@"
}

run_analyzer() {
    need gcc
    each gcc "${flags[@]}" -O1 -fanalyzer -o /dev/null -c
}

run_tidy() {
    need clang-tidy
    each clang-tidy --quiet "${flags[@]/#/--extra-arg=}"
}

run_cppcheck() {
    need cppcheck
    # nginx's headers would take it minutes and tell it nothing
    cppcheck --quiet -j "$jobs" --enable=warning,portability --std=c11 \
        --inline-suppr --template='{file}:{line}:{column}: {severity}: {message} [{id}]' \
        -D_GNU_SOURCE '-DTAILQ_HEAD(a,b)=struct b *a' \
        -Iindexer -Iindexer/lib -Ingx_electrumx_module \
        "${sources[@]}" >"$dir/cppcheck.out" 2>&1
}

for tool; do
    "run_$tool"
done

# "file:12:3: warning: words [CWE-1] [id]" is known as "file: id: words".
cat "$dir"/*.out | grep -E '^[^ ]+:[0-9]+:[0-9]+: (fatal )?(warning|error|portability): ' \
    | sed -e "s|^$PWD/||" | sort -u >"$dir/found" || :
awk '
FILENAME == ARGV[1] {
    if ($0 !~ /^#/ && $0 != "") { known[$0] = 1 }
    next
}
{
    line = $0
    sub(/,-warnings-as-errors\]$/, "]", line)
    id = line; sub(/.*\[/, "", id); sub(/\]$/, "", id)
    file = line; sub(/:.*/, "", file)
    words = line
    sub(/^[^ ]+ (fatal )?[a-z]+: /, "", words)
    sub(/( \[CWE-[0-9]+\])? \[[^\[]*\]$/, "", words)
    if (!((file ": " id ": " words) in known)) { print; new++ }
}
END { exit new > 0 }' "$known" "$dir/found" || {
    echo "lint: mend these, or judge them in $known" >&2
    exit 1
}
echo 'lint: nothing new'
