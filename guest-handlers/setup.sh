#!/usr/bin/env bash
# Provides the compiler for guests: whatever `parlance-build` looks for. Does nothing when one is there.
# `make setup` calls this. RUSTUP_AUTO_INSTALL=0 is kept to: rustup then downloads nothing.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=guest-handlers/apt.sh
. ./apt.sh

readonly TARGET=wasm32-unknown-unknown
readonly DEBIAN_PACKAGES=(rustc-web cargo-web rust-web-src lld-22)

target_is_there() {
    local directory
    directory=$(rustc --print target-libdir --target "$TARGET" 2>/dev/null) && [ -d "$directory" ]
}

packages_are_there() {
    local status
    command -v dpkg-query >/dev/null || return 1
    # One word for each package; a package that dpkg has never heard of fails.
    status=$(dpkg-query -W -f='${db:Status-Status} ' "${DEBIAN_PACKAGES[@]}" 2>/dev/null) || return 1
    [ "$status" = "installed installed installed installed " ]
}

command -v cargo >/dev/null || fail "Rust is not installed: cargo is not on the search path. It needs Rust 1.95 or later."

# The server's own C parts (SQLite, cryptography) and every linker call need this one.
command -v cc >/dev/null || install_packages "a C compiler" gcc libc6-dev

if target_is_there || packages_are_there; then
    exit 0
fi

if [ "${RUSTUP_AUTO_INSTALL:-1}" != 0 ] && command -v rustup >/dev/null; then
    say "adding the target $TARGET to the Rust toolchain"
    # What fails here may succeed below; rustup has said why.
    rustup target add "$TARGET" || true
    if target_is_there; then
        exit 0
    fi
fi

if can_install "${DEBIAN_PACKAGES[@]}"; then
    install_packages "Debian's Rust compiler with the sources of its standard library" "${DEBIAN_PACKAGES[@]}"
    if packages_are_there; then
        exit 0
    fi
fi

fail "there is no compiler for guests, and it could not be installed. One of these is needed:
  rustup target add $TARGET       (where rustup may download)
  sudo apt-get install ${DEBIAN_PACKAGES[*]}       (Debian)"
