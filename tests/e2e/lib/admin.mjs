// A client of the admin API.
import { readFileSync } from 'node:fs';
import { run } from './server.mjs';
import { token } from './token.mjs';

/** An operator's token, for the environment of a test server. */
export const ADMIN_TOKEN = 'an admin token for tests only';
/** A tenant's key. */
export const secretOf = (tenant) => `a secret of ${tenant} only, longer than 32 bytes`;

/** A tenant's configuration with a key; `more` has further tables. */
export function configurationOf(tenant, more = {}) {
  return { auth: { keys: [{ algorithm: 'HS256', secret: secretOf(tenant) }] }, ...more };
}

/** The options with which `connect` connects as a user of the tenant. */
export function at(tenant, user, claims = {}) {
  return { namespace: `/${tenant}`, auth: { token: token(user, claims, { secret: secretOf(tenant) }) } };
}

/** Requests to the admin API of a server. */
export function admin(server, bearer = ADMIN_TOKEN) {
  const request = async (method, path, { body, headers = {}, raw } = {}) => {
    const response = await fetch(`${server.adminUrl}/admin/v1${path}`, {
      method,
      headers: {
        ...(bearer ? { authorization: `Bearer ${bearer}` } : {}),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      body: raw ?? (body === undefined ? undefined : JSON.stringify(body)),
    });
    const text = await response.text();
    const isJson = /\bjson\b/.test(response.headers.get('content-type') ?? '');
    const json = isJson && text ? JSON.parse(text) : null;
    const [type, allow, retryAfter] = ['content-type', 'allow', 'retry-after'].map((name) => response.headers.get(name));
    return { status: response.status, json, text, type, allow, retryAfter };
  };
  const requestOk = async (...args) => {
    const answer = await request(...args);
    if (answer.status >= 300) throw new Error(`${args[0]} ${args[1]}: ${answer.status} ${answer.text}`);
    return answer.json;
  };
  return {
    request,
    requestOk,
    /** Deploys a component. Returns the handler's view. */
    deploy: (tenant, handler, file, query = '') =>
      requestOk('POST', `/tenants/${tenant}/handlers/${handler}/versions${query}`, {
        raw: readFileSync(file),
        headers: { 'content-type': 'application/wasm' },
      }),
    handler: async (tenant, name) => (await requestOk('GET', `/tenants/${tenant}/handlers`)).find((each) => each.name === name),
  };
}

/** Runs an operator's command against a server. */
export function operate(server, args, env = {}) {
  return run(args, { env: { PARLANCE_SERVER: server.adminUrl, PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN, ...env } });
}
