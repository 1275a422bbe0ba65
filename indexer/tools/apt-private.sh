# shellcheck shell=bash
# Sourced. An apt of its own in a private directory: Debian packages of any
# suite can be fetched (never installed) without touching the machine's apt
# or dpkg, as any user. Mirror, proxy and keyring are the machine's.

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# The Debian mirror that the machine's own apt uses.
debian_mirror() {
    local codename uri
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    # shellcheck disable=SC2016 # the names are apt's
    uri=$(apt-get indextargets --format \
        '$(COMPONENT) $(ORIGIN) $(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
        awk -v codename="$codename" '
            $1 != "main" || $3 ~ /[-\/]/ { next }
            $3 == codename { print 1, $4 }
            $2 == "Debian" { print 2, $4 }
            $3 ~ /^(stable|oldstable|testing|unstable|sid)$/ { print 3, $4 }
        ' | sort -s -k 1,1n | awk 'NR == 1 { print $2 }')
    [ -n "$uri" ] || die "no Debian mirror in apt's sources (/etc/apt)"
    echo "$uri"
}

# private_apt DIR: sets APT_CONFIG. The caller writes DIR/sources.list (lines
# made by private_source), DIR/preferences and DIR/status.
private_apt() {
    local dir=$1
    mkdir -p "$dir"/{lists,archives}/partial
    : >"$dir/sources.list"
    : >"$dir/preferences"
    : >"$dir/status"
    {
        # How to reach the network, but none of the machine's hooks.
        apt-config dump | grep '^Acquire::' || true
        cat <<END
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::Etc::SourceList "$dir/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "$dir/preferences";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "$dir/lists";
Dir::State::status "$dir/status";
Dir::State::extended_states "$dir/extended_states";
Dir::Cache "$dir";
Dir::Cache::archives "$dir/archives";
Dir::Log "$dir";
APT::Architecture "$(dpkg --print-architecture)";
APT::Architectures { "$(dpkg --print-architecture)"; };
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "2";
Debug::NoLocking "true";
END
    } >"$dir/apt.conf"
    export APT_CONFIG=$dir/apt.conf
}

# private_source deb|deb-src URI SUITE: a line of sources.list.
private_source() {
    local key
    for key in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
        if [ -f "$key" ]; then
            echo "$1 [signed-by=$key] $2 $3 main"
            return
        fi
    done
    die "the package debian-archive-keyring is not installed"
}

# private_stub NAME ARCH [PROVIDES]: an entry for DIR/status of a package that
# shall count as installed, so that it is not fetched.
private_stub() {
    printf 'Package: %s\nStatus: install ok installed\nArchitecture: %s\n' \
        "$1" "$2"
    [ $# -lt 3 ] || printf 'Provides: %s\n' "$3"
    printf 'Maintainer: none\nVersion: 999\nDescription: stub\n\n'
}

# Runs apt-get quietly; its output is shown when it fails.
private_apt_get() {
    local log=${APT_CONFIG%/*}/apt.log
    if ! apt-get -q -y "$@" >"$log" 2>&1 </dev/null; then
        tail -n 15 "$log" >&2
        return 1
    fi
}
