-- The rev of each room's last change: changes have the numbers 1, 2, 3 … of their room.
ALTER TABLE rooms ADD COLUMN last_rev BIGINT NOT NULL DEFAULT 0;

-- The rev of the message's last change, absent for one that never changed, and when its text was changed or deleted.
ALTER TABLE messages ADD COLUMN rev BIGINT;
ALTER TABLE messages ADD COLUMN edited_at BIGINT;
ALTER TABLE messages ADD COLUMN deleted_at BIGINT;

-- Finds what has changed since a client was here.
CREATE UNIQUE INDEX messages_by_rev ON messages (room_id, rev) WHERE rev IS NOT NULL;

-- Reactions, pins, flags: what users have marked messages with.
CREATE TABLE marks (
  room_id BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  kind BYTEA NOT NULL,
  value BYTEA NOT NULL,
  marked_by TEXT COLLATE "C" NOT NULL,
  marked_at BIGINT NOT NULL,
  PRIMARY KEY (room_id, seq, kind, value, marked_by)
);
