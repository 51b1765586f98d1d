//! Removing all that a tenant keeps, a little at a time, so that the others are served in between.

use rusqlite::{Connection, Result, Transaction, TransactionBehavior};

use super::writer::WriterThread;
use crate::id::TenantId;

/// Rows of one kind that one transaction removes.
const STEP: i64 = 500;

/// Removes a part; gives whether something is left.
pub(super) fn step(writer: &mut WriterThread, tenant: &TenantId) -> Result<bool> {
    let Some(row) = writer.rows.find_tenant(&writer.db, tenant)? else {
        return Ok(false);
    };
    // What is remembered of its rooms is about to be wrong.
    writer.rows.forget_tenant(tenant);
    writer.usages.clear();
    let left = remove(&writer.db, row)?;
    Ok(left)
}

fn remove(db: &Connection, tenant: i64) -> Result<bool> {
    let batch = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let mut removed = 0;
    for statement in [
        "DELETE FROM receipts WHERE (room_id, seq) IN
         (SELECT room_id, seq FROM messages WHERE tenant_id = ?1 LIMIT ?2)",
        "DELETE FROM messages WHERE (room_id, seq) IN
         (SELECT room_id, seq FROM messages WHERE tenant_id = ?1 LIMIT ?2)",
        "DELETE FROM kv WHERE (tenant_id, handler, key) IN
         (SELECT tenant_id, handler, key FROM kv WHERE tenant_id = ?1 LIMIT ?2)",
    ] {
        removed += batch.prepare_cached(statement)?.execute([tenant, STEP])?;
    }
    if removed == 0 {
        removed = batch
            .prepare_cached("DELETE FROM rooms WHERE id IN (SELECT id FROM rooms WHERE tenant_id = ?1 LIMIT ?2)")?
            .execute([tenant, STEP])?;
        batch
            .prepare_cached("DELETE FROM usage WHERE tenant_id = ?1")?
            .execute([tenant])?;
    }
    batch.commit()?;
    Ok(removed > 0)
}
