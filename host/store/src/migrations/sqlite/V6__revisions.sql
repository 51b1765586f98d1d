-- The rev of each room's last change: changes have the numbers 1, 2, 3 … of their room.
ALTER TABLE rooms ADD COLUMN last_rev INTEGER NOT NULL DEFAULT 0;

-- The rev of the message's last change, absent for one that never changed, and when its text was changed or deleted. A
-- message that changes while it lies in recent_messages is copied here first, and its text is removed there.
ALTER TABLE messages ADD COLUMN rev INTEGER;
ALTER TABLE messages ADD COLUMN edited_at INTEGER;
ALTER TABLE messages ADD COLUMN deleted_at INTEGER;

-- Finds what has changed since a client was here.
CREATE UNIQUE INDEX messages_by_rev ON messages (room_id, rev) WHERE rev IS NOT NULL;

-- Reactions, pins, flags: what users have marked messages with.
CREATE TABLE marks (
  room_id INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  kind TEXT NOT NULL,
  value TEXT NOT NULL,
  user TEXT NOT NULL,
  marked_at INTEGER NOT NULL,
  PRIMARY KEY (room_id, seq, kind, value, user)
) STRICT, WITHOUT ROWID;

DROP VIEW all_messages;
CREATE VIEW all_messages AS
SELECT room_id, seq, tenant_id, id, sender, content, metadata, sent_at, username, client_id, request,
       rev, edited_at, deleted_at FROM messages
UNION ALL
SELECT room_id, seq, tenant_id, id, sender, content, metadata, sent_at, username, client_id, request,
       NULL, NULL, NULL
FROM recent_messages r
WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.room_id = r.room_id AND m.seq = r.seq);
