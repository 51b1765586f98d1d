#!/usr/bin/env bash
# `make clients`: runs client libraries of other languages against the server.
#
# Where Maven cannot reach a repository, PARLANCE_SUITES=DIR says where clones of the Java client lie (README.md).
set -euo pipefail
cd "$(dirname "$0")/../.."
# Node.js, where tests/setup.sh had to install one.
export PATH="$PWD/tests/.venv/bin:$PATH"

mkdir -p "${CARGO_TARGET_DIR:-target}"
TARGET=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
readonly TARGET
export CARGO_TARGET_DIR=$TARGET

source tests/built.sh
node --test tests/clients/clients.test.mjs
