#!/usr/bin/env bash
# Installs the compilers: Rust for the server, and a toolchain for guests that `parlance-build` finds. Does nothing if
# they are installed. `make setup` calls this. It respects RUSTUP_AUTO_INSTALL=0: rustup then downloads nothing.
set -euo pipefail
# Run in the directory of `rust-toolchain.toml`, so that rustup uses it.
cd "$(dirname "$0")/.."
# shellcheck source=guest-handlers/packages.sh
. guest-handlers/packages.sh

readonly TARGET=wasm32-unknown-unknown
# `rust-version` of Cargo.toml.
readonly OLDEST_RUST=1.95
# Debian's newer compiler with the sources of its standard library. It also needs a linker.
readonly DEBIAN_RUST=(rustc-web cargo-web rust-web-src)
readonly FEDORA_RUST=(rust cargo)
readonly FEDORA_TARGET=rust-std-static-$TARGET

rust_version() {
    cargo --version 2>/dev/null | cut -d ' ' -f 2
}

rust_is_there() {
    command -v cargo >/dev/null && at_least "$(rust_version)" "$OLDEST_RUST"
}

target_is_there() {
    local directory
    directory=$(rustc --print target-libdir --target "$TARGET" 2>/dev/null) && [ -d "$directory" ]
}

# Whether dpkg has each of the packages installed.
are_installed() {
    local status package
    command -v dpkg-query >/dev/null || return 1
    for package in "$@"; do
        status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) || return 1
        [ "$status" = installed ] || return 1
    done
}

# Any version of LLVM's linker, where parlance-build looks for it.
linker_is_there() {
    compgen -c wasm-ld >/dev/null || compgen -G '/usr/lib/llvm-*/bin/wasm-ld' >/dev/null
}

# The package of the newest linker that apt-get offers.
linker_package() {
    { apt-cache pkgnames lld- 2>/dev/null | grep -E '^lld-[0-9]+$' || echo lld; } | sort --version-sort | tail -n 1
}

debian_guests_are_there() {
    are_installed "${DEBIAN_RUST[@]}" && linker_is_there
}

# Rust from the system's packages, if there is none.
install_rust() {
    case $(package_manager) in
    apt-get)
        if can_install "${DEBIAN_RUST[@]}"; then
            install_packages "Rust, and the sources of its standard library" "${DEBIAN_RUST[@]}" "$(linker_package)"
        elif [ "${RUSTUP_AUTO_INSTALL:-1}" != 0 ] && can_install rustup; then
            # Ubuntu: rustup downloads the toolchain of rust-toolchain.toml when cargo first runs.
            install_packages "rustup" rustup
        fi
        ;;
    dnf) install_packages "Rust" "${FEDORA_RUST[@]}" ;;
    esac
}

[ "$(uname -s)" = Linux ] || fail "Parlance runs on Linux; this is $(uname -s). A container or a virtual machine will do."

if ! command -v cargo >/dev/null; then
    install_rust
fi
if ! command -v cargo >/dev/null; then
    fail "Rust is not installed: cargo is not on the search path. Install rustup (https://rustup.rs), then run this again."
fi
if [ -z "$(rust_version)" ]; then
    # rustup prints the reason, such as a toolchain of rust-toolchain.toml that it may not download.
    cargo --version >&2 || true
    fail "cargo does not run. Where it is rustup's: rustup toolchain install $(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)"
fi
if ! rust_is_there; then
    fail "Rust is too old: this is $(rust_version), and the server needs $OLDEST_RUST or later. Install rustup (https://rustup.rs), then run this again."
fi

# The server's own C parts (SQLite, cryptography) and every linker call need this one.
# shellcheck disable=SC2046 # two words
command -v cc >/dev/null || install_packages "a C compiler" $(by_manager "gcc libc6-dev" "gcc glibc-devel")

if target_is_there || debian_guests_are_there; then
    exit 0
fi

if [ "${RUSTUP_AUTO_INSTALL:-1}" != 0 ] && command -v rustup >/dev/null; then
    say "adding the target $TARGET to the Rust toolchain"
    # If this fails, another way below may succeed; rustup has printed the reason.
    rustup target add "$TARGET" || true
    if target_is_there; then
        exit 0
    fi
fi

case $(package_manager) in
apt-get)
    packages=("${DEBIAN_RUST[@]}" "$(linker_package)")
    if can_install "${packages[@]}"; then
        install_packages "Debian's Rust compiler with the sources of its standard library" "${packages[@]}"
    fi
    ;;
dnf)
    # Only Fedora's own compiler can use it.
    if can_install "$FEDORA_TARGET"; then
        install_packages "Rust's standard library for guests" "$FEDORA_TARGET"
    fi
    ;;
esac
if target_is_there || debian_guests_are_there; then
    exit 0
fi

fail "there is no compiler for guests, and it could not be installed. One of these is needed:
  rustup target add $TARGET       (where rustup may download)
  sudo apt-get install ${DEBIAN_RUST[*]} $(linker_package)       (Debian)
  sudo dnf install $FEDORA_TARGET       (Fedora)"
