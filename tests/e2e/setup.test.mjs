// The set-up scripts on various machines: the search path has only fakes of that machine's commands. Each fake records
// how it was called.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { test } from './lib/scope.mjs';
import { temporaryDirectory } from './lib/server.mjs';
import { findBrowser } from './lib/find-browser.mjs';

const ROOT = resolve(import.meta.dirname, '../..');
/** The commands that the scripts use on every system. */
const TOOLS = ['bash', 'cat', 'chmod', 'cmp', 'cp', 'cut', 'dirname', 'env', 'grep', 'head', 'mkdir', 'rm', 'sed', 'sort', 'tail', 'touch', 'node', 'npm'];
const TARGET = 'wasm32-unknown-unknown';

function which(name) {
  const found = process.env.PATH.split(delimiter).map((directory) => join(directory, name)).find(existsSync);
  assert.ok(found, `${name} is on the search path`);
  return found;
}

/** A machine with these commands: `{name: body of a shell script}`. */
class Machine {
  constructor(commands) {
    this.bin = temporaryDirectory();
    for (const tool of TOOLS) symlinkSync(which(tool), join(this.bin, tool));
    const all = { uname: 'echo Linux', id: 'echo 0', cc: '', ...commands };
    for (const [name, body] of Object.entries(all)) this.add(name, body);
  }

  add(name, body) {
    const file = join(this.bin, name);
    writeFileSync(file, `#!/usr/bin/env bash\necho "${name} $*" >>"$CALLS"\n${body}\n`);
    chmodSync(file, 0o755);
  }

  run(script, { env = {}, args = [] } = {}) {
    const calls = join(this.bin, 'calls');
    writeFileSync(calls, '');
    const { status, stderr } = spawnSync('bash', [join(ROOT, script), ...args], {
      env: { PATH: this.bin, BIN: this.bin, CALLS: calls, HOME: this.bin, ...env },
      encoding: 'utf8',
      timeout: 30_000,
    });
    return { status, stderr, calls: readFileSync(calls, 'utf8').split('\n').filter(Boolean) };
  }

  guests(options) {
    return this.run('guest-handlers/setup.sh', options);
  }
}

const cargo = (version) => `echo "cargo ${version} (0123456 2026-01-01)"`;
/** A compiler, which has the target's standard library if the file `target` is next to it. */
const rustc = '[ ! -e "$BIN/target" ] || echo "$BIN"';
const rustup = '[ "$1 $2" != "target add" ] || touch "$BIN/target"';
/** A fake installation, which creates a program of that name. */
const put = (name, body) => `printf '#!/usr/bin/env bash\\n%s\\n' ${JSON.stringify(body).replaceAll('$', '\\$')} >"$BIN/${name}"; chmod 755 "$BIN/${name}"`;
/** Debian: the packages that apt-get offers, and the effect of installing one. */
function debian(known, install = {}) {
  const names = known.join(' ');
  const cases = Object.entries(install).map(([name, body]) => `${name}) ${body} ;;`).join('\n');
  return {
    'apt-cache': `case "$1" in
      show) [[ " ${names} " == *" $2 "* ]] ;;
      pkgnames) for name in ${names}; do [[ $name != "$2"* ]] || echo "$name"; done ;;
    esac`,
    'apt-get': `[ "$1" = install ] || exit 0
      for package in "$@"; do
        echo "$package" >>"$BIN/installed"
        case $package in
        ${cases}
        -) ;;
        esac
      done`,
    'dpkg-query': 'grep -qx "${@: -1}" "$BIN/installed" && echo -n installed',
  };
}
const DEBIAN_RUST = ['rustc-web', 'cargo-web', 'rust-web-src'];
const withRust = { 'cargo-web': put('cargo', cargo('1.96.0')), 'lld-99': put('wasm-ld-99', '') };

test('with all there, setting up installs nothing', () => {
  const machine = new Machine({ cargo: cargo('1.95.0'), rustc, rustup, ...debian(DEBIAN_RUST) });
  writeFileSync(join(machine.bin, 'target'), '');
  const { status, stderr, calls } = machine.guests();
  assert.equal(status, 0, stderr);
  assert.equal(stderr, '');
  assert.deepEqual(calls.filter((call) => /^(apt|rustup)/.test(call)), []);
});

test('rustup adds the target if it may download, and not with RUSTUP_AUTO_INSTALL=0', () => {
  const commands = { cargo: cargo('1.95.0'), rustc, rustup };
  const may = new Machine(commands).guests();
  assert.equal(may.status, 0, may.stderr);
  assert.ok(may.calls.includes(`rustup target add ${TARGET}`));

  const mayNot = new Machine(commands).guests({ env: { RUSTUP_AUTO_INSTALL: '0' } });
  assert.equal(mayNot.status, 1);
  assert.deepEqual(mayNot.calls.filter((call) => call.startsWith('rustup')), []);
  for (const way of [`rustup target add ${TARGET}`, 'apt-get install rustc-web', 'dnf install rust-std']) {
    assert.ok(mayNot.stderr.includes(way), `${way}:\n${mayNot.stderr}`);
  }
});

test('Debian without Rust gets its newer compiler and the newest linker, once', () => {
  const machine = new Machine({ rustc, ...debian([...DEBIAN_RUST, 'lld-14', 'lld-99', 'lldb-100'], withRust) });
  rmSync(join(machine.bin, 'rustc'));
  const first = machine.guests();
  assert.equal(first.status, 0, first.stderr);
  const installs = first.calls.filter((call) => call.startsWith('apt-get install'));
  assert.equal(installs.length, 1);
  assert.match(installs[0], / rustc-web cargo-web rust-web-src lld-99$/);
  assert.match(installs[0], /--no-remove/);
  const again = machine.guests();
  assert.equal(again.status, 0, again.stderr);
  assert.deepEqual(again.calls.filter((call) => call.startsWith('apt')), []);
});

test('Debian with rustup and without the target gets the same packages; any linker that is there will do', () => {
  const machine = new Machine({ cargo: cargo('1.95.0'), rustc, rustup, 'wasm-ld-7': '', ...debian([...DEBIAN_RUST, 'lld-14']) });
  for (const name of DEBIAN_RUST) writeFileSync(join(machine.bin, 'installed'), `${name}\n`, { flag: 'a' });
  const { status, stderr, calls } = machine.guests({ env: { RUSTUP_AUTO_INSTALL: '0' } });
  assert.equal(status, 0, stderr);
  assert.deepEqual(calls.filter((call) => call.startsWith('apt')), []);
});

test('Ubuntu without Rust gets rustup, where it may download', () => {
  const install = { rustup: [put('cargo', cargo('1.95.0')), put('rustc', rustc), put('rustup', rustup)].join('; ') };
  const may = new Machine(debian(['rustup', 'lld'], install)).guests();
  assert.equal(may.status, 0, may.stderr);
  const mayNot = new Machine(debian(['rustup', 'lld'], install)).guests({ env: { RUSTUP_AUTO_INSTALL: '0' } });
  assert.equal(mayNot.status, 1);
  assert.match(mayNot.stderr, /Rust is not installed/);
});

test("Fedora gets Rust and the target's standard library by dnf", () => {
  const dnf = `[ "$1" = install ] || exit 0
    for package in "$@"; do
      case $package in
      rust) ${put('rustc', rustc)} ;;
      cargo) ${put('cargo', cargo('1.97.1'))} ;;
      rust-std-static-${TARGET}) touch "$BIN/target" ;;
      esac
    done`;
  const machine = new Machine({ dnf });
  rmSync(join(machine.bin, 'cc'));
  const { status, stderr, calls } = machine.guests();
  assert.equal(status, 0, stderr);
  const installed = calls.filter((call) => call.startsWith('dnf install')).map((call) => call.replace(/.*=False /, ''));
  assert.deepEqual(installed, ['rust cargo', 'gcc glibc-devel', `rust-std-static-${TARGET}`]);
});

test('problems are reported in one line: no Rust, an old one, a broken one, another system', () => {
  const said = (commands) => {
    const { status, stderr, calls } = new Machine(commands).guests();
    assert.equal(status, 1, stderr);
    assert.deepEqual(calls.filter((call) => /install/.test(call)), []);
    return stderr;
  };
  assert.match(said({}), /Rust is not installed.*rustup\.rs/);
  assert.match(said({ cargo: cargo('1.63.0'), rustc }), /too old: this is 1\.63\.0.* 1\.95 or later/);
  const pinned = /channel = "(.*)"/.exec(readFileSync(join(ROOT, 'rust-toolchain.toml'), 'utf8'))[1];
  assert.ok(said({ cargo: 'exit 1', rustc }).includes(`rustup toolchain install ${pinned}`));
  assert.match(said({ cargo: cargo('1.99.0'), rustc, uname: 'echo Darwin' }), /runs on Linux; this is Darwin/);
});

test('a user who cannot become root gets the command', () => {
  const machine = new Machine({ cargo: cargo('1.95.0'), rustc, id: 'echo 1000', sudo: 'exit 1', ...debian(['gcc', 'libc6-dev']) });
  rmSync(join(machine.bin, 'cc'));
  const { status, stderr, calls } = machine.guests();
  assert.equal(status, 1);
  assert.match(stderr, /sudo apt-get install gcc libc6-dev/);
  assert.deepEqual(calls.filter((call) => call.startsWith('apt-get install')), []);
});

test('without a browser, the set-up reports the skipped tests; CI fails', () => {
  const { 'apt-cache': cache, 'apt-get': get } = debian(['chromium-browser']);
  const there = Object.fromEntries(['c++', 'redis-server', 'postgres', 'curl', 'haproxy', 'valgrind', 'docker-registry', 'setpriv', 'taskset'].map((name) => [name, '']));
  const machine = new Machine({ ...there, 'apt-cache': cache, 'apt-get': get });
  // As on Ubuntu: the package has only a script, since the browser is a snap.
  machine.add('chromium-browser', 'exec /snap/bin/chromium "$@"');
  const local = machine.run('tests/setup.sh');
  assert.equal(local.status, 0, local.stderr);
  assert.match(local.stderr, /tests\/e2e\/browser\.test\.mjs are skipped/);
  const ci = machine.run('tests/setup.sh', { env: { CI: 'true' } });
  assert.equal(ci.status, 1);
  assert.match(ci.stderr, /CI skips no test/);

  machine.add('google-chrome', '');
  const chrome = machine.run('tests/setup.sh', { env: { CI: 'true' } });
  assert.equal(chrome.status, 0, chrome.stderr);
});

test('a browser is Chromium or Chrome in any directory, but not a snap', () => {
  const [empty, full] = [temporaryDirectory(), temporaryDirectory()];
  const program = (name, text, mode = 0o755) => {
    writeFileSync(join(full, name), text);
    chmodSync(join(full, name), mode);
  };
  const path = [empty, full].join(delimiter);
  assert.equal(findBrowser(path), null);
  program('chromium', '#!/bin/sh\nexec /snap/bin/chromium\n');
  program('chromium-browser', '', 0o644);
  mkdirSync(join(full, 'snap'));
  writeFileSync(join(full, 'snap/chrome'), '');
  chmodSync(join(full, 'snap/chrome'), 0o755);
  symlinkSync(join(full, 'snap/chrome'), join(full, 'google-chrome'));
  assert.equal(findBrowser(path), null);
  program('google-chrome-stable', '#!/bin/sh\nexec /opt/google/chrome/chrome\n');
  assert.equal(findBrowser(path), join(full, 'google-chrome-stable'));
});
