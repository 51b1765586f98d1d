// An OCI registry for the test: Debian's docker-registry, with or without a password.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { owned } from './scope.mjs';
import { freePort } from './port.mjs';
import { cleanEnvironment, temporaryDirectory } from './server.mjs';
import { eventually, within } from './wait.mjs';

/** The one user of a registry with a password. */
export const USER = 'ann';
export const PASSWORD = 'a password for tests only';
/** Of `htpasswd -nbB`, with the password above. */
const HTPASSWD = `${USER}:$2y$05$pxh4G5EqPdSjIIi9WVXhC.mYgiEHhHPf71esJNRsLJLdoPXjoiUfe\n`;

/** Debian's name of the program, and that of others. */
const PROGRAM = ['docker-registry', 'registry'].find((name) => (process.env.PATH ?? '').split(delimiter).some((directory) => existsSync(join(directory, name))));
/** Why tests that need a registry are skipped, if they are. */
export const NO_REGISTRY = PROGRAM ? false : 'docker-registry is not installed; `make setup` does that where there is a package';

class Registry {
  #child;
  #ended;
  #output = '';

  constructor(port) {
    this.host = `127.0.0.1:${port}`;
    this.dir = temporaryDirectory();
  }

  async start(locked) {
    const file = join(this.dir, 'config.json');
    const auth = locked ? { htpasswd: { realm: 'tests', path: join(this.dir, 'htpasswd') } } : undefined;
    writeFileSync(join(this.dir, 'htpasswd'), HTPASSWD);
    // JSON is YAML too.
    writeFileSync(file, JSON.stringify({
      version: '0.1',
      storage: { filesystem: { rootdirectory: join(this.dir, 'data') } },
      http: { addr: this.host },
      auth,
    }));
    const args = ['--pdeathsig', 'KILL', '--', PROGRAM, 'serve', file];
    this.#child = spawn('setpriv', args, { env: cleanEnvironment(), stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) stream.on('data', (text) => (this.#output += text));
    this.#ended = new Promise((done) => this.#child.on('close', done).on('error', done));
    await eventually(() => fetch(`http://${this.host}/v2/`).then(() => true, () => false), 'docker-registry to answer');
    return this;
  }

  /** The file in which the registry keeps the bytes of a digest. */
  file(digest) {
    const hex = digest.replace('sha256:', '');
    return join(this.dir, 'data/docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex, 'data');
  }

  /** Changes a byte in the middle of what the registry keeps. */
  tamper(digest) {
    const bytes = readFileSync(this.file(digest));
    bytes[bytes.length >> 1] ^= 1;
    writeFileSync(this.file(digest), bytes);
  }

  /** The manifest as the registry gives it. */
  async manifest(name, version) {
    const accept = 'application/vnd.oci.image.manifest.v1+json';
    const response = await fetch(`http://${this.host}/v2/${name}/manifests/${version}`, { headers: { accept } });
    return { status: response.status, type: response.headers.get('content-type'), body: await response.json() };
  }

  async stop() {
    this.#child.kill('SIGKILL');
    await within(this.#ended, () => 'the end of docker-registry');
  }

  async close() {
    await this.stop();
  }

  diagnosis() {
    return `log of docker-registry:\n${this.#output.slice(-4000)}`;
  }
}

/** Starts a registry on a free port. `locked`: it wants the password. */
export async function startRegistry({ locked = false } = {}) {
  return owned(new Registry(await freePort())).start(locked);
}
