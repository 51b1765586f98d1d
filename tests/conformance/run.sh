#!/usr/bin/env bash
# `make conformance`: runs the official test suites against the server, as they are but for address and token.
#
# The suites come from the project's repositories at the commits below. PARLANCE_SUITES=DIR takes clones that are there
# instead: DIR/socket.io and so on, bare or not, with the commit in it. README.md says what is run and how it is adapted.
set -euo pipefail
cd "$(dirname "$0")/../.."
# Node.js, where tests/setup.sh had to install one.
export PATH="$PWD/tests/.venv/bin:$PATH"

readonly SOCKET_IO=d2d753fed4435015c2d83fe62e676b44e07fa3f7
readonly REDIS_ADAPTER=6649a78ec8c6dcfdd0a18a5e2ad462667ad146cd
readonly REDIS_EMITTER=bfefbdefd963b59279b7f55673a88296a660f7d8

mkdir -p "${CARGO_TARGET_DIR:-target}"
TARGET=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
readonly TARGET
readonly AT=$TARGET/conformance

# repository NAME COMMIT: prints the git directory of a clone that has the commit.
repository() {
    local name=$1 commit=$2 clone
    if [ -n "${PARLANCE_SUITES:-}" ]; then
        git -C "$PARLANCE_SUITES/$name" rev-parse --absolute-git-dir
        return
    fi
    clone=$AT/clones/$name
    if ! git -C "$clone" cat-file -e "$commit^{commit}" 2>/dev/null; then
        git init --quiet --bare "$clone" >&2
        git -C "$clone" fetch --quiet --depth 1 "https://github.com/socketio/$name.git" "$commit" >&2
    fi
    echo "$clone"
}

# unpack GIT-DIR COMMIT PATH DIRECTORY: a directory of the repository (all of it when PATH is empty), over what was there
# but its packages.
unpack() {
    local parts
    mkdir -p "$4"
    find "$4" -mindepth 1 -maxdepth 1 ! -name node_modules -exec rm -rf {} +
    parts=$(tr -cd / <<<"${3:+$3/}" | wc -c)
    git --git-dir="$1" archive "$2" ${3:+"$3"} | tar -x --strip-components="$parts" -C "$4"
}

# packages DIRECTORY: what its lock file says, unless that is there.
packages() {
    if [ ! "$1/node_modules/.package-lock.json" -nt "$1/package-lock.json" ]; then
        (cd "$1" && npm ci --no-audit --no-fund --loglevel=error)
    fi
}

git_dir=$(repository socket.io "$SOCKET_IO")
unpack "$git_dir" "$SOCKET_IO" docs/engine.io-protocol/v4-test-suite "$AT/engine.io-protocol"
unpack "$git_dir" "$SOCKET_IO" docs/socket.io-protocol/v5-test-suite "$AT/socket.io-protocol"
unpack "$git_dir" "$SOCKET_IO" packages/socket.io-client/test "$AT/socket.io-client/test"
cp tests/conformance/client/{package.json,package-lock.json} "$AT/socket.io-client"
unpack "$(repository socket.io-redis-adapter "$REDIS_ADAPTER")" "$REDIS_ADAPTER" "" "$AT/redis-adapter"
unpack "$(repository socket.io-redis-emitter "$REDIS_EMITTER")" "$REDIS_EMITTER" "" "$AT/redis-emitter"
for suite in engine.io-protocol socket.io-protocol socket.io-client redis-adapter redis-emitter; do
    packages "$AT/$suite"
done

source tests/built.sh
PARLANCE_SUITES_AT=$AT node --test tests/conformance/suites.test.mjs
