#!/bin/sh
# `make bench`: compares Parlance with the usual Node server. Arguments go to the load generator; try --help. Needs
# release builds of `parlance` and `parlance-bench`, Node 18 or later with npm, and `taskset` of util-linux.
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
# npm writes the inner lock file last, so it also shows that an installation is complete.
if ! [ tests/bench/node/node_modules/.package-lock.json -nt tests/bench/node/package-lock.json ]; then
    echo "bench: installing the packages of the Node server" >&2
    npm ci --prefix tests/bench/node --no-audit --no-fund --silent
fi
exec "$bench" "$@"
