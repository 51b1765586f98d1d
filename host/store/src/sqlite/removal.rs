//! Deletes a tenant's data in small transactions, so that other tenants' batches run in between.

use rusqlite::{Connection, Result, Transaction, TransactionBehavior};

use super::writer::WriterThread;
use parlance_types::id::TenantId;

/// The most rows of each table that one transaction deletes.
const STEP: i64 = 500;
/// The most rooms that one transaction deletes. For each, SQLite looks through all messages that are not merged, up to
/// 2 ms, whether one is in the room.
const ROOMS_STEP: i64 = 20;

/// Deletes some of the tenant's data. Returns whether more may be left.
pub(super) fn step(writer: &mut WriterThread, tenant: &TenantId) -> Result<bool> {
    let Some(row) = writer.rows.find_tenant(&writer.db, tenant)? else {
        return Ok(false);
    };
    if writer.has_recent(tenant) {
        writer.merge_now()?;
        return Ok(true);
    }
    // The caches would be wrong about the rooms and the usage from now on.
    writer.rows.forget_tenant(tenant);
    writer.usages.clear();
    writer.key_changes.change_all();
    delete_some(&writer.db, row)
}

fn delete_some(db: &Connection, tenant: i64) -> Result<bool> {
    let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    // First what belongs to the messages that go next, of which one may have many.
    for statement in [
        "DELETE FROM receipts WHERE (room_id, seq, user) IN
         (SELECT r.room_id, r.seq, r.user
          FROM (SELECT room_id, seq FROM message_ids WHERE tenant_id = ?1 ORDER BY id LIMIT ?2) m
          CROSS JOIN receipts r ON r.room_id = m.room_id AND r.seq = m.seq LIMIT ?2)",
        "DELETE FROM marks WHERE (room_id, seq, kind, value, user) IN
         (SELECT k.room_id, k.seq, k.kind, k.value, k.user
          FROM (SELECT room_id, seq FROM message_ids WHERE tenant_id = ?1 ORDER BY id LIMIT ?2) m
          CROSS JOIN marks k ON k.room_id = m.room_id AND k.seq = m.seq LIMIT ?2)",
    ] {
        if transaction.prepare_cached(statement)?.execute([tenant, STEP])? as u64 >= STEP.cast_unsigned() {
            transaction.commit()?;
            return Ok(true);
        }
    }
    let mut removed = 0;
    for statement in [
        "DELETE FROM messages WHERE (room_id, seq) IN
         (SELECT room_id, seq FROM message_ids WHERE tenant_id = ?1 ORDER BY id LIMIT ?2)",
        "DELETE FROM message_ids WHERE (tenant_id, id) IN
         (SELECT tenant_id, id FROM message_ids WHERE tenant_id = ?1 ORDER BY id LIMIT ?2)",
        "DELETE FROM kv WHERE (tenant_id, handler, key) IN
         (SELECT tenant_id, handler, key FROM kv WHERE tenant_id = ?1 LIMIT ?2)",
    ] {
        removed += transaction.prepare_cached(statement)?.execute([tenant, STEP])?;
    }
    if removed == 0 {
        removed = transaction
            .prepare_cached("DELETE FROM rooms WHERE id IN (SELECT id FROM rooms WHERE tenant_id = ?1 LIMIT ?2)")?
            .execute([tenant, ROOMS_STEP])?;
        transaction
            .prepare_cached("DELETE FROM usage WHERE tenant_id = ?1")?
            .execute([tenant])?;
    }
    transaction.commit()?;
    Ok(removed > 0)
}
