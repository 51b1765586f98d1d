-- Everything belongs to a tenant. The number stands for the name in every other table and index.
-- Names compare byte by byte (COLLATE "C"), so that no upgrade of the system's collations can spoil an index. What may
-- hold any character at all, U+0000 too, is kept as the bytes of its UTF-8 text: convert_from(content, 'UTF8') shows it.
-- Times are milliseconds since the Unix epoch, unsigned: one beyond 2^63 shows as negative.
CREATE TABLE tenants (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name TEXT COLLATE "C" NOT NULL UNIQUE
);

-- last_seq is the greatest seq of the room's messages. Whoever appends holds the row's lock until the commit, which
-- makes the order of a room one order, whichever node a message came through. There is space left in each page, so
-- that a new version of a row finds room beside the old one and no index changes.
CREATE TABLE rooms (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id BIGINT NOT NULL REFERENCES tenants (id),
  name TEXT COLLATE "C" NOT NULL,
  last_seq BIGINT NOT NULL,
  UNIQUE (tenant_id, name)
) WITH (fillfactor = 70);

-- Rooms are removed only by who holds their lock and has removed their messages; a foreign key would check the same
-- once more for each message.
CREATE TABLE messages (
  room_id BIGINT NOT NULL,
  seq BIGINT NOT NULL CHECK (seq > 0),
  tenant_id BIGINT NOT NULL,
  id BYTEA NOT NULL CHECK (octet_length(id) = 16),
  sender TEXT COLLATE "C" NOT NULL,
  content BYTEA NOT NULL,
  metadata BYTEA,
  sent_at BIGINT NOT NULL,
  PRIMARY KEY (room_id, seq)
);

-- What makes a message that is sent twice one message, through whichever nodes. The tenant comes first, so that the
-- same id in two tenants is two messages.
CREATE UNIQUE INDEX messages_by_id ON messages (tenant_id, id);

CREATE TABLE receipts (
  room_id BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  reader TEXT COLLATE "C" NOT NULL,
  read_at BIGINT NOT NULL,
  PRIMARY KEY (room_id, seq, reader)
);

-- The parts of a key are columns, so that no choice of names lets one key read as another.
CREATE TABLE kv (
  tenant_id BIGINT NOT NULL REFERENCES tenants (id),
  handler TEXT COLLATE "C" NOT NULL,
  key BYTEA NOT NULL,
  value BYTEA NOT NULL,
  expires_at BIGINT,
  PRIMARY KEY (tenant_id, handler, key)
) WITH (fillfactor = 70);

CREATE INDEX kv_by_expiry ON kv (expires_at) WHERE expires_at IS NOT NULL;

-- What each tenant keeps, counted as the quotas count it. A tenant's numbers are the sums over its parts: each node adds
-- to a part of its own, for the row's lock is held while a commit is made durable.
CREATE TABLE usage (
  tenant_id BIGINT NOT NULL REFERENCES tenants (id),
  part SMALLINT NOT NULL,
  message_bytes BIGINT NOT NULL,
  kv_bytes BIGINT NOT NULL,
  rooms BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, part)
) WITH (fillfactor = 70);

-- One row for each transaction of late, under a number that its node chose. A node that lost the connection while
-- committing finds here whether it was done. Old rows are removed.
CREATE TABLE commits (
  id BYTEA PRIMARY KEY,
  at TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE INDEX commits_by_time ON commits (at);

-- What operators have decided. A document that was removed leaves its key and revision, so that whoever knew it learns
-- that it is gone.
CREATE TABLE catalog (
  kind TEXT COLLATE "C" NOT NULL,
  tenant TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  document TEXT,
  revision BIGINT NOT NULL UNIQUE,
  PRIMARY KEY (kind, tenant, name)
);

-- One row: the last revision. Its lock makes changes of the catalog follow one another, so that no revision ever shows
-- after a greater one.
CREATE TABLE catalog_head (
  only_one BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_one),
  revision BIGINT NOT NULL
);

INSERT INTO catalog_head (revision) VALUES (0);

-- Components of deployed handlers, each under the hash of its bytes.
CREATE TABLE components (
  tenant TEXT COLLATE "C" NOT NULL,
  sha256 BYTEA NOT NULL CHECK (octet_length(sha256) = 32),
  bytes BYTEA NOT NULL,
  PRIMARY KEY (tenant, sha256)
);

CREATE TABLE audit (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at_ms BIGINT NOT NULL,
  actor TEXT NOT NULL,
  tenant TEXT COLLATE "C" NOT NULL,
  action TEXT NOT NULL,
  detail TEXT NOT NULL
);

CREATE INDEX audit_by_tenant ON audit (tenant, id);
