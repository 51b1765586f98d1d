//! Checks a whole history.

use std::collections::HashMap;

use serde::Serialize;

use crate::index::Index;
use crate::ops::Ops;
use crate::record::{History, Record};
use crate::stays::Stays;
use crate::violation::Violation;

/// The most violations that are returned. Further ones are mostly caused by these.
const MAX_VIOLATIONS: usize = 20;

/// How much was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The messages that clients sent, each once.
    pub ops: u64,
    /// The ops that were acknowledged.
    pub acknowledged: u64,
    /// The ops whose senders were not told whether they are stored.
    pub unknown: u64,
    /// The messages that clients got while they were in a room.
    pub delivered: u64,
    /// The number of joins.
    pub stays: u64,
}

/// The first violations.
#[derive(Default)]
pub(crate) struct Violations(Vec<Violation>);

impl Violations {
    pub(crate) fn add(&mut self, violation: Violation) {
        if self.0.len() < MAX_VIOLATIONS {
            self.0.push(violation);
        }
    }
}

impl History {
    /// Compares all that happened with what the store has in the end.
    ///
    /// # Errors
    /// Returns the violations, at most twenty.
    pub fn check(&self) -> Result<Summary, Vec<Violation>> {
        let mut found = Violations::default();
        let index = Index::new(&self.records, &mut found);
        let mut ops = Ops::new(&index);
        let mut stays = Stays::new(&index);
        let mut told = HashMap::new();
        for record in &self.records {
            match record {
                Record::Invoke(invoke) => ops.invoke(&invoke.client, invoke.op, &mut found),
                Record::Ok { client, op, seq } => ops.ok(client, *op, *seq, &mut found),
                Record::Failed { client, op } => ops.failed(client, *op, &mut found),
                Record::Unknown { client, op } => ops.unknown(client, *op, &mut found),
                Record::Joined(joined) => stays.joined(joined, &mut found),
                Record::Left { client, room } => stays.left(client, room),
                Record::Delivered {
                    client,
                    room,
                    seq,
                    content,
                } => stays.delivered(client, room, *seq, content, &mut found),
                Record::Presence { client, user, status } => {
                    told.insert((&**client, &**user), status);
                }
                // The order of these records among the others does not matter.
                Record::TruthPresence { .. } | Record::Stored { .. } => {}
            }
        }
        for record in &self.records {
            if let Record::TruthPresence { client, user, status } = record {
                let told = told.get(&(&**client, &**user)).copied();
                if told != Some(status) {
                    found.add(Violation::StalePresence {
                        client: client.clone(),
                        user: user.clone(),
                        told: told.cloned(),
                        truth: status.clone(),
                    });
                }
            }
        }
        let mut summary = Summary::default();
        ops.end(&mut summary, &mut found);
        stays.end(&mut summary, &mut found);
        if found.0.is_empty() { Ok(summary) } else { Err(found.0) }
    }
}
