-- When something is to be done because of a key, in milliseconds since the Unix epoch: a timer is a key with a due time.
ALTER TABLE kv ADD COLUMN due_at INTEGER;

-- Finds the spaces in which something is due without their values.
CREATE INDEX kv_by_due ON kv (due_at, tenant_id, handler) WHERE due_at IS NOT NULL;
