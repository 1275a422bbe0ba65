#!/bin/bash
# nginx-source.sh DIR
#
# Fetches the complete upstream source of the installed nginx from Debian into
# DIR (nginx-dev has only the headers), for builds of nginx itself. DIR is a
# value for NGX_SRC. Returns at once when it is there.
set -euo pipefail

tools=$(cd "$(dirname "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR
. "$tools/apt-private.sh"

[ $# -eq 1 ] || {
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
dir=$1
# shellcheck disable=SC2016 # the name is dpkg's
version=$(dpkg-query -W -f '${source:Version}' nginx)

complete() { [ "$(cat "$dir/.version" 2>/dev/null)" = "$version" ]; }
complete && exit 0

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
exec 9>"$dir.lock"
flock 9
complete && exit 0

echo "${0##*/}: fetching the source of nginx $version" >&2
tmp=$(mktemp -d "$dir.tmp.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Every suite of Debian that the machine's apt knows, as sources.
# shellcheck disable=SC2016 # the names are apt's
sources=$(apt-get indextargets \
    --format '$(COMPONENT) $(ORIGIN) $(REPO_URI) $(RELEASE)' \
    'Created-By: Packages' |
    awk '$1 == "main" && $2 == "Debian" { print $3, $4 }' | sort -u)
[ -n "$sources" ] || die "no Debian mirror in apt's sources (/etc/apt)"
private_apt "$tmp/apt"
while read -r uri release; do
    private_source deb-src "$uri" "$release"
done <<<"$sources" >"$tmp/apt/sources.list"
private_apt_get update || die "cannot read the lists of sources: no network?"
(cd "$tmp" && private_apt_get source --tar-only "nginx=$version") ||
    die "cannot fetch the source of nginx $version"
mkdir "$tmp/tree"
tar -xf "$tmp"/nginx_*.orig.tar.* --strip-components=1 -C "$tmp/tree"

# Debian's flags, so that this nginx can do what the installed one can.
cp /usr/share/nginx/src/conf_flags "$tmp/tree/"
echo "$version" >"$tmp/tree/.version"
rm -rf "$dir"
mv "$tmp/tree" "$dir"
