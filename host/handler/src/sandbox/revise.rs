//! Changes of messages across the sandbox's border.

use super::bindings::exports::parlance::chat::on_revise as exports;
use super::bindings::parlance::chat::revise as imports;
use crate::capability::RequestedChange;
use parlance_store::{Marks, Revision};

/// What the client asks for, as the guest gets it.
pub(super) fn lowered(change: &RequestedChange) -> exports::Change<'_> {
    match change {
        RequestedChange::Edit { content, metadata } => exports::Change::Edit(exports::Edit {
            content,
            metadata: metadata.as_ref(),
        }),
        RequestedChange::Delete => exports::Change::Delete,
        RequestedChange::Mark { kind, value, on } => exports::Change::Mark(exports::Mark { kind, value, on: *on }),
    }
}

/// Estimated bytes of a revision besides its marks.
const REVISION_BYTES: usize = 64;

/// About how many bytes a revision has.
pub(super) fn bytes(revision: &Revision) -> usize {
    let marks = revision.marks.iter().map(|marks| {
        let users: usize = marks.users.iter().map(|user| user.as_str().len()).sum();
        REVISION_BYTES + marks.kind.len() + marks.value.len() + users
    });
    REVISION_BYTES + marks.sum::<usize>()
}

impl From<Revision> for imports::Revision {
    fn from(revision: Revision) -> Self {
        Self {
            rev: revision.rev,
            edited_at: revision.edited_at,
            marks: revision.marks.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Marks> for imports::Marks {
    fn from(marks: Marks) -> Self {
        let Marks {
            kind,
            value,
            count,
            users,
        } = marks;
        Self {
            kind,
            value,
            count,
            users: users.iter().map(ToString::to_string).collect(),
        }
    }
}
