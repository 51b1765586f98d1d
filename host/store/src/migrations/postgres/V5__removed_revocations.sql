-- Revocations that were removed, the oldest first: all but the last ones are forgotten.
CREATE INDEX catalog_removed_revocations ON catalog (revision) WHERE document IS NULL AND kind = 'revocation';
