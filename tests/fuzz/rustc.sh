#!/usr/bin/env bash
# Compiles the workspace's own crates for libFuzzer: each edge of the code counts how often it is taken, comparisons tell
# their operands, and the functions for fuzzing are there. Cargo runs this in place of rustc, for these crates alone
# (RUSTC_WORKSPACE_WRAPPER), so all others are those of the usual build. The flags are those of cargo-fuzz without a
# sanitizer; stable Rust takes them.
set -euo pipefail

case ${CARGO_CRATE_NAME:-} in
# Build scripts run without libFuzzer, and so does what they are made of.
"" | build_script_build | parlance_build)
    exec "$@"
    ;;
esac
exec "$@" --cfg fuzzing -Copt-level=1 -Ccodegen-units=4 \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-sanitizer-coverage-stack-depth
