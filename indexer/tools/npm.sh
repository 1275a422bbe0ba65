#!/bin/bash
# npm.sh [DIR]
#
# Brings the Electrum clients of t/npm/package-lock.json, for the tests, to
# DIR/node_modules; DIR is build/npm unless told. Versions and checksums are
# those of the lock file; no script of a package is run.
#
# Any user; several at once wait for the first; when all is there it returns
# at once. Needs the network (3 MB) only the first time.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
dir=${1:-$root/build/npm}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

wanted=$(cat "$root"/t/npm/package*.json | cksum)
complete() { [ "$(cat "$dir/complete" 2>/dev/null)" = "$wanted" ]; }

complete && exit 0
exec 9>"$dir/.lock"
flock 9
complete && exit 0

command -v npm >/dev/null || {
    echo "npm.sh: there is no npm here; make deps installs it" >&2
    exit 1
}

rm -f "$dir/complete"
cp "$root"/t/npm/package.json "$root"/t/npm/package-lock.json "$dir"
cd "$dir"
if ! npm ci --ignore-scripts --no-audit --no-fund >npm.log 2>&1; then
    tail -n 20 npm.log >&2
    echo "npm.sh: npm could not fetch the clients of the tests" >&2
    exit 1
fi
echo "$wanted" >complete
