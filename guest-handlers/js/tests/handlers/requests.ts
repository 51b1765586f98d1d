// Requests, and what comes back.
import { Audience, emit, Fault, requests, type OnEvent, type OnResponse, type ResponsePart } from 'parlance-handlers';

const API = 'https://api.example.org';

/** What each attempt to send throws: the code of a fault, or the message of a mistake. */
function thrown(attempts: (() => unknown)[]): string[] {
  return attempts.map((attempt) => {
    try {
      return String(attempt());
    } catch (error) {
      return error instanceof Fault ? error.code : (error as Error).message;
    }
  });
}

const events: Record<string, () => string[]> = {
  sends: () => [
    requests.send(`${API}/words`),
    requests.send(new URL('/ask?a=b', API), {
      json: { text: 'grüße' },
      headers: { Authorization: 'secret' },
      tag: 'tea',
      parts: 'lines',
      timeoutMs: 1000,
      attempts: 2,
    }),
    requests.send(`${API}/raw`, {
      method: 'put',
      body: new Uint8Array([0, 255]),
      headers: [
        ['X-Own', '1'],
        ['X-Own', '2'],
      ],
      parts: 'server-sent-events',
    }),
    requests.send(`${API}/text`, { body: 'é' }),
    requests.send(`${API}/null`, { json: null, headers: new Map([['Content-Type', 'application/own+json']]) }),
  ],
  cancels() {
    const id = requests.send(API);
    requests.cancel(id);
    return [id];
  },
  wrong: () =>
    thrown([
      () => requests.send('https://elsewhere.example.org'),
      () => requests.send('/ask'),
      () => requests.send(API, { timeoutMs: 0 }),
      () => requests.send(API, { attempts: 21 }),
      () => requests.send(API, { headers: { host: 'x' } }),
      () => requests.cancel('x'),
      () => requests.send(API, { headers: { 'x-own': 1 as never } }),
      () => requests.send(API, { headers: 'x' as never }),
      () => requests.send(API, { headers: ['x'] as never }),
      () => requests.send(API, { parts: 'all' as never }),
      () => requests.send(API, { body: 'x', json: 1 }),
      () => requests.send(API, { body: {} as never }),
    ]),
};

export const onEvent: OnEvent = (_, name) => events[name]!();

/** What clients see of a part. The types narrow it by `kind`. */
function shown(part: ResponsePart) {
  switch (part.kind) {
    case 'whole':
      return { status: part.status, ok: part.ok, type: part.header('Content-Type') ?? null, text: part.text(), body: part.body };
    case 'head':
      return { head: part.status, headers: part.headers };
    case 'line':
      return { line: part.line };
    case 'event':
      return { event: part.event, data: part.data, id: part.id };
    case 'end':
      return 'end';
    case 'failed':
      return { reason: part.reason, message: part.message, attempts: part.attempts };
  }
}

export const onResponse: OnResponse = ({ id, tag, number, part }) => {
  emit(Audience.room('tea'), 'response', id, tag, number, shown(part));
};
