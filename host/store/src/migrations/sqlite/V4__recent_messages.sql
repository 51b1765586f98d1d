-- Messages that were committed lately, in the order of their commits. A message lies here until it is merged into the
-- trees of `messages` and `message_ids`, each of which would otherwise need a page of its own for every message.
CREATE TABLE recent_messages (
  n INTEGER PRIMARY KEY,
  room_id INTEGER NOT NULL REFERENCES rooms (id),
  seq INTEGER NOT NULL CHECK (seq > 0),
  tenant_id INTEGER NOT NULL,
  id BLOB NOT NULL CHECK (length(id) = 16),
  sender TEXT NOT NULL,
  content TEXT NOT NULL,
  metadata TEXT,
  sent_at INTEGER NOT NULL,
  username TEXT,
  client_id TEXT,
  request BLOB
) STRICT;

-- What makes a message that is sent twice one message, and finds a message by its id. It was an index of `messages`;
-- as a table of its own it is filled in its own order.
CREATE TABLE message_ids (
  tenant_id INTEGER NOT NULL,
  id BLOB NOT NULL CHECK (length(id) = 16),
  room_id INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;

INSERT INTO message_ids (tenant_id, id, room_id, seq)
SELECT tenant_id, id, room_id, seq FROM messages ORDER BY tenant_id, id;

DROP INDEX messages_by_id;

-- Without the foreign key of its message, which may still lie in `recent_messages`.
CREATE TABLE receipts_of_messages (
  room_id INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  user TEXT NOT NULL,
  read_at INTEGER NOT NULL,
  PRIMARY KEY (room_id, seq, user)
) STRICT, WITHOUT ROWID;
INSERT INTO receipts_of_messages SELECT room_id, seq, user, read_at FROM receipts;
DROP TABLE receipts;
ALTER TABLE receipts_of_messages RENAME TO receipts;

-- All messages, for whoever reads the database with other tools.
CREATE VIEW all_messages AS
SELECT room_id, seq, tenant_id, id, sender, content, metadata, sent_at, username, client_id, request FROM messages
UNION
SELECT room_id, seq, tenant_id, id, sender, content, metadata, sent_at, username, client_id, request
FROM recent_messages;
