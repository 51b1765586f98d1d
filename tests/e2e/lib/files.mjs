// What the files of a server's SQLite database have.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Whether any file of the server's database has the text. */
export function filesHave(server, text) {
  const files = ['chat.db', 'chat.db-wal'].map((name) => join(server.dir, name)).filter((file) => existsSync(file));
  return files.some((file) => readFileSync(file).includes(text));
}
