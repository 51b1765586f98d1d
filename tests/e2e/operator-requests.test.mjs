// Operators see what handlers have asked of web services, send it again, and forget it: by the admin API and by commands.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { ADMIN_TOKEN, admin, at, configurationOf, operate } from './lib/admin.mjs';
import { connect } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { startService } from './lib/service.mjs';
import { eventually } from './lib/wait.mjs';

const TOKEN = 'the admin token of globex alone';
const service = await startService();
const tables = { grants: { http: [`http://${service.authority}`] }, handlers: { event: { component: guest('keys') } } };
const server = await startServer({
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  config: {
    admin: { tokens: [{ name: 'globex-ci', tenant: 'globex', token_sha256: createHash('sha256').update(TOKEN).digest('hex') }] },
    tenants: { acme: configurationOf('acme', tables), globex: configurationOf('globex', tables),
      initech: configurationOf('initech', { grants: tables.grants }),
      hooli: configurationOf('hooli', { ...tables, quota: { requests: 1 } }) },
  },
});
const [operator, globex] = [admin(server), admin(server, TOKEN)];
/** What the service answers, by the request's body: for how many times, and how. */
const failures = new Map();
service.fail = ({ body, times }) => {
  const [count, how] = failures.get(body) ?? [0];
  return times <= count ? how : undefined;
};
const after = (seconds) => ({ status: 503, headers: { 'retry-after': `${seconds}` } });
const LATER = after(3600);

async function listener(tenant) {
  const client = await connect(server, 'ann', at(tenant, 'ann'));
  await client.join('responses');
  return client;
}
/** Sends a request with this tag, whose body is the tag too unless there is another. */
async function request(client, tag, [times, how], { body = tag, ...options } = {}) {
  failures.set(body, [times, how]);
  const { results } = await client.ask('keys', ['request', service.url('/echo?key=QUERY-SECRET'), tag, { body, ...options }]);
  return results[0];
}
/** The parts that the room was told of. */
const parts = (client, tag) =>
  client.received.filter(({ event, args }) => event === 'response' && args[1] === tag).map(({ args }) => args[3]);
const answer = (client, tag, count = 1) => client.until(() => parts(client, tag).length >= count, `${count} parts for ${tag}`, 20_000);
const list = (tenant, query = '') => operator.requestOk('GET', `/tenants/${tenant}/requests?${query}`);
const find = async (tenant, id) => (await list(tenant, 'limit=200')).requests.find((each) => each.id === id);
/** Waits until the first attempt has failed and the next one is in the future. */
const postponed = (tenant, id) => eventually(async () => {
  const view = await find(tenant, id);
  return view?.attempts === 1 && view;
}, 'the first attempt');
const path = (tenant, id, verb = '') => `/tenants/${tenant}/requests/event/${id}${verb}`;
const audited = async (id) => (await operator.requestOk('GET', '/audit?limit=500'))
  .filter(({ detail }) => detail.request === id).map(({ actor, tenant, action, detail }) => [actor, tenant, action, detail.state]);

test('a request that has failed is listed with the reason and without secrets, and is sent again once', async () => {
  const ann = await listener('acme');
  const began = Date.now();
  const headers = { authorization: 'HEADER-SECRET', 'x-own': 'HEADER-SECRET' };
  const id = await request(ann, 'card', [1, 'reset'], { headers, body: 'BODY-SECRET', attempts: 1 });
  await answer(ann, 'card');
  const page = await operator.request('GET', '/tenants/acme/requests?handler=event&state=failed');
  const view = page.json.requests.find((each) => each.id === id);
  const { askedAt, failedAt, error, headerNames, ...others } = view;
  assert.deepEqual(others, {
    handler: 'event', id, state: 'failed', method: 'POST', url: service.url('/echo?key=…'), tag: 'card',
    parts: 'whole', bodyBytes: 11, attempts: 1, attemptsMax: 1, dueAt: null, partsHandled: null,
  });
  assert.deepEqual(headerNames.filter((name) => name in headers).sort(), Object.keys(headers).sort());
  assert.ok(askedAt >= began - 1000 && failedAt >= askedAt && failedAt <= Date.now() + 1000, page.text);
  assert.ok(error.length > 0, page.text);
  assert.ok(!page.text.includes('SECRET'), page.text);

  const retried = await Promise.all([0, 1].map(() => operator.request('POST', path('acme', id, '/retry'))));
  assert.ok(retried.some(({ status }) => status === 200), retried.map(({ text }) => text).join('\n'));
  await answer(ann, 'card', 2);
  assert.equal(await find('acme', id), undefined);
  assert.equal((await operator.request('POST', path('acme', id, '/retry'))).status, 404);
  assert.equal(service.keys.get(id), 2, 'the attempt that failed, and one more');
  const [first, second, ...further] = parts(ann, 'card');
  assert.deepEqual([first.failed, second.whole, further], ['Unreachable', 'BODY-SECRET', []]);
  assert.deepEqual((await audited(id)).at(-1), ['environment', 'acme', 'request.retry', 'failed']);
});

test('a request that fails where no more failed ones are kept ends all the same, once for its handler', async () => {
  const ann = await listener('hooli');
  const first = await request(ann, 'kept', [1, 'reset'], { attempts: 1 });
  await answer(ann, 'kept');
  const second = await request(ann, 'not kept', [1, 'reset'], { attempts: 1 });
  await answer(ann, 'not kept');
  assert.deepEqual((await list('hooli')).requests.map(({ id, state }) => [id, state]), [[first, 'failed']]);
  assert.equal(service.keys.get(second), 1);
  // Nothing of it is left to be sent: the next one is admitted.
  await request(ann, 'next', [0], { attempts: 1 });
  await answer(ann, 'next');
  assert.deepEqual([parts(ann, 'kept').length, parts(ann, 'not kept').length], [1, 1]);
});

test('a pending request is listed, and is tried at once by a retry', async () => {
  const ann = await listener('acme');
  const id = await request(ann, 'impatient', [1, LATER], { attempts: 3 });
  const view = await postponed('acme', id);
  assert.deepEqual([view.state, view.attempts, view.attemptsMax, view.partsHandled, view.failedAt], ['pending', 1, 3, 0, null]);
  assert.equal(view.error, 'the service answered with status 503');
  assert.ok(view.dueAt > Date.now() + 3_000_000, `${view.dueAt}`);
  const retried = await operator.requestOk('POST', path('acme', id, '/retry'));
  assert.ok(retried.dueAt <= Date.now() + 1000 && retried.attempts === 1);
  await answer(ann, 'impatient');
  assert.deepEqual(parts(ann, 'impatient').map(({ whole }) => whole), ['impatient']);
  assert.deepEqual(await audited(id), [['environment', 'acme', 'request.retry', 'pending']]);
});

test('a request that is deleted is never answered, whether it waits, is under way, or has failed', async () => {
  const ann = await listener('acme');
  const waiting = await request(ann, 'waiting', [1, after(10)]);
  const underWay = await request(ann, 'under way', [1, 'silent'], { timeout: 8000 });
  const failed = await request(ann, 'failed', [9, 'reset'], { attempts: 1 });
  await postponed('acme', waiting);
  await eventually(() => service.keys.get(underWay) === 1, 'the request at the service');
  await answer(ann, 'failed');
  assert.equal((await find('acme', underWay)).state, 'pending');
  for (const id of [waiting, underWay, failed]) {
    assert.equal((await operator.request('DELETE', path('acme', id))).status, 204);
    assert.equal(await find('acme', id), undefined);
    for (const [method, verb] of [['DELETE', ''], ['POST', '/retry']]) {
      assert.equal((await operator.request(method, path('acme', id, verb))).status, 404);
    }
  }
  // By then the others would have been tried again.
  await request(ann, 'after', [1, after(11)]);
  await answer(ann, 'after');
  assert.deepEqual([waiting, underWay, failed].map((id) => service.keys.get(id)), [1, 1, 1]);
  assert.deepEqual([parts(ann, 'waiting'), parts(ann, 'under way'), parts(ann, 'failed').length], [[], [], 1]);
  assert.deepEqual(await audited(failed), [['environment', 'acme', 'request.delete', 'failed']]);
});

test('many requests are listed in pages', async () => {
  const ann = await listener('globex');
  const ids = [];
  for (const n of [0, 1, 2, 3, 4]) ids.push(await request(ann, `page ${n}`, [9, LATER]));
  const found = [];
  let next = '';
  do {
    const page = await list('globex', `handler=event&state=pending&limit=2${next && `&after=${next}`}`);
    assert.ok(page.requests.length <= 2);
    found.push(...page.requests.map(({ id }) => id));
    next = page.next;
  } while (next);
  assert.deepEqual(found, ids.toSorted());
  for (const query of ['limit=0', 'limit=201', 'limit=x', 'state=gone', 'after=x', 'handler=a/b', 'handler=']) {
    const { status } = await operator.request('GET', `/tenants/globex/requests?${query}`);
    assert.ok([400, 422].includes(status), `${query}: ${status}`);
  }
  for (const id of ids) await operator.requestOk('DELETE', path('globex', id));
});

test('a tenant’s token sees and changes its own tenant’s requests only', async () => {
  const [ann, bob] = [await listener('acme'), await listener('globex')];
  const [others, own] = [await request(ann, 'of acme', [9, LATER]), await request(bob, 'of globex', [9, LATER])];
  await postponed('acme', others);
  await postponed('globex', own);
  assert.deepEqual((await globex.requestOk('GET', '/tenants/globex/requests')).requests.map(({ id }) => id), [own]);
  for (const [method, url] of [['GET', '/tenants/acme/requests'], ['POST', path('acme', others, '/retry')], ['DELETE', path('acme', others)],
    ['POST', path('globex', others, '/retry')], ['DELETE', path('globex', others)]]) {
    assert.equal((await globex.request(method, url)).status, 404, `${method} ${url}`);
  }
  assert.equal((await find('acme', others)).attempts, 1);
  assert.deepEqual(await audited(others), []);
  await globex.requestOk('DELETE', path('globex', own));
  assert.deepEqual(await audited(own), [['globex-ci', 'globex', 'request.delete', 'pending']]);
  await operator.requestOk('DELETE', path('acme', others));
});

test('the commands list, retry and delete requests', async () => {
  const ann = await listener('globex');
  const command = async (...args) => {
    const { code, output, stdout } = await operate(server, ['requests', ...args]);
    assert.equal(code, 0, output);
    return { output, stdout };
  };
  assert.match((await command('--tenant', 'globex')).stdout, /no such requests/);
  const ugly = '\u001b[31mred\u202e';
  const failed = await request(ann, ugly, [1, 'reset'], { attempts: 1 });
  const waiting = await request(ann, 'waiting', [9, LATER]);
  await answer(ann, ugly);
  await postponed('globex', waiting);

  const { stdout } = await command('list', '--tenant', 'globex');
  assert.match(stdout, /ID\s+HANDLER\s+STATE\s+REQUEST\s+TAG\s+ASKED\s+ATTEMPTS\s+NEXT\s+ERROR/);
  assert.match(stdout, new RegExp(`${failed}\\s+event\\s+failed\\s+POST http://\\S+/echo\\?key=… .* 1 of 1 `));
  assert.match(stdout, new RegExp(`${waiting}\\s+event\\s+pending\\s+POST .* 1 of 5\\s+in 59m \\d+s\\s+the service answered with status 503`));
  assert.ok(!stdout.includes('\u001b') && !stdout.includes('\u202e') && !stdout.includes('SECRET'), stdout);
  const ids = async (...args) => JSON.parse((await command(...args, '--tenant', 'globex', '--json')).stdout).requests.map(({ id }) => id);
  assert.deepEqual(await ids('--failed'), [failed]);
  assert.deepEqual(await ids('list', '--pending', '--handler', 'event'), [waiting]);
  assert.deepEqual(await ids('--handler', 'message'), []);
  const cut = await command('--limit', '1', '--tenant', 'globex');
  assert.match(cut.output, new RegExp(`further ones: --after ${[failed, waiting].toSorted()[0]}`));

  assert.match((await command('--tenant', 'globex', 'retry', 'event', failed)).stdout, new RegExp(`${failed}\\s+event\\s+pending .* now`));
  await answer(ann, ugly, 2);
  assert.equal(parts(ann, ugly)[1].whole, ugly);
  assert.match((await command('delete', 'event', waiting, '--tenant', 'globex')).stdout, new RegExp(`deleted ${waiting} of event`));
  assert.deepEqual(await ids(), []);

  for (const [args, code, why] of [
    [['delete', 'event', waiting, '--tenant', 'globex'], 1, /has no request/],
    [['list', '--failed', '--pending'], 2, /cannot be used with/],
    [['--failed', 'retry', 'event', waiting], 2, /behind `parlance requests list`/],
    [['--tenant', 'nobody'], 1, /there is no tenant/],
  ]) {
    const done = await operate(server, ['requests', ...args]);
    assert.equal(done.code, code, done.output);
    assert.match(done.output, why);
  }
});

test('the log says that an answer has come for which the active version has no on-response', async () => {
  await operator.deploy('initech', 'event', guest('keys'));
  const ann = await listener('initech');
  const id = await request(ann, 'unheard', [1, LATER]);
  await postponed('initech', id);
  await operator.deploy('initech', 'event', guest('web'));
  await operator.requestOk('POST', path('initech', id, '/retry'));
  await eventually(() => server.log.split('\n').some((line) => line.includes('no on-response') && line.includes(id)), 'the line');
  assert.deepEqual(parts(ann, 'unheard'), []);
});
