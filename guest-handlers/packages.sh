# shellcheck shell=bash
# For setup scripts to read in: saying what is done, and installing packages of Debian or Ubuntu.

say() {
    echo "setup: $*" >&2
}

fail() {
    echo "setup: $*" >&2
    exit 1
}

# Whether this user can act as root: is root, has sudo without a password, or is there to type one.
may_be_root() {
    [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; }
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        # sudo drops the environment; the setting must reach apt-get.
        sudo DEBIAN_FRONTEND="${DEBIAN_FRONTEND:-}" "$@"
    fi
}

# Once for each run, and only when something is to be installed.
APT_LISTS_ARE_FRESH=
refresh_lists() {
    [ -z "$APT_LISTS_ARE_FRESH" ] || return 0
    say "fetching the lists of packages"
    # One source of several may be out of order while the one that counts is not.
    as_root apt-get update -qq || say "apt-get update had errors; going on with the lists that are there"
    APT_LISTS_ARE_FRESH=yes
}

# Whether apt-get can be used here and knows each of the packages.
can_install() {
    command -v apt-get >/dev/null && may_be_root || return 1
    refresh_lists
    local package
    for package in "$@"; do
        apt-cache show "$package" >/dev/null 2>&1 || return 1
    done
}

# install_packages WHAT PACKAGE...: installs, or says what is missing and stops.
install_packages() {
    local what=$1
    shift
    if ! can_install "$@"; then
        fail "$what is missing, and this script cannot install it here. The command: sudo apt-get install $*"
    fi
    say "installing $what: $*"
    # Nothing of the machine's own is ever removed to make room.
    DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq --no-remove --no-install-recommends \
        -o DPkg::Lock::Timeout=300 "$@" </dev/null >&2 ||
        fail "installing $what failed. The command: sudo apt-get install $*"
}
