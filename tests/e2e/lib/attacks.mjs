// Runs the attacks of a tenant's handler: the Rust guests in `tests/guests/attacks`.
import { readFileSync } from 'node:fs';
import { guest } from './server.mjs';

/** The attacks: each has a `name`, the `guest` that attacks at any event, and the `codes` that its answers may have. */
export const ATTACKS = JSON.parse(readFileSync(new URL('../../attacks.json', import.meta.url), 'utf8'))
  // The other attacks are events that the host answers itself.
  .filter((one) => one.guest !== undefined);

/**
 * Tables for a tenant for each attack, named after its guest, since a tenant has one configured handler for custom
 * events. `tables` are added to each of them.
 */
export function attackingTenants(tables = {}) {
  const tenant = (name) => ({ handlers: { event: { component: guest(name) } }, ...tables });
  return Object.fromEntries(ATTACKS.map((one) => [one.guest, tenant(one.guest)]));
}

/** Each attacker sends `each` events of an attack, one after the other. Returns how often each code was answered. */
export async function attack(attackers, event, each) {
  const codes = {};
  await Promise.all(attackers.map(async (attacker) => {
    for (let n = 0; n < each; n += 1) {
      const answer = await attacker.ask(event);
      const code = answer.ok === false ? answer.error.code : 'ok';
      codes[code] = (codes[code] ?? 0) + 1;
    }
  }));
  return codes;
}
