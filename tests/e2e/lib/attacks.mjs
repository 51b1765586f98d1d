// What a tenant's handler may try while it runs. The guest `hostile` does what its events say.

const MIB = 1024 * 1024;

// Each: the event, what it takes, and the codes that its answers may have.
export const ATTACKS = {
  'a loop': ['nothing-then-loop', {}, ['timeout']],
  'a memory bomb': ['nothing-then-memory', {}, ['handler-failed', 'timeout']],
  'deep recursion': ['nothing-then-stack', {}, ['handler-failed']],
  'a million calls of the host': ['nothing-then-host-calls', { count: 1_000_000 }, ['handler-failed']],
  'a huge call': ['nothing-then-transfer', { count: 8 * MIB }, ['handler-failed', 'timeout']],
  'a huge return': ['reply', { count: 4 * MIB }, ['handler-failed', 'timeout']],
  'a panic': ['nothing-then-trap', {}, ['handler-failed']],
  'a flood of the log': ['log', { message: 'x'.repeat(30_000) }, ['ok']],
  'a flood of effects': ['fault', { message: 'effects', count: 900 }, ['quota-exceeded']],
};

/** Each attacker sends `each` events of an attack, one after the other: how often each code was answered. */
export async function attack(attackers, name, each) {
  const [event, deed] = ATTACKS[name];
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
