#!/bin/bash
# run.sh ("make run"): the whole server in the foreground, until SIGINT or
# SIGTERM. Installs what is missing, builds, starts the indexer and an nginx of
# its own, and without DAEMON_URL a regtest node with a small demo chain first.
# Prints one line on stdout when everything answers:
#
#   ready tcp://... tls://... ws://... wss://... http://...
#
# Environment, all with defaults:
#   NETWORK        regtest; mainnet, testnet4, litecoin ... with a node
#   DAEMON_URL     http://user:pass@host:port, several separated by commas
#   DAEMON_COOKIE  the node's cookie file, instead of user:pass
#   BLOCKS_DIR     the node's blocks folder, if it is on this machine
#   DATA_DIR       the index; default build/run/NETWORK. What else belongs to
#                  it (node, certificate, logs) is beside it, in DATA_DIR.run
#   TCP_PORT 50001  TLS_PORT 50002  WS_PORT 50003  WSS_PORT 50004
#   HTTP_PORT 8080  status page
#   LISTEN         127.0.0.1; 0.0.0.0 or :: open it to the network
#   NO_DEPS=1      installs no packages;  NO_BUILD=1 builds nothing
set -euo pipefail

# A shell that starts us in the background ignores SIGINT, and so would we.
if [ -z "${RUN_SIGNALS:-}" ]; then
    RUN_SIGNALS=1 exec env --default-signal=INT,TERM "$0" "$@"
fi
unset RUN_SIGNALS

tools=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$tools/../.." && pwd)
build=${BUILD:-build}
[[ $build == /* ]] || build=$root/$build

NETWORK=${NETWORK:-regtest}
DAEMON_URL=${DAEMON_URL:-}
DAEMON_COOKIE=${DAEMON_COOKIE:-}
BLOCKS_DIR=${BLOCKS_DIR:-}
DATA_DIR=${DATA_DIR:-$root/build/run/$NETWORK}
TCP_PORT=${TCP_PORT:-50001}
TLS_PORT=${TLS_PORT:-50002}
WS_PORT=${WS_PORT:-50003}
WSS_PORT=${WSS_PORT:-50004}
HTTP_PORT=${HTTP_PORT:-8080}
LISTEN=${LISTEN:-127.0.0.1}

# How long a child may take to stop, and the others to answer, in seconds.
stop_timeout=20
answer_timeout=60

say() { echo "run: $*" >&2; }
fail() {
    say "$*"
    exit 1
}

# ---- children ----

names=()         # of the children, in order of their start
declare -A pids  # name -> pid; the pid is also the process group
declare -A logs  # name -> its log file
stopping=
stage=           # pid of a step that is waited for

# start NAME LOG COMMAND...: a child in a session of its own, so that Ctrl-C
# reaches only this script; the kernel ends it when this script is killed.
start() {
    local name=$1 log=$2
    shift 2
    [ ! -f "$log" ] || mv -f "$log" "$log.old"
    setsid setpriv --pdeathsig TERM -- "$@" </dev/null >"$log" 2>&1 &
    pids[$name]=$!
    logs[$name]=$log
    names+=("$name")
}

# A child that has ended stays in /proc until the shell reaps it.
alive() {
    local stat
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    [[ ${stat##*) } != Z* ]]
}

# stop NAME: SIGTERM, SIGKILL after a while, then what is left of its group.
stop() {
    local name=$1 pid=${pids[$1]:-} tenth
    [ -n "$pid" ] || return 0
    unset "pids[$name]"
    kill -TERM "$pid" 2>/dev/null || true
    for ((tenth = 0; tenth < stop_timeout * 20; tenth++)); do
        alive "$pid" || break
        nap 0.05
    done
    if alive "$pid"; then
        say "$name does not stop, killing it"
    fi
    kill -KILL -- "-$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

# Newest first: nginx, the indexer, the node.
stop_all() {
    local i
    trap '' INT TERM HUP
    if [ -n "$stage" ]; then
        kill -TERM -- "-$stage" 2>/dev/null || true
        wait "$stage" 2>/dev/null || true
    fi
    for ((i = ${#names[@]} - 1; i >= 0; i--)); do
        stop "${names[i]}"
    done
}

on_signal() {
    stopping=1
    say "stopping"
    exit 0
}

# A sleep without a process, which a signal ends.
exec {never}<> <(:)
nap() { read -r -t "$1" -u "$never" || true; }

# make passes SIGTERM on to us, but not a SIGINT that only it was sent: it
# stops catching the signal and waits for us to end.
make_pid=
make_catches_int() {
    local line
    while read -r line; do
        [[ $line != SigCgt:* ]] || return $((!(0x${line##*[[:space:]]} & 2)))
    done <"/proc/$1/status"
    return 1
} 2>/dev/null
case "$(cat "/proc/$PPID/comm")" in
    make | gmake) ! make_catches_int "$PPID" || make_pid=$PPID ;;
esac
check_make() {
    [ -z "$make_pid" ] || make_catches_int "$make_pid" || on_signal
}

# Ends the script when a child has ended.
check_children() {
    local name
    check_make
    for name in "${names[@]}"; do
        alive "${pids[$name]}" && continue
        nap 0.3 # a signal to all of us may be on its way
        [ -z "$stopping" ] || exit 0
        say "$name has ended; its last lines (${logs[$name]}):"
        tail -n 20 "${logs[$name]}" | sed "s/^/  $name: /" >&2
        exit 1
    done
}

# run_stage COMMAND...: a step before the start that a signal interrupts.
run_stage() {
    local rc=0
    setsid setpriv --pdeathsig TERM -- "$@" </dev/null >&2 &
    stage=$!
    while alive "$stage"; do
        check_make
        nap 0.05
    done
    wait "$stage" || rc=$?
    stage=
    return $rc
}

# ---- checks before anything is started ----

check_settings() {
    local name port
    for name in TCP_PORT TLS_PORT WS_PORT WSS_PORT HTTP_PORT; do
        port=${!name}
        if ! [[ $port =~ ^[1-9][0-9]{0,4}$ ]] || ((port > 65535)); then
            fail "$name must be a port, 1 to 65535, not '$port'"
        fi
    done
    if [ -n "$(printf '%s\n' "$TCP_PORT" "$TLS_PORT" "$WS_PORT" "$WSS_PORT" \
        "$HTTP_PORT" | sort | uniq -d)" ]; then
        fail "TCP_PORT, TLS_PORT, WS_PORT, WSS_PORT and HTTP_PORT must differ"
    fi
    if [ -n "$DAEMON_COOKIE" ] && [ ! -r "$DAEMON_COOKIE" ]; then
        fail "cannot read DAEMON_COOKIE $DAEMON_COOKIE: the node writes it" \
            "when it starts, for its own user only (-rpccookieperms)"
    fi
    case "$DATA_DIR" in
        /*) ;;
        *) DATA_DIR=$PWD/$DATA_DIR ;;
    esac
    while [[ $DATA_DIR == */ && $DATA_DIR != / ]]; do
        DATA_DIR=${DATA_DIR%/}
    done
    case "$NETWORK" in
        regtest | litecoin-regtest) ;;
        *)
            [ -n "$DAEMON_URL$DAEMON_COOKIE" ] ||
                fail "NETWORK=$NETWORK needs a node: set DAEMON_URL"
            ;;
    esac
}

check_ports() {
    local port why name used=
    while read -r port why; do
        for name in TCP_PORT TLS_PORT WS_PORT WSS_PORT HTTP_PORT; do
            [ "${!name}" = "$port" ] || continue
            say "cannot listen on $LISTEN port $port ($name): $why"
            used=1
        done
        [ -n "$used" ] || say "LISTEN=$LISTEN: $port $why"
        used=1
    done < <("$tools/net.pl" bind "$LISTEN" "$TCP_PORT" "$TLS_PORT" \
        "$WS_PORT" "$WSS_PORT" "$HTTP_PORT" 2>&1 || true)
    [ -z "$used" ] || exit 1
}

prepare_directories() {
    local dir
    for dir in "$DATA_DIR" "$run/log" "$run/nginx" "$run/tls"; do
        mkdir -p "$dir" 2>/dev/null || fail "cannot make the directory $dir"
        [ -w "$dir" ] || fail "no permission to write to $dir"
    done
    # Held by the children too: what a killed run.sh leaves ends first.
    exec {lock}>>"$run/lock"
    flock -w 15 "$lock" ||
        fail "another \"make run\" uses $DATA_DIR"
}

# ---- the demo node ----

node_dir=
rpc_port=
cli() { "$node_dir/../cli" "$@"; }

start_demo_node() {
    local daemon=bitcoind client=bitcoin-cli
    if [ "$NETWORK" = litecoin-regtest ]; then
        daemon=litecoind client=litecoin-cli
    fi
    node_dir=$run/node
    # A chain that was not finished is made again.
    [ -f "$node_dir/demo.done" ] || rm -rf "$node_dir"
    mkdir -p "$node_dir"
    rpc_port=$("$tools/net.pl" free 1)
    cat >"$run/cli" <<END
#!/bin/sh
exec "$nodes/bin/$client" -regtest -datadir="$node_dir" -rpcport=$rpc_port "\$@"
END
    chmod 755 "$run/cli"
    rm -f "$node_dir/regtest/.cookie"
    start node "$run/log/node.log" "$nodes/bin/$daemon" -regtest \
        -datadir="$node_dir" -server=1 -rest=1 -listen=0 -connect=0 \
        -dnsseed=0 -rpcbind=127.0.0.1 -rpcallowip=127.0.0.1 \
        -rpcport="$rpc_port" -rpcworkqueue=256 -dbcache=32 \
        -printtoconsole=0 -fallbackfee=0.0002 -maxtipage=1000000000 -mempoolexpiry=87600
    until cli getblockcount >/dev/null 2>&1; do
        check_children
        nap 0.1
    done
    DAEMON_URL=http://127.0.0.1:$rpc_port
    DAEMON_COOKIE=$node_dir/regtest/.cookie
    BLOCKS_DIR=$node_dir/regtest/blocks
    if [ ! -f "$node_dir/demo.done" ]; then
        say "making the demo chain"
        make_demo_chain >/dev/null
        touch "$node_dir/demo.done"
    fi
}

wallet() { cli -rpcwallet=demo "$@"; }
field() { sed -n "s/^ *\"$1\": \"\\([^\"]*\\)\".*/\\1/p" | head -n 1; }
mine() { wallet generatetoaddress "$1" "$miner"; }
pay() { wallet sendtoaddress "$@"; }

# 120 blocks with transactions to every kind of script, and a mempool with a
# chain of unconfirmed transactions and a replaced one.
make_demo_chain() {
    local miner kind address tx keys=() i
    cli -named createwallet wallet_name=demo load_on_startup=true
    miner=$(wallet getnewaddress mined bech32)
    mine 105
    for kind in legacy p2sh-segwit bech32 bech32m; do
        address=$(wallet getnewaddress "$kind" "$kind" 2>/dev/null) || continue
        pay "$address" 1.5
        pay "$address" 0.25
        mine 1
    done
    for i in 1 2 3; do
        address=$(wallet getnewaddress "key $i" legacy)
        keys+=("$(wallet getaddressinfo "$address" | field pubkey)")
    done
    for kind in legacy p2sh-segwit bech32; do
        address=$(cli -named createmultisig nrequired=2 \
            keys="[\"${keys[0]}\",\"${keys[1]}\",\"${keys[2]}\"]" \
            address_type="$kind" | field address)
        pay "$address" 0.5
    done
    address=$(wallet getnewaddress)
    tx=$(cli createrawtransaction '[]' \
        "[{\"data\":\"64656d6f\"},{\"$address\":0.1}]")
    tx=$(wallet fundrawtransaction "$tx" | field hex)
    tx=$(wallet signrawtransactionwithwallet "$tx" | field hex)
    cli sendrawtransaction "$tx"
    mine 1
    wallet sendmany "" "{\"$address\":0.3,\"$(wallet getnewaddress)\":0.2,\
\"$(wallet getnewaddress '' legacy)\":0.1}"
    mine $((120 - $(cli getblockcount)))
    for i in 0.011 0.012 0.013; do
        pay "$(wallet getnewaddress)" $i
    done
    tx=$(wallet -named sendtoaddress address="$(wallet getnewaddress)" \
        amount=0.02 replaceable=true)
    wallet bumpfee "$tx"
}

# ---- indexer and nginx ----

start_indexer() {
    {
        echo "network = $NETWORK"
        echo "data_dir = $DATA_DIR"
        [ -z "$DAEMON_URL" ] || echo "daemon_url = $DAEMON_URL"
        [ -z "$DAEMON_COOKIE" ] || echo "daemon_cookie = $DAEMON_COOKIE"
        [ -z "$BLOCKS_DIR" ] || echo "blocks_dir = $BLOCKS_DIR"
    } >"$run/indexer.conf.new"
    mv "$run/indexer.conf.new" "$run/indexer.conf"
    start indexer "$run/log/indexer.log" \
        "$build/electrumx-indexer" -c "$run/indexer.conf"
}

# Made once. Wallets pin it; it names the addresses it is reached at.
make_certificate() {
    local cert=$run/tls/server.crt key=$run/tls/server.key names
    [ ! -s "$cert" ] || [ ! -s "$key" ] || return 0
    names="DNS:localhost,IP:127.0.0.1,IP:::1"
    case "$LISTEN" in
        127.0.0.1 | ::1 | 0.0.0.0 | :: | localhost) ;;
        *) names+=",IP:$LISTEN" ;;
    esac
    cat >"$run/tls/openssl.cnf" <<END
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = localhost
[extensions]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, digitalSignature, keyCertSign
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
subjectAltName = $names
END
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 \
        -sha256 -nodes -days 3650 -config "$run/tls/openssl.cnf" \
        -keyout "$key" -out "$cert.new" 2>"$run/log/openssl.log" ||
        fail "openssl could not make a certificate, see $run/log/openssl.log"
    mv "$cert.new" "$cert"
}

find_nginx() {
    local dir version
    nginx=${NGINX:-}
    if [ -z "$nginx" ] && [ -x "$build/nginx" ]; then
        nginx=$build/nginx # of "make asan"
    fi
    [ -n "$nginx" ] || nginx=$(PATH=$PATH:/usr/local/sbin:/usr/sbin command -v nginx) ||
        fail "nginx is not installed"
    version=$("$nginx" -V 2>&1)
    stream_module=
    [[ $version == *--with-stream=dynamic* ]] || return 0
    dir=$(sed -n 's/.*--modules-path=\([^ ]*\).*/\1/p' <<<"$version")
    for dir in "$build" "$dir" /usr/lib/nginx/modules; do
        [ -f "$dir/ngx_stream_module.so" ] || continue
        stream_module=$dir/ngx_stream_module.so
        return 0
    done
    fail "ngx_stream_module.so is missing: install libnginx-mod-stream"
}

write_nginx_conf() {
    local l=$LISTEN user='' load=''
    [[ $l != *:* ]] || l="[$l]"
    # As root, nginx would give its workers to nobody: they run as the
    # indexer does, which lets them register as readers of the index.
    [ "$(id -u)" != 0 ] || user="user root;"
    [ -z "$stream_module" ] || load="load_module \"$stream_module\";"
    cat >"$run/nginx.conf" <<END
# Written by run.sh at each start.
$load
load_module "$build/ngx_electrumx_module.so";
$user
daemon off;
worker_processes auto;
pid "$run/nginx/nginx.pid";
error_log "$run/log/nginx-error.log" notice;
events { worker_connections 4096; }

electrumx main { data "$DATA_DIR"; }

stream {
    ssl_certificate "$run/tls/server.crt";
    ssl_certificate_key "$run/tls/server.key";
    server { listen $l:$TCP_PORT so_keepalive=on; electrumx_pass main; }
    server { listen $l:$TLS_PORT ssl so_keepalive=on; electrumx_pass main; }
}

http {
    access_log off;
    server_tokens off;
    request_pool_size 5k;
    client_body_temp_path "$run/nginx/body";
    proxy_temp_path "$run/nginx/proxy";
    fastcgi_temp_path "$run/nginx/fastcgi";
    uwsgi_temp_path "$run/nginx/uwsgi";
    scgi_temp_path "$run/nginx/scgi";
    ssl_certificate "$run/tls/server.crt";
    ssl_certificate_key "$run/tls/server.key";
    server {
        listen $l:$WS_PORT;
        location / { electrumx_pass main; }
    }
    server {
        listen $l:$WSS_PORT ssl;
        location / { electrumx_pass main; }
    }
    server {
        listen $l:$HTTP_PORT;
        location = / { return 302 /status; }
        location = /status { electrumx_status main; }
    }
}
END
}

start_nginx() {
    find_nginx
    make_certificate
    write_nginx_conf
    # nginx.log has the messages before nginx has opened its error log.
    [ ! -f "$run/log/nginx-error.log" ] ||
        mv -f "$run/log/nginx-error.log" "$run/log/nginx-error.log.old"
    : >"$run/log/nginx-error.log"
    start nginx "$run/log/nginx.log" \
        "$nginx" -p "$run/nginx" -e stderr -c "$run/nginx.conf"
    logs[nginx]=$run/log/nginx-error.log
}

# ---- until it answers, and while it runs ----

# status NAME: a field of the indexer's status.json, empty if there is none.
status=
read_status() { status=$(cat "$DATA_DIR/status.json" 2>/dev/null) || status=; }
status() {
    local re="\"$1\": ?\"?(([^\",}\\]|\\\\.)*)"
    [[ $status =~ $re ]] && printf '%s' "${BASH_REMATCH[1]}"
    return 0
}

# One line for each change of state; while syncing a line that moves on a
# terminal, else one every ten seconds.
last_state=
last_time=0
show_state() {
    local state message height target line now
    state=$(status state) message=$(status message)
    height=$(status height) target=$(status target)
    line="indexer: $state${message:+, $message}"
    case "$state" in
        syncing | loading)
            line="indexer: $state, block $height of $target${message:+, $message}"
            printf -v now '%(%s)T' -1
            if [ "$state" = "$last_state" ]; then
                if [ -t 2 ]; then
                    printf '\r\033[Krun: %s' "$line" >&2
                elif ((now >= last_time + 10)); then
                    say "$line"
                    last_time=$now
                fi
                return 0
            fi
            last_time=$now
            last_state=$state
            ;;
        *)
            [ "$line" != "$last_state" ] || return 0
            last_state=$line
            ;;
    esac
    [ ! -t 2 ] || printf '\r\033[K' >&2
    say "$line"
}

wait_ready() {
    until read_status && [ "$(status pid)" = "${pids[indexer]}" ] &&
        [ "$(status state)" = ready ]; do
        check_children
        [ "$(status pid)" != "${pids[indexer]}" ] || show_state
        nap 0.1
    done
    show_state
}

tls_answers() {
    timeout 5 openssl s_client -connect "$probe_url:$1" -brief \
        </dev/null >/dev/null 2>&1
}

answers() {
    "$tools/net.pl" electrum "$probe" "$TCP_PORT" &&
        "$tools/net.pl" http "$probe" "$HTTP_PORT" /status &&
        "$tools/net.pl" ws "$probe" "$WS_PORT" &&
        tls_answers "$TLS_PORT" && tls_answers "$WSS_PORT"
} 2>/dev/null

wait_answers() {
    local end=$((SECONDS + answer_timeout))
    until answers; do
        check_children
        ((SECONDS < end)) || fail "the server does not answer, see $run/log"
        nap 0.1
    done
}

print_ready() {
    local h=$probe_url
    printf 'ready tcp://%s tls://%s ws://%s wss://%s http://%s\n' \
        "$h:$TCP_PORT" "$h:$TLS_PORT" "$h:$WS_PORT" "$h:$WSS_PORT" \
        "$h:$HTTP_PORT"
    if [ -n "$node_dir" ]; then
        say "the demo node: $run/cli getblockcount"
        say "a block more:  $run/cli -rpcwallet=demo -generate 1"
    fi
    say "logs: $run/log; Ctrl-C ends it"
}

# ---- main ----

[ $# -eq 0 ] || {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2
    exit 2
}

check_settings
run=$DATA_DIR.run
nodes=${ELECTRUMX_NODES:-$root/build/nodes}

set -E
trap 'say "line $LINENO: failed: $BASH_COMMAND"' ERR
trap stop_all EXIT
trap on_signal INT TERM HUP

# Packages first: an interrupted dpkg is worse than a late answer to Ctrl-C.
"$tools/deps.sh" build run >&2
check_ports
prepare_directories

need_node=
[ -n "$DAEMON_URL$DAEMON_COOKIE" ] || need_node=1
if [ -z "${NO_BUILD:-}" ]; then
    run_stage env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -C "$root" \
        --no-print-directory -j"$(nproc)" BUILD="${BUILD:-build}" all ||
        fail "the build failed"
fi
if [ -n "$need_node" ]; then
    run_stage "$tools/nodes.sh" "$nodes" || fail "no demo node"
fi

# What the listeners are asked at.
probe=$LISTEN
case "$LISTEN" in
    0.0.0.0) probe=127.0.0.1 ;;
    ::) probe=::1 ;;
esac
probe_url=$probe
[[ $probe != *:* ]] || probe_url="[$probe]"

ulimit -Sn "$(ulimit -Hn)" 2>/dev/null || true
[ -z "$need_node" ] || start_demo_node
start_indexer
start_nginx
wait_ready
wait_answers
print_ready

while :; do
    check_children
    read_status
    [ -z "$status" ] || show_state
    nap 1
done
