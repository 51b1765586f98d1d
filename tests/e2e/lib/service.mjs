// A web service that does the work of each idempotency key once, and can be made to fail.
import { listen } from './http.mjs';

/**
 * Starts a service: `{authority, url(path), keys, seen, fail}`. `keys` has how often each idempotency key came, `seen` what
 * was asked. `fail(request)` may return a status, `'silent'` or `'reset'` for a request that is to fail. Paths:
 * `/echo` answers with the body, `/lines/N` with N lines, `/events/N` with N server-sent events that have ids,
 * `/torn/N` like `/lines/N` and breaks off in the middle the first time a key comes, `/big/N` with N bytes.
 */
export async function startService() {
  const keys = new Map();
  const seen = [];
  const service = { keys, seen, fail: () => undefined };
  service.authority = await listen(async (request, response) => {
    const key = request.headers['idempotency-key'];
    const times = (keys.get(key) ?? 0) + 1;
    keys.set(key, times);
    let body = '';
    request.setEncoding('utf8');
    for await (const text of request) body += text;
    seen.push({ method: request.method, url: request.url, headers: request.headers, body, key });
    const failure = service.fail({ key, times, url: request.url, body });
    if (failure === 'silent') return;
    if (failure === 'reset') return void request.socket.destroy();
    if (failure) return void response.writeHead(failure.status ?? failure, failure.headers ?? {}).end('not now');
    const [, kind, count] = request.url.split('/');
    if (kind === 'lines' || kind === 'torn') {
      for (let n = 0; n < Number(count); n += 1) {
        response.write(`line ${n}\n`);
        if (kind === 'torn' && times === 1 && n >= count / 2) {
          // What was written must have gone out.
          setTimeout(() => request.socket.destroy(), 200);
          return;
        }
      }
      return void response.end();
    }
    if (kind === 'events') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const last = request.headers['last-event-id'];
      for (let n = last === undefined ? 0 : Number(last) + 1; n < Number(count); n += 1) {
        response.write(`id: ${n}\nevent: word\ndata: word ${n}\n\n`);
        if (times === 1 && n === 1) {
          setTimeout(() => request.socket.destroy(), 200);
          return;
        }
      }
      return void response.end();
    }
    if (kind === 'big') return void response.end('x'.repeat(Number(count)));
    response.end(body || 'hello');
  });
  service.url = (path) => `http://${service.authority}${path}`;
  return service;
}
