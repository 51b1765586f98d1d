// Several tenants on one server, each with its own key.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect } from './client.mjs';
import { startServer } from './server.mjs';
import { token } from './token.mjs';

const secretOf = (tenant) => `the secret of ${tenant}, longer than 32 bytes`;

/** The configuration of tenants, each with its own key. `tables` has further tables of each, by name. */
export function tenants(tables) {
  const tenant = (name) => ({ auth: { keys: [{ algorithm: 'HS256', secret: secretOf(name) }] }, ...tables[name] });
  return Object.fromEntries(Object.keys(tables).map((name) => [name, tenant(name)]));
}

/** Starts a server with these tenants; `config` has its other tables. */
export function startTenants(tables, config = {}) {
  return startServer({ config: { ...config, tenants: tenants(tables) } });
}

/** A client of one of the tenants. */
export function member(server, tenant, user) {
  return connect(server, user, at(tenant, user));
}

/** The options with which `connect` connects as a user of the tenant. */
export function at(tenant, user) {
  return { namespace: `/${tenant}`, auth: { token: token(user, {}, { secret: secretOf(tenant) }) } };
}

/** The resident memory of the server's process, in bytes. */
export function residentBytes(server) {
  const [, kilobytes] = readFileSync(`/proc/${server.pid}/status`, 'utf8').match(/^VmRSS:\s+(\d+) kB$/m);
  return Number(kilobytes) * 1024;
}

/** Posts one message after the other until it is stopped. */
export class Steady {
  #going = true;
  #done;
  answered = 0;
  failures = [];

  constructor(client, room) {
    this.#done = (async () => {
      while (this.#going) {
        const answer = await client.ask('send-message', { roomId: room, content: `message ${this.answered}` });
        if (answer.ok) this.answered += 1;
        else this.failures.push(answer);
      }
    })();
  }

  /** Stops, and asserts that every message was acknowledged with ok. */
  async stop() {
    this.#going = false;
    await this.#done;
    assert.deepEqual(this.failures, []);
    assert.ok(this.answered > 0);
    return this.answered;
  }
}
