#!/usr/bin/env bash
# `make fuzz`: builds the fuzz targets and runs each for so many seconds, beginning with the inputs in corpus/.
#   tests/fuzz/run.sh SECONDS [TARGET…]
# What is found lies below target/fuzz: inputs that reach new code in corpus/, inputs that fail in failures/. The last
# line counts the targets.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly ALL=(packet msgpack frame bus token config component)
readonly SECONDS_EACH=${1:?usage: tests/fuzz/run.sh SECONDS [TARGET…]}
shift
if [ $# = 0 ]; then
    set -- "${ALL[@]}"
fi

mkdir -p "${CARGO_TARGET_DIR:-target}/fuzz"
TARGET=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
readonly TARGET
readonly FUZZ=$TARGET/fuzz
# For one input: seconds, and megabytes of the whole process.
readonly INPUT_SECONDS=10 MEMORY=2048

LOCKED=()
if [ -n "${CI:-}" ]; then
    LOCKED=(--locked)
fi
echo "Building the fuzz targets: about two minutes on two cores after a first build of the server, then seconds."
# With the workspace's features, so that dependencies are those of the server's build.
RUSTC_WORKSPACE_WRAPPER=$PWD/tests/fuzz/rustc.sh CARGO_INCREMENTAL=0 \
    cargo build --workspace --features parlance-fuzz/libfuzzer "${ALL[@]/#/--bin=}" "${LOCKED[@]}"

passed=0 failed=0
for target in "$@"; do
    grown=$FUZZ/corpus/$target failures=$FUZZ/failures/$target
    mkdir -p "$grown" "$failures"
    echo "fuzz $target: $SECONDS_EACH s, $(find tests/fuzz/corpus/"$target" "$grown" -type f | wc -l) inputs to begin with"
    options=(-max_total_time="$SECONDS_EACH" -timeout="$INPUT_SECONDS" -rss_limit_mb="$MEMORY")
    dictionary=tests/fuzz/dictionaries/$target.dict
    if [ -f "$dictionary" ]; then
        options+=(-dict="$dictionary")
    fi
    log=$FUZZ/$target.log
    # Of what libFuzzer says, how far it is, every so often, and what fails; all of it is in the log.
    if "$TARGET/debug/$target" "${options[@]}" -print_final_stats=1 -artifact_prefix="$failures/" \
        "$grown" "tests/fuzz/corpus/$target" 2>&1 </dev/null | tee "$log" |
        { grep --line-buffered -E '	pulse |	DONE |panicked at|ERROR: |SUMMARY: |Test unit written' || true; }; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "fuzz $target: FAILED; all that it said: $log"
        echo "once more: $TARGET/debug/$target $failures/NAME"
    fi
done
echo "fuzz: $passed passed, $failed failed"
[ "$failed" = 0 ]
