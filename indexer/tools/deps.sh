#!/bin/bash
# deps.sh SET ...
#
# Installs the Debian packages of the given sets that are missing: build, run,
# test, browser, clients, tools. Nothing happens when nothing is missing.
# Without root (or sudo that asks no password) it says what is missing and
# fails. NO_DEPS=1 in the environment skips all of it, for systems that are not
# Debian.
set -euo pipefail

usage() {
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

# A Node.js of another origin has its own npm, beside which Debian's cannot be
# installed.
have_node() {
    command -v npm >/dev/null &&
        node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' 2>/dev/null
}

packages_of() {
    case "$1" in
        build)
            echo build-essential pkg-config nginx nginx-dev \
                libnginx-mod-stream libleveldb-dev liblmdb-dev libjansson-dev \
                libcurl4-openssl-dev libssl-dev libzmq3-dev libpcre2-dev \
                zlib1g-dev
            ;;
        run) echo nginx libnginx-mod-stream openssl util-linux perl ;;
        test) echo perl libio-socket-ssl-perl procps curl openssl util-linux ;;
        browser) echo chromium ;;
        clients) have_node || echo nodejs npm ;;
        tools) echo clang clang-format clang-tidy cppcheck ;;
        *) usage ;;
    esac
}

[ $# -gt 0 ] || usage
[ -z "${NO_DEPS:-}" ] || exit 0

wanted=
for set in "$@"; do
    wanted+=" $(packages_of "$set")"
done

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=()
for package in $(tr ' ' '\n' <<<"$wanted" | sort -u); do
    installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null || {
    echo "deps.sh: missing: ${missing[*]}; no apt-get here, install their" \
        "equivalents and set NO_DEPS=1" >&2
    exit 1
}

as_root=
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root='sudo -n'
    else
        cat >&2 <<END
deps.sh: these Debian packages are missing, and only root can install them:

    apt-get install ${missing[*]}

END
        exit 1
    fi
fi

echo "deps.sh: installing ${missing[*]}" >&2

# The package nginx starts a server on port 80 when it is installed. Where it
# is new, that start is refused: the server of this project is started by its
# own commands. An nginx that is there already is left alone.
policy=/usr/sbin/policy-rc.d
saved=$policy.before-electrumx
new_nginx=
if ! installed nginx; then
    new_nginx=1
fi

restore_policy() {
    if [ -e "$saved" ]; then
        $as_root mv "$saved" "$policy"
    elif grep -qs '^# electrumx deps.sh' "$policy"; then
        $as_root rm -f "$policy"
    fi
}

refuse_nginx_start() {
    restore_policy # of a run that was killed
    if [ -e "$policy" ]; then
        $as_root mv "$policy" "$saved"
    fi
    $as_root tee "$policy" >/dev/null <<END
#!/bin/sh
# electrumx deps.sh: for the time of one installation
case "\$1" in nginx|nginx.service) exit 101 ;; esac
[ ! -x "$saved" ] || exec "$saved" "\$@"
exit 0
END
    $as_root chmod 755 "$policy"
}

if [ -n "$new_nginx" ]; then
    trap restore_policy EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    refuse_nginx_start
fi

apt_install() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
        -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold \
        install --no-install-recommends "${missing[@]}" </dev/null
}

log=$(mktemp)
trap '[ -z "$new_nginx" ] || restore_policy; rm -f "$log"' EXIT

# The lists may be old, or there may be none yet: update once if it fails.
if ! apt_install >"$log" 2>&1; then
    if ! $as_root apt-get -q update >>"$log" 2>&1 </dev/null ||
        ! apt_install >>"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "deps.sh: apt-get could not install ${missing[*]}" >&2
        exit 1
    fi
fi

if [ -n "$new_nginx" ] && [ -d /run/systemd/system ]; then
    $as_root systemctl disable nginx.service >/dev/null 2>&1 || true
    echo "deps.sh: the system's nginx service is installed, not started and" \
        "not enabled" >&2
fi
