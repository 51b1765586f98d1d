// Components that are made to cost their compiler time and memory: they are refused, and the server and its other
// tenants do not notice.
import assert from 'node:assert/strict';
import { ADMIN_TOKEN, admin, at, configurationOf } from './lib/admin.mjs';
import { assertGapless } from './lib/assert.mjs';
import { bomb } from './lib/bomb.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { residentBytes, Steady } from './lib/tenants.mjs';
import { eventually } from './lib/wait.mjs';

const MIB = 1024 * 1024;
/** What the server may hold more after an attack than before: the component as received, a few times. */
const MEMORY_BOUND = 48 * MIB;

/** The other tenant posts as fast as it is answered. */
const UNLIMITED = { events_per_second: 1_000_000, event_burst: 1_000_000 };

const deploy = (api, component) =>
  api.request('POST', '/tenants/evil/handlers/bomb/versions', { raw: component, headers: { 'content-type': 'application/wasm' } });

// The first takes the compiler some 30 s and 120 MiB, the second 30 s and 800 MiB, when it may.
const BOMBS = {
  time: [
    { functions: 20 },
    { compile_time: '3s' },
    /takes longer than 3s to compile \(sandbox\.compile_time\)/,
  ],
  memory: [
    { functions: 1, locals: 4000, loops: 4000 },
    { compile_memory: '256MiB' },
    /needs more than 268435456 bytes of memory to compile \(sandbox\.compile_memory\)/,
  ],
};

for (const [what, [shape, sandbox, words]] of Object.entries(BOMBS)) {
  test(`attack: a compile bomb of ${what}: it is refused, and nobody waits for it`, async () => {
    const server = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN }, config: { sandbox, limits: UNLIMITED, quota: UNLIMITED } });
    const api = admin(server);
    for (const name of ['evil', 'good']) {
      await api.must('POST', '/tenants', { body: { name, configuration: configurationOf(name) } });
    }
    const victim = await connect(server, 'victim', at('good', 'victim'));
    const room = freshRoom();
    await victim.join(room);
    const component = bomb(shape);
    assert.ok(component.length < MIB, 'it is small');
    const before = residentBytes(server);
    const steady = new Steady(victim, room);
    await eventually(() => steady.answered > 0, 'a first message of the other tenant');

    const answer = await deploy(api, component);
    const answered = await steady.stop();

    assert.equal(answer.status, 422, answer.text);
    assert.match(answer.text, words);
    assertGapless(await victim.history(room), answered);
    assert.equal(victim.connects, 1);
    assert.ok(residentBytes(server) < before + MEMORY_BOUND);
    // The compiler is free again.
    await api.deploy('evil', 'stamped', guest('stamped'));
  });
}
