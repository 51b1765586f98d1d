// What a tenant's handler may try while it runs. The guest `hostile` does what its events say.
import { readFileSync } from 'node:fs';

/** Each: a `name`, the `event`, the `deed` that it takes, and the `codes` that its answers may have. */
export const ATTACKS = JSON.parse(readFileSync(new URL('../../attacks.json', import.meta.url), 'utf8'));

/** Each attacker sends `each` events of an attack, one after the other: how often each code was answered. */
export async function attack(attackers, { event, deed }, each) {
  const codes = {};
  await Promise.all(attackers.map(async (attacker) => {
    for (let n = 0; n < each; n += 1) {
      const answer = await attacker.ask(event, deed);
      const code = answer.ok === false ? answer.error.code : 'ok';
      codes[code] = (codes[code] ?? 0) + 1;
    }
  }));
  return codes;
}
