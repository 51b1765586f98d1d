#!/bin/sh
# Installs the packages of the Node servers that Parlance is compared with, if they are not there. No test needs them, and
# one is compiled, which takes two minutes.
set -eu
cd "$(dirname "$0")/node"
# npm writes the inner lock file last, so it also shows that an installation is complete.
if ! [ node_modules/.package-lock.json -nt package-lock.json ]; then
    echo "installing the packages of the Node servers" >&2
    npm ci --no-audit --no-fund --silent
fi
