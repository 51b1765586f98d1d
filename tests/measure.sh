#!/usr/bin/env bash
# `make measure`: what swaps, attacks and many tenants cost, on the release build. Figures, no verdicts: a busy machine
# shows in them.
set -euo pipefail
cd "$(dirname "$0")/.."
# Node.js, where tests/setup.sh had to install one.
export PATH="$PWD/tests/.venv/bin:$PATH"
TARGET=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
export PARLANCE_BIN=$TARGET/release/parlance PARLANCE_TEST_GUESTS=$TARGET/test-guests
export PARLANCE_SHIPPED=$TARGET/components
"$TARGET/release/parlance-build" --workspace tests/guests --root . --target-dir "$TARGET/guests" \
    --out "$PARLANCE_TEST_GUESTS"
for measurement in tenants swaps attacks; do
    # The library of the tests reports to the test runner too, which has nothing to say here.
    node --test-reporter=dot --test-reporter-destination=/dev/null "tests/e2e/measure/$measurement.mjs"
done
