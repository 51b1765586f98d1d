#!/usr/bin/env bash
# build.sh DIRECTORY: builds the Java program into the directory and prints the class path to run it with.
#
# The library comes from Maven's repository, as pom.xml says. Where Maven cannot reach one, PARLANCE_SUITES=DIR takes the
# clones DIR/socket.io-client-java and DIR/engine.io-client-java (bare or not) and builds the same releases from their
# tags, with OkHttp and org.json from the machine's packages. That org.json is Android's, which writes `\/` for a slash.
set -euo pipefail
mkdir -p "$1"
AT=$(cd "$1" && pwd)
readonly AT
if [ -n "${PARLANCE_SUITES:-}" ]; then
    PARLANCE_SUITES=$(realpath -m "$PARLANCE_SUITES")
fi
cd "$(dirname "$0")"
readonly OWN=$AT/program
readonly JARS=/usr/share/java
# Debian's names of OkHttp, its Okio, and Android's org.json.
readonly PACKAGES="libokhttp-java libandroid-json-org-java"

fail() {
    echo "tests/clients: $*" >&2
    exit 1
}

command -v javac >/dev/null || fail "javac is missing: the Java client needs a JDK, version 17 or later. Install one (Debian: default-jdk-headless)."

# unpack NAME TAG DIRECTORY: the sources of a release from a clone.
unpack() {
    local clone=$PARLANCE_SUITES/$1
    [ -e "$clone" ] || fail "$clone is missing: PARLANCE_SUITES is to hold clones of socket.io-client-java and engine.io-client-java."
    mkdir -p "$3"
    git --git-dir="$(git -C "$clone" rev-parse --absolute-git-dir)" archive "$2" src/main/java | tar -x -C "$3" || fail "$clone has no $2."
}

from_clones() {
    local jar sources=$AT/sources classes=$AT/library
    local -a needed=("$JARS/okhttp.jar" "$JARS/okio.jar" "$JARS/json-android.jar")
    for jar in "${needed[@]}"; do
        [ -f "$jar" ] || fail "$jar is missing. The command on Debian: apt-get install $PACKAGES"
    done
    LIBRARIES=$(IFS=:; echo "$classes:${needed[*]}")
    rm -rf "$sources" "$classes"
    mkdir -p "$classes"
    unpack socket.io-client-java socket.io-client-2.1.2 "$sources"
    unpack engine.io-client-java engine.io-client-2.1.0 "$sources"
    find "$sources" -name '*.java' -print0 |
        xargs -0 javac -nowarn -Xlint:none -d "$classes" -cp "$LIBRARIES" >&2
}

from_maven() {
    command -v mvn >/dev/null || fail "mvn is missing: the Java client comes with it. Install Maven, or set PARLANCE_SUITES (README.md)."
    mvn --batch-mode --quiet --file pom.xml dependency:copy-dependencies "-DoutputDirectory=$AT/jars" >"$AT/maven.log" 2>&1 ||
        fail "Maven could not bring io.socket:socket.io-client; set PARLANCE_SUITES instead (README.md). $AT/maven.log has:
$(grep ERROR "$AT/maven.log" | head -n 1 | cut -c1-400)"
    LIBRARIES="$AT/jars/*"
}

if [ -n "${PARLANCE_SUITES:-}" ]; then
    from_clones
else
    from_maven
fi
rm -rf "$OWN"
mkdir -p "$OWN"
javac -d "$OWN" -cp "$LIBRARIES" ./*.java >&2
echo "$OWN:$LIBRARIES"
