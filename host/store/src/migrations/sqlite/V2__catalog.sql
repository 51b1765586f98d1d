-- What operators have decided. A document that was removed leaves its key and revision, so that whoever knew it learns
-- that it is gone.
CREATE TABLE catalog (
  kind TEXT NOT NULL,
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  document TEXT,
  revision INTEGER NOT NULL UNIQUE,
  PRIMARY KEY (kind, tenant, name)
) STRICT, WITHOUT ROWID;

-- Components of deployed handlers, each under the hash of its bytes.
CREATE TABLE components (
  tenant TEXT NOT NULL,
  sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
  bytes BLOB NOT NULL,
  PRIMARY KEY (tenant, sha256)
) STRICT;

CREATE TABLE audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms INTEGER NOT NULL,
  actor TEXT NOT NULL,
  tenant TEXT NOT NULL,
  action TEXT NOT NULL,
  detail TEXT NOT NULL
) STRICT;

CREATE INDEX audit_by_tenant ON audit (tenant, id);

-- What each tenant keeps, counted as the quotas count it; the writer adds to it what each transaction changes.
CREATE TABLE usage (
  tenant_id INTEGER PRIMARY KEY REFERENCES tenants (id),
  message_bytes INTEGER NOT NULL,
  kv_bytes INTEGER NOT NULL,
  rooms INTEGER NOT NULL
) STRICT;

INSERT INTO usage (tenant_id, message_bytes, kv_bytes, rooms)
SELECT
  t.id,
  (SELECT coalesce(sum(128 + octet_length(m.content) + coalesce(octet_length(m.metadata), 0)), 0)
   FROM messages m WHERE m.tenant_id = t.id),
  (SELECT coalesce(sum(octet_length(k.key) + octet_length(k.value)), 0) FROM kv k WHERE k.tenant_id = t.id),
  (SELECT count(*) FROM rooms r WHERE r.tenant_id = t.id)
FROM tenants t;
