// Compile bombs: components that cost their compiler time and memory. They are refused, and the server and its other
// tenants do not notice.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { ADMIN_TOKEN, admin, at, configurationOf } from './lib/admin.mjs';
import { assertGapless } from './lib/assert.mjs';
import { bomb, deep, nest, tower, vast } from './lib/bomb.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { residentBytes, Steady } from './lib/tenants.mjs';
import { eventually } from './lib/wait.mjs';

const MIB = 1024 * 1024;
/** How much more memory the server may use after an attack: a few copies of the component. */
const MEMORY_BOUND = 48 * MIB;

/** The other tenant posts as fast as it is answered. */
const UNLIMITED = { events_per_second: 1_000_000, event_burst: 1_000_000 };

/** The process with this id, if it exists: its parent and its niceness. */
function processOf(pid) {
  try {
    const [stat, command] = ['stat', 'cmdline'].map((file) => readFileSync(`/proc/${pid}/${file}`, 'utf8'));
    // The fields after the name, which may contain any character (proc_pid_stat(5)).
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ').map(Number);
    return { parent: fields[1], nice: fields[16], command };
  } catch {
    return null;
  }
}

/** The compiling child processes of this server. */
const compilers = (server) =>
  readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(processOf).filter((each) => (
    each?.parent === server.pid && each.command.includes('compile-component')
  ));

/** Deploys again while the server answers that the machine is too busy to compile. */
async function deploy(api, component) {
  for (;;) {
    const request = { raw: component, headers: { 'content-type': 'application/wasm' } };
    const answer = await api.request('POST', '/tenants/evil/handlers/bomb/versions', request);
    if (answer.status !== 503) return answer;
  }
}

// Without limits, the first takes the compiler about 30 s and 120 MiB, the second 30 s and 800 MiB; many times as long
// beside a busy server, since the compiler has the lowest priority.
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
  test(`attack: a compile bomb of ${what}: it is refused, and another tenant’s component is compiled meanwhile`, async () => {
    const server = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN }, config: { sandbox, limits: UNLIMITED, quota: UNLIMITED } });
    const api = admin(server);
    for (const name of ['evil', 'good']) {
      await api.requestOk('POST', '/tenants', { body: { name, configuration: configurationOf(name) } });
    }
    const victim = await connect(server, 'victim', at('good', 'victim'));
    const [room, other] = [freshRoom(), freshRoom()];
    for (const each of [room, other]) await victim.join(each);
    const component = bomb(shape);
    assert.ok(component.length < MIB, 'it is small');
    const before = residentBytes(server);
    const steady = new Steady(victim, room);
    await eventually(() => steady.answered > 0, 'a first message of the other tenant');

    const order = [];
    const attack = deploy(api, component).then((answer) => {
      order.push('the bomb is refused');
      return answer;
    });
    const { nice } = processOf(server.pid);
    await eventually(() => compilers(server).some((compiler) => compiler.nice > nice), 'a compiler that stands back');
    // No component on this server has these bytes yet.
    await api.deploy('good', 'stamped', guest('stamped'));
    await eventually(async () => {
      const { id } = await victim.post(other, 'by whom?');
      return (await victim.next('new-message', (message) => message.id === id)).metadata?.by === 'stamped';
    }, 'the new version');
    order.push('another is in service');
    const answer = await attack;
    assert.deepEqual(order, ['another is in service', 'the bomb is refused']);
    const answered = await steady.stop();

    assert.equal(answer.status, 422, answer.text);
    assert.match(answer.text, words);
    assertGapless(await victim.history(room), answered);
    assert.equal(victim.connects, 1);
    assert.ok(residentBytes(server) < before + MEMORY_BOUND);
    const again = await deploy(api, component);
    assert.equal(again.status, 422, again.text);
    assert.match(again.text, words, 'the same bytes for the same reason');
    // The tenant may deploy an ordinary component, which was not compiled before.
    await api.deploy('evil', 'flaky', guest('flaky'));
  });
}

for (const [what, component, words] of [
  ['instances', tower(11), /made of too many parts.*more than \d+ core instances/],
  ['names', nest(18, 2), /made of too many parts.*more than \d+ names that an instance exports/],
  ['components in each other', deep(100_000), /made of too many parts.*more than \d+ components one in the other/],
  ['pages of memory', vast(60_000), /does not fit the server's limits: memory/],
]) {
  test(`attack: a component with too many ${what} is refused, as its own fault, and remembered`, async () => {
    const server = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
    const api = admin(server);
    await api.requestOk('POST', '/tenants', { body: { name: 'evil', configuration: configurationOf('evil') } });
    const before = residentBytes(server);
    for (let n = 0; n < 3; n += 1) {
      const answer = await deploy(api, component);
      assert.equal(answer.status, 422, answer.text);
      assert.match(answer.text, words);
    }
    assert.ok(residentBytes(server) < before + MEMORY_BOUND, 'the server has not held it');
    await api.deploy('evil', 'flaky', guest('flaky'));
  });
}

test('attack: the compiling process uses only its standard input and output', async () => {
  const server = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
  const api = admin(server);
  await api.requestOk('POST', '/tenants', { body: { name: 'evil', configuration: configurationOf('evil') } });
  const attack = deploy(api, bomb({ functions: 20 }));
  attack.catch(() => {});
  let confined;
  await eventually(() => {
    for (const name of readdirSync('/proc').filter((each) => /^\d+$/.test(each))) {
      const process = processOf(name);
      if (process?.parent !== server.pid || !process.command.includes('compile-component')) continue;
      const [status, score] = ['status', 'oom_score_adj'].map((file) => readFileSync(`/proc/${name}/${file}`, 'utf8'));
      if (/^Seccomp:\s+2$/m.test(status)) confined = { pid: Number(name), status, score };
    }
    return confined;
  }, 'a confined compiler');
  assert.match(confined.status, /^NoNewPrivs:\s+1$/m);
  assert.equal(confined.score.trim(), '1000');
  const environment = readFileSync(`/proc/${confined.pid}/environ`, 'utf8');
  assert.equal(environment, '', 'no secret of the server');
  // The compiler ends with the server, however that ends.
  await server.kill();
  await eventually(() => !processOf(confined.pid), 'the end of the compiler');
});
