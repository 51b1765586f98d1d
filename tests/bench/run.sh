#!/bin/sh
# `make bench`: compares Parlance with other chat servers. Arguments go to the load generator; try --help. Needs release
# builds of the packages `parlance` and `parlance-bench`, Node 20 or later with npm, and `taskset` of util-linux. System
# calls are counted if `perf` is there.
set -eu
cd "$(dirname "$0")/../.."

# Run the existing binary: `cargo run` for this package may select other features and build it again.
bench="${CARGO_TARGET_DIR:-target}/release/parlance-bench"
[ -x "$bench" ] || {
    echo "bench: $bench is missing: cargo build --release -p parlance -p parlance-bench" >&2
    exit 1
}
for tool in node npm taskset; do
    command -v "$tool" >/dev/null || { echo "bench: $tool is not installed" >&2; exit 1; }
done
tests/bench/packages.sh
exec "$bench" "$@"
