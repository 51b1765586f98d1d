// The types of changes of messages that are posted.
import type { Context, Json, Reply } from './index.js';

/** What a client asks for with `edit-message`, `delete-message` or `mark-message`. Sizes are within the limits. */
export type MessageChange =
  | {
      readonly type: 'edit';
      /** The new text. */
      readonly content: string;
      /** Data of the client's application; null if there is none. */
      readonly metadata: Json;
    }
  | { readonly type: 'delete' }
  | {
      readonly type: 'mark';
      /** What kind of mark, such as `reaction`. */
      readonly kind: string;
      /** Which one of that kind. */
      readonly value: string;
      /** Whether the user sets it or takes it back. */
      readonly on: boolean;
    };

/**
 * Handles `edit-message`, `delete-message` and `mark-message`; `message` is its id. To accept the change, make it with
 * `revise`. Whether the message exists has not been checked yet. The acknowledgement is `{ok: true}`, and `data` with the
 * result.
 */
export type OnRevise = (context: Context, message: string, change: MessageChange) => Reply;

/** The marks of one kind and value on a message. */
export interface Marks {
  readonly kind: string;
  readonly value: string;
  /** How many users have set it. */
  readonly count: number;
  /** The first of them, at most 50. */
  readonly users: string[];
}

/** What has become of a message since it was posted. */
export interface Revision {
  /** The number of its last change in its room; 0 for none. */
  readonly rev: number;
  /** When its text was changed last, in milliseconds since the Unix epoch; null if it was not. */
  readonly editedAt: number | null;
  /** In the order in which the first of each was set. */
  readonly marks: Marks[];
}

/**
 * Changes of messages that are posted, on behalf of the event's user, who must be in the room. Whether the user may make
 * a change is for the handler to decide. They are effects.
 */
export const revise: {
  /** Gives the message another text, and other metadata or none. Its room gets `message-edited`. */
  edit(id: string, content: string, metadata?: Json): void;
  /**
   * Adds text to the end of the message: an answer that comes word by word. It does not count as an edit. Its room gets
   * `message-appended`: what is added within 40 ms comes as one, and at once when `done` says that the text is complete. An
   * empty fragment without `done` does nothing.
   */
  append(id: string, fragment: string, done?: boolean): void;
  /** Removes the message's text, metadata and marks; its place stays. Its room gets `message-deleted`. */
  delete(id: string): void;
  /**
   * Marks the message for this user, or takes the mark back if `on` is false. Its room gets `message-marked`, unless the
   * mark was so already. `kind` and `value` have 1 to 64 bytes.
   */
  mark(id: string, kind: string, value: string, on?: boolean): void;
  /** What has become of a message. Does not see this event's own changes. */
  get(id: string): Revision;
};
