# shellcheck shell=bash
# For scripts that `source` it with TARGET set: has a debug build of the server in PARLANCE_BIN and the tests' own guests in
# PARLANCE_TEST_GUESTS, unless they are given.
if [ -z "${PARLANCE_BIN:-}" ]; then
    cargo build --workspace
    export PARLANCE_BIN=$TARGET/debug/parlance
fi
if [ -z "${PARLANCE_TEST_GUESTS:-}" ]; then
    "$TARGET/debug/parlance-build" --locked --workspace tests/guests --root . --target-dir "$TARGET/guests" \
        --out "$TARGET/test-guests"
    export PARLANCE_TEST_GUESTS=$TARGET/test-guests
fi
