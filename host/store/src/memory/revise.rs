//! Changes of messages.

use std::collections::BTreeSet;

use super::{Tenant, Undo};
use crate::revision::MarksCollector;
use crate::{Change, Marks, QuotaKind, Rejected, Revise, StorageQuota, Written};
use parlance_types::id::UserId;

/// A mark. The order is that of the databases.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) at: u64,
    pub(super) kind: String,
    pub(super) value: String,
    pub(super) user: UserId,
}

/// The marks by kind and value.
pub(super) fn collected(marks: &BTreeSet<Mark>) -> Vec<Marks> {
    let mut collector = MarksCollector::default();
    for mark in marks {
        collector.add(&mark.kind, &mark.value, mark.user.clone());
    }
    collector.finish()
}

impl Tenant {
    pub(super) fn revise(&mut self, revise: &Revise, quota: StorageQuota) -> Result<(Written, Undo), Rejected> {
        let mut marks = self.marks.get(&revise.id).cloned().unwrap_or_default();
        let rev = self.revs.get(&revise.room).copied().unwrap_or(0);
        let message = self.message_mut(revise.id).filter(|message| !message.is_deleted());
        let message = message.ok_or(Rejected::NotFound)?;
        let undo = Undo::Revise(Box::new(message.clone()), marks.clone(), rev);
        let mut count = 0;
        if revise.change.is_too_large_for(message.content.len() as u64) {
            return Err(Rejected::TooLarge);
        }
        if let Change::Mark { kind, value, on } = &revise.change {
            let is_same = |mark: &&Mark| mark.kind == *kind && mark.value == *value;
            let own = marks.iter().filter(is_same).find(|mark| mark.user == revise.user);
            let changes = own.is_some() != *on;
            if let Some(own) = own.cloned() {
                if changes {
                    marks.remove(&own);
                }
            } else if changes {
                marks.insert(Mark {
                    at: revise.at,
                    kind: kind.clone(),
                    value: value.clone(),
                    user: revise.user.clone(),
                });
            }
            count = marks.iter().filter(is_same).count() as u64;
            if !changes {
                return Ok((Written::Revised { rev: None, count }, Undo::Nothing));
            }
            if *on && marks.len() as u64 > quota.marks {
                return Err(Rejected::QuotaExceeded(QuotaKind::Marks));
            }
        }
        let mut revision = message.revision.take().unwrap_or_default();
        match &revise.change {
            Change::Edit { content, metadata } => {
                message.content.clone_from(content);
                message.metadata.clone_from(metadata);
                revision.edited_at = Some(revise.at);
            }
            Change::Append { fragment, .. } => message.content.push_str(fragment),
            Change::Delete => {
                message.content.clear();
                message.metadata = None;
                marks.clear();
                revision.deleted_at = Some(revise.at);
            }
            Change::Mark { .. } => {}
        }
        revision.rev = rev + 1;
        revision.marks = collected(&marks);
        message.revision = Some(revision);
        self.marks.insert(revise.id, marks);
        self.revs.insert(revise.room.clone(), rev + 1);
        let rev = Some(rev + 1);
        Ok((Written::Revised { rev, count }, undo))
    }
}
