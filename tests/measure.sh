#!/usr/bin/env bash
# `make measure`: measures the cost of swaps, attacks, many tenants and additional nodes, what a client waits for when it
# comes back, and retention, with the release build. It
# prints figures and no verdicts, since they depend on how busy the machine is.
set -euo pipefail
cd "$(dirname "$0")/.."
# The Node.js that tests/setup.sh installed, if it had to.
export PATH="$PWD/tests/.venv/bin:$PATH"
TARGET=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
export PARLANCE_BIN=$TARGET/release/parlance PARLANCE_TEST_GUESTS=$TARGET/test-guests
export PARLANCE_SHIPPED=$TARGET/components
"$TARGET/release/parlance-build" --locked --workspace guest-handlers --root . --target-dir "$TARGET/guests" \
    --out "$PARLANCE_SHIPPED"
"$TARGET/release/parlance-build" --locked --workspace tests/guests --root . --target-dir "$TARGET/guests" \
    --out "$PARLANCE_TEST_GUESTS"
tests/bench/packages.sh
# measure NAME [COMMAND…]: runs a measurement, with the command as a prefix if there is one.
measure() {
    local name=$1
    shift
    # The tests' library also reports to the test runner, whose output is not needed here.
    "$@" node --test-reporter=dot --test-reporter-destination=/dev/null "tests/e2e/measure/$name.mjs"
}
measure tenants
measure swaps
measure chat
# Once without the disk, whose stalls would dominate the figures, and once with it.
for data in /dev/shm "$TARGET"; do
    "$TARGET/release/parlance-bench" attacks --data-dir "$data" --guests "$PARLANCE_TEST_GUESTS"
done
if [ "$(nproc)" -gt 1 ]; then
    "$TARGET/release/parlance-bench" growth
    measure bombs taskset --cpu-list 1
    measure nodes taskset --cpu-list 1
    measure floods taskset --cpu-list 1
else
    echo "measure: growth, bombs, nodes and floods need two cores, one for the servers and one for all else" >&2
fi
