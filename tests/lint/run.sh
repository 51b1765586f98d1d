#!/usr/bin/env bash
# The part of `make lint` that is not about Rust's code: shell scripts, JavaScript, and the packages that we depend on.
# Runs everything, whatever fails first.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="$PWD/tests/.venv/bin:$PATH"

failed=0

mapfile -t scripts < <(git ls-files '*.sh' .ci/run)
echo "shellcheck: ${#scripts[@]} scripts"
shellcheck --external-sources "${scripts[@]}" || failed=1

tests/e2e/node_modules/.bin/biome lint --config-path=tests/lint/javascript.jsonc --error-on-warnings . || failed=1

# Known vulnerabilities stand in a database of its own, which not every machine can fetch.
checks=(licenses bans sources)
if timeout 60 cargo deny --config .cargo/deny.toml fetch db >/dev/null 2>&1; then
    checks+=(advisories)
else
    echo "cargo-deny: the database of advisories could not be fetched; packages are NOT checked for known vulnerabilities"
fi
# parlance-js is a program of its own: it has the wasmtime, and with it the TLS, that its runtime of JavaScript was made for.
echo "cargo-deny: guest-handlers/js/Cargo.toml: licenses sources"
cargo deny --locked --manifest-path guest-handlers/js/Cargo.toml --config .cargo/deny.toml check licenses sources || failed=1
for manifest in Cargo.toml guest-handlers/Cargo.toml tests/guests/Cargo.toml examples/{moderation,slow-mode,private-rooms,polls,reminders,assistant}/Cargo.toml; do
    echo "cargo-deny: $manifest: ${checks[*]}"
    cargo deny --locked --manifest-path "$manifest" --exclude parlance-js --config .cargo/deny.toml check "${checks[@]}" || failed=1
done

exit "$failed"
