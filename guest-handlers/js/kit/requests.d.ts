// The types of requests to web services, and of the parts of their answers.
import type { Bytes, Json } from './index.js';

/** How a request is sent, and how its answer comes back. */
export interface RequestOptions {
  /** In upper or lower case; neither `CONNECT` nor `TRACE`. `POST` if there is a body, else `GET`. */
  readonly method?: string | undefined;
  /**
   * An object, or pairs of names and values. At most 64, with 16 KiB together. `Host`, `Content-Length` and those that
   * belong to the connection are the host's.
   */
  readonly headers?: { readonly [name: string]: string } | Iterable<readonly [name: string, value: string]> | undefined;
  /** Text or bytes, at most 256 KiB. Text is sent as UTF-8, and no `Content-Type` is added. */
  readonly body?: Bytes | null | undefined;
  /** A value that is sent as JSON instead of a `body`, with its `Content-Type` unless `headers` have one. */
  readonly json?: Json | undefined;
  /** Comes back with each part of the answer: at most 256 bytes. */
  readonly tag?: string | undefined;
  /**
   * How the answer is cut into parts, each of which is an event. `whole`, if absent: one part. `lines`: the head, then
   * each line of the body, then the end. `server-sent-events`: the head, then each event of a `text/event-stream`, then
   * the end.
   */
  readonly parts?: 'whole' | 'lines' | 'server-sent-events' | undefined;
  /**
   * For the whole answer, or, where it comes in parts, for its head and for each pause in it: 1 to 600,000, or 30,000 if
   * absent.
   */
  readonly timeoutMs?: number | undefined;
  /**
   * How often the request is tried at most: 1 to 20, or 5 if absent. It is tried again, later each time, when no answer
   * comes, and after a status of 408, 425, 429, 500, 502, 503 or 504, not before what a `Retry-After` says.
   */
  readonly attempts?: number | undefined;
}

/**
 * Requests to web services that the operator has granted (`grants.http`). The host sends a request once the event's
 * effects are committed, so an event that fails has sent nothing. A request survives restarts. The parts of its answer
 * are events, for `onResponse`; without this export the file only sends.
 *
 * A request may reach the service more than once. Each time it carries the header `Idempotency-Key` with the request's
 * id, unless `headers` have one; a service that knows the key does the work once.
 */
export const requests: {
  /** Sends a request to an absolute URL of at most 8 KiB, and returns the request's id. This is an effect. */
  send(url: string | URL, options?: RequestOptions): string;
  /**
   * Forgets a request. If it was sent already the service may still have got it, but no further part of an answer becomes
   * an event. This is an effect.
   */
  cancel(id: string): void;
};

/** The status and the headers of an answer. */
interface ResponseHead {
  readonly status: number;
  /** In order, with names in lower case. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** The first header of this name, in upper or lower case; undefined if there is none. */
  header(name: string): string | undefined;
}

/** The whole answer. An answer that was asked for in parts comes like this too if its status is not 2xx. */
export interface WholeResponse extends ResponseHead {
  readonly kind: 'whole';
  /** Whether the status is 2xx. */
  readonly ok: boolean;
  readonly body: Uint8Array;
  /** The body as UTF-8; other bytes become U+FFFD. */
  text(): string;
  /** The body as JSON. Throws a `SyntaxError` if it is not JSON. */
  json<T = Json>(): T;
}

/** A part of an answer; `kind` says which. `whole`, `end` and `failed` are the last part. */
export type ResponsePart =
  | WholeResponse
  /** An answer in parts begins. */
  | (ResponseHead & { readonly kind: 'head' })
  /** A line, without its end. */
  | { readonly kind: 'line'; readonly line: string }
  /**
   * An event of a `text/event-stream`. `event` is `message` if the service names none, `id` the last one that the service
   * has given, or null.
   */
  | { readonly kind: 'event'; readonly event: string; readonly data: string; readonly id: string | null }
  /** The answer has ended. */
  | { readonly kind: 'end' }
  /** There is no answer, or no more of it. */
  | {
      readonly kind: 'failed';
      /**
       * `denied`: no grant covers the server, or its address is not public. `unreachable`: the server could not be
       * reached, or does not speak HTTP. `timeout`: it took too long. `too-large`: the answer, or one part of it, has more
       * bytes than `sandbox.http_bytes`. `interrupted`: the answer broke off, and another request did not give the rest.
       */
      readonly reason: 'denied' | 'unreachable' | 'timeout' | 'too-large' | 'interrupted';
      /** For a log. */
      readonly message: string;
      /** How often the request was tried. */
      readonly attempts: number;
    };

/** A part of the answer to one of this handler's requests. */
export interface ResponseEvent {
  /** The request's id, as `requests.send` has returned it. */
  readonly id: string;
  /** The request's tag; empty if it has none. */
  readonly tag: string;
  /** Counts the parts of this answer: 0, 1, 2 … */
  readonly number: number;
  readonly part: ResponsePart;
}

/**
 * Handles the answers to this handler's requests, each part once and in order. No client causes them, so the same is
 * denied as in `OnServerEvent`; `kv`, `timers`, `requests` and `emit` to rooms and users work. A rejection or a mistake
 * is only logged; it ends the request, no further part comes, and the request is among those that have failed.
 */
export type OnResponse = (event: ResponseEvent) => void | Promise<void>;
