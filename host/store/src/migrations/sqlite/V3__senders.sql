-- What the sender was called by the verified token, the sender's own id for the message, and the digest of what was
-- asked for under that id, by which a message that is sent again is told from another one. Absent in messages of
-- earlier releases.
ALTER TABLE messages ADD COLUMN username TEXT;
ALTER TABLE messages ADD COLUMN client_id TEXT;
ALTER TABLE messages ADD COLUMN request BLOB;
