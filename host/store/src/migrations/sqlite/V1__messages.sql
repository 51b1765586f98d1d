-- Everything belongs to a tenant. The number stands for the name in every other table and index.
CREATE TABLE tenants (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE rooms (
  id INTEGER PRIMARY KEY,
  tenant_id INTEGER NOT NULL REFERENCES tenants (id),
  name TEXT NOT NULL,
  UNIQUE (tenant_id, name)
) STRICT;

-- A room's history lies together and in order, so that a page of it is one range of one tree.
-- Times are milliseconds since the Unix epoch, unsigned: one beyond 2^63 shows as negative.
CREATE TABLE messages (
  room_id INTEGER NOT NULL REFERENCES rooms (id),
  seq INTEGER NOT NULL CHECK (seq > 0),
  tenant_id INTEGER NOT NULL,
  id BLOB NOT NULL CHECK (length(id) = 16),
  sender TEXT NOT NULL,
  content TEXT NOT NULL,
  metadata TEXT,
  sent_at INTEGER NOT NULL,
  PRIMARY KEY (room_id, seq)
) STRICT, WITHOUT ROWID;

-- What makes a message that is sent twice one message, and finds a message by its id. The tenant comes first, so
-- that the same id in two tenants is two messages.
CREATE UNIQUE INDEX messages_by_id ON messages (tenant_id, id);

CREATE TABLE receipts (
  room_id INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  user TEXT NOT NULL,
  read_at INTEGER NOT NULL,
  PRIMARY KEY (room_id, seq, user),
  FOREIGN KEY (room_id, seq) REFERENCES messages (room_id, seq)
) STRICT, WITHOUT ROWID;

-- The parts of a key are columns, so that no choice of names lets one key read as another.
CREATE TABLE kv (
  tenant_id INTEGER NOT NULL REFERENCES tenants (id),
  handler TEXT NOT NULL,
  key TEXT NOT NULL,
  value BLOB NOT NULL,
  expires_at INTEGER,
  PRIMARY KEY (tenant_id, handler, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX kv_by_expiry ON kv (expires_at) WHERE expires_at IS NOT NULL;

-- Empty between transactions: the readiness check writes a row here and removes it again.
CREATE TABLE probe (
  filler BLOB NOT NULL
) STRICT;
