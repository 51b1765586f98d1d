#!/usr/bin/env bash
# `make measure`: what swaps, attacks, many tenants and further nodes cost, on the release build. Figures, no verdicts: a busy machine
# shows in them.
set -euo pipefail
cd "$(dirname "$0")/.."
# Node.js, where tests/setup.sh had to install one.
export PATH="$PWD/tests/.venv/bin:$PATH"
TARGET=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
export PARLANCE_BIN=$TARGET/release/parlance PARLANCE_TEST_GUESTS=$TARGET/test-guests
export PARLANCE_SHIPPED=$TARGET/components
"$TARGET/release/parlance-build" --locked --workspace guest-handlers --root . --target-dir "$TARGET/guests" \
    --out "$PARLANCE_SHIPPED"
"$TARGET/release/parlance-build" --locked --workspace tests/guests --root . --target-dir "$TARGET/guests" \
    --out "$PARLANCE_TEST_GUESTS"
# measure NAME [COMMAND…]: through that command, if there is one.
measure() {
    local name=$1
    shift
    # The library of the tests reports to the test runner too, which has nothing to say here.
    "$@" node --test-reporter=dot --test-reporter-destination=/dev/null "tests/e2e/measure/$name.mjs"
}
measure tenants
measure swaps
# Without the disk, whose own stalls would be most of what is seen, and with it.
for data in /dev/shm "$TARGET"; do
    "$TARGET/release/parlance-bench" attacks --data-dir "$data" --guests "$PARLANCE_TEST_GUESTS"
done
if [ "$(nproc)" -gt 1 ]; then
    measure bombs taskset --cpu-list 1
    measure nodes taskset --cpu-list 1
    measure floods taskset --cpu-list 1
else
    echo "measure: bombs, nodes and floods need two cores, one for the servers and one for all else" >&2
fi
