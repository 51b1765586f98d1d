-- Messages up to this seq were removed. A room's last seq is the greater of this and that of its last message, so no seq is
-- given again when all messages of a room were removed.
ALTER TABLE rooms ADD COLUMN removed_up_to INTEGER NOT NULL DEFAULT 0;
