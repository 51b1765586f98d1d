#!/usr/bin/env bash
# `make test`: builds the server and the tests' own guests, then runs every Rust test, a moment of each fuzz target and
# every end-to-end test, whether or not an earlier kind failed. The last line, kept in test-logs/summary too, counts what
# ran; a kind of which nothing ran is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
# Node.js, where tests/setup.sh had to install one.
export PATH="$PWD/tests/.venv/bin:$PATH"

mkdir -p "${CARGO_TARGET_DIR:-target}"
TARGET=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
readonly TARGET
readonly LOGS=$TARGET/test-logs
# For a whole file of end-to-end tests, in milliseconds: one that hangs must not hold up the rest for ever.
readonly FILE_TIMEOUT=900000
# For each fuzz target: enough for its corpus. `make fuzz` takes longer.
readonly FUZZ_SECONDS=5
mkdir -p "$LOGS"
rm -f "$LOGS/summary"
: >"$LOGS/rust.log"
: >"$LOGS/fuzz.log"
: >"$LOGS/e2e.tap"

LOCKED=()
if [ -n "${CI:-}" ]; then
    LOCKED=(--locked)
fi

cargo build --workspace "${LOCKED[@]}"
# One directory for all: they share the standard library, the kit and what it uses.
for guests in tests/guests examples/slow-mode examples/private-rooms examples/polls examples/reminders examples/assistant; do
    "$TARGET/debug/parlance-build" --locked --workspace "$guests" --root . --target-dir "$TARGET/guests" \
        --out "$TARGET/test-guests"
done

outcome=passed
cargo test --workspace --no-fail-fast "${LOCKED[@]}" </dev/null 2>&1 | tee "$LOGS/rust.log" || outcome=FAILED

tests/fuzz/run.sh "$FUZZ_SECONDS" </dev/null 2>&1 | tee "$LOGS/fuzz.log" || outcome=FAILED

export PARLANCE_BIN=$TARGET/debug/parlance PARLANCE_TEST_GUESTS=$TARGET/test-guests
# Two files at a time: each waits a good part of its time, and one by one they took 1.6 times as long.
node --test --test-concurrency=2 --test-timeout="$FILE_TIMEOUT" \
    --test-reporter=spec --test-reporter-destination=stdout \
    --test-reporter=tap --test-reporter-destination="$LOGS/e2e.tap" \
    tests/e2e/*.test.mjs </dev/null || outcome=FAILED

# rust COUNT: the sum over the lines "test result: ok. 3 passed; 0 failed; 1 ignored; …".
rust() {
    awk -v name="$1" '/^test result:/ { for (i = 2; i <= NF; i++) if ($i == name ";") sum += $(i - 1) } END { print sum + 0 }' \
        "$LOGS/rust.log"
}
# fuzz COUNT: from the last line, "fuzz: 7 passed, 0 failed".
fuzz() {
    awk -v name="$1" '$1 == "fuzz:" { for (i = 2; i <= NF; i++) if ($i ~ name) count = $(i - 1) } END { print count + 0 }' \
        "$LOGS/fuzz.log"
}
# e2e COUNT: from the lines "# pass 3" at the end of the protocol.
e2e() {
    awk -v name="$1" '$1 == "#" && $2 == name { count = $3 } END { print count + 0 }' "$LOGS/e2e.tap"
}

if [ "$(rust passed)" = 0 ] || [ "$(fuzz passed)" = 0 ] || [ "$(e2e pass)" = 0 ]; then
    outcome=FAILED
fi
{
    echo -n "make test $outcome: Rust: $(rust passed) passed, $(rust failed) failed, $(rust ignored) ignored; "
    echo -n "fuzz targets: $(fuzz passed) passed, $(fuzz failed) failed; "
    echo "end to end: $(e2e pass) passed, $(($(e2e fail) + $(e2e cancelled))) failed," \
        "$(($(e2e skipped) + $(e2e todo))) skipped"
} | tee "$LOGS/summary"
[ "$outcome" = passed ]
