// Attacks by handlers of one tenant: their own events fail, the server survives, its memory is freed, and all of the
// other tenant's events are answered.
import assert from 'node:assert/strict';
import { assertGapless } from './lib/assert.mjs';
import { ATTACKS, attack, attackingTenants } from './lib/attacks.mjs';
import { freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { member, residentBytes, startTenants, Steady } from './lib/tenants.mjs';
import { eventually } from './lib/wait.mjs';

const MIB = 1024 * 1024;
/**
 * How much more memory the server may use after each attack than before all: three instances, and what the allocator
 * keeps.
 */
const MEMORY_BOUND = 64 * MIB;
/** Events of each attack, and how many of them run at once. */
const EVENTS = 60;
const AT_ONCE = 20;

// The tenant's budget would end the attack early; here each event must meet the limits of an event.
const unlimited = { quota: { guest_cpu: '1000s' } };
const server = await startTenants(
  { good: unlimited, ...attackingTenants(unlimited) },
  { limits: { events_per_second: 10_000, event_burst: 10_000 } },
);
const victim = await member(server, 'good', 'victim');

const warm = freshRoom('warm');
await victim.join(warm);
for (let n = 0; n < 200; n += 1) await victim.post(warm, 'warm');
const before = residentBytes(server);

for (const one of ATTACKS) {
  test(`attack: ${one.name}: only its own events fail`, async () => {
    const attackers = [];
    for (let n = 0; n < AT_ONCE; n += 1) attackers.push(await member(server, one.guest, `attacker-${n}`));
    // All attackers receive what they emit.
    for (const attacker of attackers) await attacker.join('evil');
    const room = freshRoom();
    await victim.join(room);
    const steady = new Steady(victim, room);
    await eventually(() => steady.answered > 0, 'a first message of the other tenant');

    const codes = await attack(attackers, one.guest, EVENTS / AT_ONCE);

    const answered = await steady.stop();
    assertGapless(await victim.history(room), answered);
    assert.equal(Object.values(codes).reduce((sum, count) => sum + count, 0), EVENTS, 'each event is answered');
    assert.deepEqual(Object.keys(codes).filter((code) => !one.codes.includes(code)), [], JSON.stringify(codes));
    assert.equal((await fetch(`${server.url}/readyz`)).status, 200);
    await eventually(() => residentBytes(server) < before + MEMORY_BOUND,
      () => `the memory to come back to ${(before + MEMORY_BOUND) / MIB} MiB from ${residentBytes(server) / MIB}`);
    assert.equal(victim.connects, 1, 'no connection was lost');
    assert.ok(attackers.every((attacker) => attacker.connects === 1));
  });
}
