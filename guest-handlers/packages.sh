# shellcheck shell=bash
# Functions for setup scripts: printing messages, and installing the system's packages with apt-get (Debian, Ubuntu) or
# dnf (Fedora).

say() {
    echo "setup: $*" >&2
}

fail() {
    say "$*"
    exit 1
}

# at_least VERSION OLDEST: whether a dotted version is not older than another.
at_least() {
    [ "$(printf '%s\n' "$2" "$1" | sort --version-sort | head -n 1)" = "$2" ]
}

# The first installed package manager; nothing if there is none.
package_manager() {
    local name
    for name in apt-get dnf; do
        if command -v "$name" >/dev/null; then
            echo "$name"
            return
        fi
    done
}

# Whether this user can act as root: is root, has sudo without a password, or can type one.
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

# Once for each run, and only if something must be installed. dnf does this by itself.
LISTS_ARE_FRESH=
refresh_lists() {
    [ -z "$LISTS_ARE_FRESH" ] || return 0
    LISTS_ARE_FRESH=yes
    if [ "$(package_manager)" = apt-get ]; then
        say "fetching the lists of packages"
        # One of several sources may be broken while the needed one works.
        as_root apt-get update -qq || say "apt-get update had errors; going on with the lists that are there"
    fi
}

is_known() {
    case $(package_manager) in
    apt-get) apt-cache show "$1" >/dev/null 2>&1 ;;
    dnf) dnf --quiet info "$1" >/dev/null 2>&1 ;;
    *) return 1 ;;
    esac
}

# Whether this script can install packages here and each of these is available.
can_install() {
    [ -n "$(package_manager)" ] && may_be_root || return 1
    refresh_lists
    local package
    for package in "$@"; do
        is_known "$package" || return 1
    done
}

# install_packages WHAT PACKAGE...: installs packages, or reports what is missing and exits.
install_packages() {
    local what=$1 manager
    shift
    manager=$(package_manager)
    if [ -z "$manager" ]; then
        fail "$what is missing, and there is neither apt-get nor dnf to install it with. Install it, then run this again."
    fi
    if ! can_install "$@"; then
        fail "$what is missing, and this script cannot install it here. The command: sudo $manager install $*"
    fi
    say "installing $what: $*"
    # Never remove installed packages to resolve a conflict.
    case $manager in
    apt-get)
        DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq --no-remove --no-install-recommends \
            -o DPkg::Lock::Timeout=300 "$@" </dev/null >&2
        ;;
    dnf) as_root dnf install -y --quiet --setopt=install_weak_deps=False "$@" </dev/null >&2 ;;
    esac || fail "installing $what failed. The command: sudo $manager install $*"
    hash -r
}

# by_manager DEBIAN FEDORA: prints the text for this machine's package manager.
by_manager() {
    if [ "$(package_manager)" = dnf ]; then
        echo "$2"
    else
        echo "$1"
    fi
}
