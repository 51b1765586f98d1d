#!/usr/bin/env bash
# Three nodes of Parlance behind HAProxy, over one Redis and one PostgreSQL, on this machine.
#   examples/fleet/run.sh --help
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
readonly HERE ROOT
# shellcheck source=guest-handlers/packages.sh
. "$ROOT/guest-handlers/packages.sh"

usage() {
    cat <<'END'
Three nodes of Parlance behind HAProxy, over one Redis and one PostgreSQL. Ctrl-C stops all of it; the messages stay.

  --nodes N    how many nodes, 1 to 9 (3)
  --port P     the balancer's port (3000); the nodes have the next ones, Redis P+10, PostgreSQL P+11, and the nodes
               for operators P+21 and the next ones
  --data DIR   where data, logs and process ids are (.parlance/fleet in the current directory)

PARLANCE_BIN names the server's binary; without it, it is built. What is missing of Redis, PostgreSQL and HAProxy is
installed from the machine's packages.
END
}

NODES=3
PORT=3000
DATA=.parlance/fleet
while [ $# -gt 0 ]; do
    case "$1" in
    --help | -h) usage && exit 0 ;;
    --nodes | --port | --data)
        [ $# -gt 1 ] || fail "$1 needs a value; see --help"
        case "$1" in --nodes) NODES=$2 ;; --port) PORT=$2 ;; --data) DATA=$2 ;; esac
        shift 2
        ;;
    *) fail "unknown argument: $1; see --help" ;;
    esac
done
[[ $NODES =~ ^[1-9]$ ]] || fail "--nodes is a number from 1 to 9"
[[ $PORT =~ ^[1-9][0-9]{0,4}$ && $PORT -le 65500 ]] || fail "--port is a number up to 65500"
readonly REDIS_PORT=$((PORT + 10)) POSTGRES_PORT=$((PORT + 11))

# --- requirements ---

postgres_programs() {
    local place
    # Debian installs each version in a separate directory that is not on the search path.
    for place in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort --version-sort --reverse) ${PATH//:/ }; do
        if [ -x "$place/initdb" ]; then
            echo "$place"
            return
        fi
    done
    return 1
}

command -v redis-server >/dev/null || install_packages "Redis" "$(by_manager redis-server redis)"
command -v haproxy >/dev/null || install_packages "HAProxy" haproxy
postgres_programs >/dev/null || install_packages "PostgreSQL" "$(by_manager postgresql postgresql-server)"
POSTGRES=$(postgres_programs) || fail "PostgreSQL was installed, and initdb is nowhere"
if [ -z "${PARLANCE_BIN:-}" ]; then
    "$ROOT/guest-handlers/setup.sh"
    say "building the server; the first time takes several minutes"
    (cd "$ROOT" && cargo build --release --package parlance)
    PARLANCE_BIN=${CARGO_TARGET_DIR:-$ROOT/target}/release/parlance
fi
[ -x "$PARLANCE_BIN" ] || fail "PARLANCE_BIN is $PARLANCE_BIN, which is no program"
PARLANCE_BIN=$(realpath "$PARLANCE_BIN")
# The server refuses variables that begin with its name and that it does not know.
export -n PARLANCE_BIN

for port in $(seq "$PORT" $((PORT + NODES))) $(seq $((PORT + 21)) $((PORT + 20 + NODES))) "$REDIS_PORT" "$POSTGRES_PORT"; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        fail "port $port is in use; choose others with --port"
    fi
done

# --- directories and secrets ---

mkdir -p "$DATA"
DATA=$(cd "$DATA" && pwd)
chmod 755 "$DATA"
# PostgreSQL refuses to run as root; its package has created a user for it.
AS_POSTGRES=()
if [ "$(id -u)" = 0 ]; then
    AS_POSTGRES=(--reuid=postgres --regid=postgres --clear-groups)
    setpriv "${AS_POSTGRES[@]}" test -x "$DATA" ||
        fail "the user postgres cannot enter $DATA; choose another place with --data"
fi
# Only the processes of this script may use Redis and PostgreSQL. A restart uses the same secrets.
if [ ! -f "$DATA/secrets" ]; then
    (
        umask 077
        for name in JWT_SECRET REDIS_PASSWORD POSTGRES_PASSWORD PARLANCE_ADMIN_TOKEN; do
            echo "$name=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"
        done >"$DATA/secrets"
    )
fi
# shellcheck source=/dev/null
. "$DATA/secrets"
export JWT_SECRET PARLANCE_ADMIN_TOKEN

# --- starting and stopping ---

# start NAME COMMAND…: starts a process in the background, in a separate session, so that Ctrl-C only reaches this
# script, which can then stop everything in order. Its output goes to a log. It ends if this script is killed.
start() {
    local name=$1
    shift
    setsid setpriv --pdeathsig TERM "$@" >>"$DATA/$name.log" 2>&1 &
    echo $! >"$DATA/$name.pid"
}

pid_of() {
    cat "$DATA/$1.pid" 2>/dev/null
}

alive() {
    local pid
    pid=$(pid_of "$1") && kill -0 "$pid" 2>/dev/null
}

# wait_for SECONDS NAME COMMAND…: waits until the command succeeds, and fails if the process has died.
wait_for() {
    local tries=$(($1 * 10)) name=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        alive "$name" || fail "$name ended; the last of $DATA/$name.log:
$(tail -n 15 "$DATA/$name.log")"
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail "$name is not ready; see $DATA/$name.log"
        sleep 0.1
    done
}

# stop NAME [SIGNAL]: signals the process to end and waits for it.
stop() {
    local pid
    pid=$(pid_of "$1") || return 0
    kill -s "${2:-TERM}" "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    rm -f "$DATA/$1.pid"
}

stop_all() {
    local status=$? n
    trap - EXIT
    trap '' INT TERM
    say "stopping"
    touch "$DATA/stopping"
    # Nodes first, all at once: each disconnects its clients and finishes its work. A second signal would interrupt
    # that, so each gets only one.
    for n in $(seq "$NODES"); do
        if alive "node-$n"; then kill "$(pid_of "node-$n")"; fi
    done
    for n in $(seq "$NODES"); do
        while alive "node-$n"; do sleep 0.05; done
        rm -f "$DATA/node-$n.pid"
    done
    stop haproxy
    # "Fast": sessions are closed; committed data is on disk.
    stop postgres INT
    stop redis
    exit "$status"
}

postgres() {
    local password=$DATA/password
    if [ ! -f "$DATA/postgres/PG_VERSION" ]; then
        mkdir -p "$DATA/postgres"
        (umask 077 && echo "$POSTGRES_PASSWORD" >"$password")
        if [ "$(id -u)" = 0 ]; then chown postgres:postgres "$DATA/postgres" "$password"; fi
        setpriv "${AS_POSTGRES[@]}" "$POSTGRES/initdb" --encoding=UTF8 --locale=C --auth=scram-sha-256 \
            --username=parlance --pwfile="$password" -D "$DATA/postgres" >"$DATA/initdb.log" 2>&1 ||
            fail "initdb failed; see $DATA/initdb.log"
        rm -f "$password"
    fi
    start postgres "${AS_POSTGRES[@]}" "$POSTGRES/postgres" -D "$DATA/postgres" -p "$POSTGRES_PORT" \
        -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=100
    wait_for 60 postgres sql postgres 'SELECT 1'
    if [ "$(sql postgres "SELECT count(*) FROM pg_database WHERE datname = 'chat'")" = 0 ]; then
        sql postgres "CREATE DATABASE chat ENCODING 'UTF8' TEMPLATE template0"
    fi
}

# sql DATABASE STATEMENT
sql() {
    PGPASSWORD=$POSTGRES_PASSWORD psql -X -q -A -t -h 127.0.0.1 -p "$POSTGRES_PORT" -U parlance -d "$1" -c "$2"
}

redis() {
    (
        umask 077
        cat >"$DATA/redis.conf" <<END
port $REDIS_PORT
bind 127.0.0.1
requirepass $REDIS_PASSWORD
dir $DATA
# The nodes restore the contents of Redis after a restart, so nothing needs to be persisted.
save ""
appendonly no
END
    )
    start redis redis-server "$DATA/redis.conf"
    wait_for 10 redis redis_answers
}

redis_answers() {
    [ "$(REDISCLI_AUTH=$REDIS_PASSWORD redis-cli -p "$REDIS_PORT" PING)" = PONG ]
}

node() {
    local n=$1
    mkdir -p "$DATA/node-$n"
    cd "$DATA/node-$n"
    # `dev` serves the chat page and gives anyone a token. It listens on this machine only. In production use `parlance
    # serve`. PARLANCE_ADMIN_ADDRESS is set before PORT, since it is computed from the script's own PORT.
    PARLANCE_ADMIN_ADDRESS="127.0.0.1:$((PORT + 20 + n))" \
        PORT=$((PORT + n)) \
        DATABASE_URL="postgres://parlance:$POSTGRES_PASSWORD@127.0.0.1:$POSTGRES_PORT/chat" \
        REDIS_URL="redis://:$REDIS_PASSWORD@127.0.0.1:$REDIS_PORT" \
        start "node-$n" "$PARLANCE_BIN" dev --config "$DATA/parlance.toml"
}

# Whether a node is ready; 0 is the balancer. Runs in a subshell, which a refused connection ends.
node_is_ready() (
    exec 3<>"/dev/tcp/127.0.0.1/$((PORT + $1))"
    printf 'GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
    IFS= read -r -t 2 answer <&3
    [[ $answer == *" 200 "* ]]
)

# Starts a node and restarts it when it has ended, as an orchestrator would.
keep_node() {
    local n=$1
    # A signal to all of this script's processes must not reach the node twice: directly, and because this process ends.
    trap : TERM INT
    while [ ! -e "$DATA/stopping" ]; do
        node "$n"
        while alive "node-$n"; do
            # If this script was killed, stop.
            kill -0 $$ 2>/dev/null || kill "$(pid_of "node-$n")"
            sleep 0.2
        done
        [ ! -e "$DATA/stopping" ] || return 0
        say "node $n has ended and starts again in 3 seconds"
        sleep 3
    done
}

balancer() {
    local n
    {
        cat "$HERE/haproxy.cfg"
        for n in $(seq "$NODES"); do
            echo "    server node-$n 127.0.0.1:$((PORT + n)) cookie node-$n"
        done
    } >"$DATA/haproxy.cfg"
    export FLEET_PORT=$PORT
    haproxy -c -q -f "$DATA/haproxy.cfg" || fail "HAProxy does not take $DATA/haproxy.cfg"
    start haproxy haproxy -db -f "$DATA/haproxy.cfg"
    wait_for 20 haproxy node_is_ready 0
}

trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
say "starting; data and logs are in $DATA"
rm -f "$DATA/stopping" "$DATA"/*.pid
cp "$HERE/parlance.toml" "$DATA/parlance.toml"
redis
postgres
for n in $(seq "$NODES"); do
    keep_node "$n" &
    # One after the other: the first creates the tables.
    until [ -f "$DATA/node-$n.pid" ]; do sleep 0.05; done
    wait_for 90 "node-$n" node_is_ready "$n"
done
balancer

cat >&2 <<END

  the chat     http://localhost:$PORT/   through HAProxy, which has chosen a node for each browser
  the nodes    $(for n in $(seq "$NODES"); do echo -n "http://localhost:$((PORT + n))/  "; done)
  operators    $(for n in $(seq "$NODES"); do echo -n "http://localhost:$((PORT + 20 + n))/metrics  "; done)
  Redis        127.0.0.1:$REDIS_PORT
  PostgreSQL   127.0.0.1:$POSTGRES_PORT

Open the first two nodes in two tabs: they are one chat. Then break something and watch:

  kill -9 \$(cat $DATA/node-1.pid)      a node dies and comes back
  kill \$(cat $DATA/node-2.pid)         a node leaves in an orderly way
  tail -f $DATA/node-1.log

Ctrl-C ends it.
END
# Redis, PostgreSQL and the balancer must keep running; nodes may restart.
while true; do
    for part in redis postgres haproxy; do
        alive "$part" || fail "$part ended; the last of $DATA/$part.log:
$(tail -n 15 "$DATA/$part.log")"
    done
    sleep 0.5
done
