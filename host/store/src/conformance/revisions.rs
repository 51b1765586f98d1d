//! Rules of changing messages.

use super::*;
use crate::{Change, ChangeRange, Changes, MARKED_BY_MAX, Marks, Place, QuotaKind, Revise, Revision};

fn revise(n: u128, by: &str, change: Change) -> Write {
    Write::Revise(Revise {
        id: id(n),
        room: room("lobby"),
        seq: 1,
        user: user(by),
        at: NOW + 100,
        change,
    })
}

fn edit(n: u128, content: &str) -> Write {
    let change = Change::Edit {
        content: content.to_owned(),
        metadata: None,
    };
    revise(n, "ann", change)
}

fn delete(n: u128) -> Write {
    revise(n, "ann", Change::Delete)
}

fn append_text(n: u128, fragment: &str, max_bytes: usize) -> Write {
    let change = Change::Append {
        fragment: fragment.to_owned(),
        done: false,
        max_bytes,
    };
    revise(n, "ann", change)
}

fn mark(n: u128, by: &str, value: &str, on: bool) -> Write {
    let (kind, value) = ("reaction".to_owned(), value.to_owned());
    revise(n, by, Change::Mark { kind, value, on })
}

fn revised(rev: u64) -> Written {
    Written::Revised {
        rev: Some(rev),
        count: 0,
    }
}

fn marked(rev: u64, count: u64) -> Written {
    Written::Revised { rev: Some(rev), count }
}

async fn message(store: &Subject, n: u128) -> Message {
    store.message(&tenant("acme"), id(n)).await.unwrap().unwrap()
}

async fn revision(store: &Subject, n: u128) -> Revision {
    *message(store, n).await.revision.unwrap()
}

async fn changes(store: &Subject, after: u64, up_to_seq: u64, limit: u32) -> Changes {
    let range = ChangeRange {
        after,
        up_to_seq,
        limit,
    };
    store
        .changed_messages(&tenant("acme"), &room("lobby"), range)
        .await
        .unwrap()
}

fn marks(value: &str, count: u64, users: &[&str]) -> Marks {
    Marks {
        kind: "reaction".to_owned(),
        value: value.to_owned(),
        count,
        users: users.iter().map(|name| user(name)).collect(),
    }
}

/// Appends enough messages that a store which merges the recent ones has merged some.
async fn many(store: &Subject, count: u128) {
    for n in 1..=count {
        commit(store, vec![append(n, "lobby")]).await;
    }
}

pub(crate) async fn an_edit_changes_the_text_and_keeps_the_place(store: Subject) {
    many(&store, 60).await;
    for n in [60, 30, 1] {
        let before = message(&store, n).await;
        let change = Change::Edit {
            content: format!("new {n} \u{0}"),
            metadata: Some("{}".to_owned()),
        };
        commit(&store, vec![revise(n, "bob", change)]).await;
        let after = message(&store, n).await;
        let revision = after.revision.clone().unwrap();
        assert_eq!((revision.edited_at, revision.deleted_at), (Some(NOW + 100), None));
        let expected = Message {
            content: format!("new {n} \u{0}"),
            metadata: Some("{}".to_owned()),
            revision: after.revision.clone(),
            ..before
        };
        assert_eq!(after, expected);
        let pages = page(&store, "acme", "lobby", ALL).await;
        assert_eq!(pages.messages[usize::try_from(n).unwrap() - 1], expected);
    }
    // What is recent now is merged later.
    for n in 61..=120 {
        commit(&store, vec![append(n, "lobby")]).await;
    }
    let texts = contents(&store, "acme", "lobby").await;
    assert_eq!(
        (texts.len(), &*texts[0], &*texts[59]),
        (120, "new 1 \u{0}", "new 60 \u{0}")
    );
    assert_eq!(
        store.place(&tenant("acme"), &room("lobby")).await.unwrap(),
        Place { seq: 120, rev: 3 }
    );
    assert_eq!(
        commit(&store, vec![append(60, "lobby")]).await,
        [duplicate(60, 60)],
        "it repeats what was sent"
    );
}

pub(crate) async fn text_is_added_to_the_end(store: Subject) {
    many(&store, 60).await;
    for n in [60, 30, 1] {
        let before = message(&store, n).await;
        commit(&store, vec![append_text(n, " \u{0}é", 100)]).await;
        commit(&store, vec![append_text(n, "", 100), append_text(n, " more", 100)]).await;
        let after = message(&store, n).await;
        let revision = after.revision.clone().unwrap();
        assert_eq!(revision.edited_at, None, "it is no edit");
        let expected = Message {
            content: format!("message {n} \u{0}é more"),
            revision: after.revision.clone(),
            ..before
        };
        assert_eq!(after, expected);
    }
    assert_eq!(
        store.place(&tenant("acme"), &room("lobby")).await.unwrap(),
        Place { seq: 60, rev: 9 }
    );
    commit(&store, vec![edit(1, "new"), append_text(1, "er", 5)]).await;
    assert_eq!(message(&store, 1).await.content, "newer");
    assert_eq!(
        rejection(&store, vec![append_text(1, "!", 5)]).await,
        Rejected::TooLarge
    );
    // What adds nothing is not too large, whatever is there.
    commit(&store, vec![append_text(1, "", 4)]).await;
    assert_eq!(message(&store, 1).await.content, "newer");
    commit(&store, vec![append_text(1, "s", 9), edit(1, "last")]).await;
    assert_eq!(message(&store, 1).await.content, "last");
    commit(&store, vec![append_text(1, "s", 9), delete(1)]).await;
    assert_eq!(message(&store, 1).await.content, "");
    assert_eq!(
        rejection(&store, vec![append_text(1, "!", 9)]).await,
        Rejected::NotFound
    );
}

pub(crate) async fn text_is_added_in_the_batch_that_posts_it(store: Subject) {
    let batch = vec![
        write_set("acme", vec![append(1, "lobby")]),
        write_set("acme", vec![append_text(1, "a", 11)]),
        write_set("acme", vec![append_text(1, "b", 11), append_text(1, "c", 11)]),
        write_set("acme", vec![append_text(1, "d", 11)]),
    ];
    let results = store.commit(batch).await.unwrap();
    assert_eq!(results[1], Ok(vec![revised(1)]));
    assert_eq!(results[2], Err(Rejected::TooLarge));
    assert_eq!(results[3], Ok(vec![revised(2)]));
    assert_eq!(message(&store, 1).await.content, "message 1ad");
}

pub(crate) async fn a_deleted_message_is_a_tombstone(store: Subject) {
    let with_metadata = Draft {
        metadata: Some("[1]".to_owned()),
        ..draft(1, "lobby")
    };
    commit(
        &store,
        vec![
            Write::Append(with_metadata),
            append(2, "lobby"),
            mark(1, "ann", "+1", true),
        ],
    )
    .await;
    assert_eq!(commit(&store, vec![delete(1)]).await, [revised(2)]);
    let gone = message(&store, 1).await;
    assert!(gone.is_deleted() && gone.content.is_empty() && gone.metadata.is_none());
    let expected = Revision {
        rev: 2,
        deleted_at: Some(NOW + 100),
        ..Revision::default()
    };
    assert_eq!(*gone.revision.unwrap(), expected);
    assert_eq!(contents(&store, "acme", "lobby").await, ["", "message 2"]);
    for write in [edit(1, "back"), delete(1), mark(1, "ann", "+1", true)] {
        assert_eq!(rejection(&store, vec![write]).await, Rejected::NotFound);
    }
    assert_eq!(
        commit(&store, vec![append(1, "lobby")]).await,
        [duplicate(1, 1)],
        "its sender repeats it"
    );
}

pub(crate) async fn a_message_that_is_not_there_cannot_change(store: Subject) {
    commit(&store, vec![append(1, "lobby")]).await;
    assert_eq!(rejection(&store, vec![edit(2, "x")]).await, Rejected::NotFound);
    let others = store.commit(vec![write_set("other", vec![delete(1)])]).await.unwrap();
    assert_eq!(others, [Err(Rejected::NotFound)]);
    assert_eq!(contents(&store, "acme", "lobby").await, ["message 1"]);
    assert_eq!(
        store.place(&tenant("acme"), &room("lobby")).await.unwrap(),
        Place { seq: 1, rev: 0 }
    );
}

pub(crate) async fn marks_are_counted_and_named(store: Subject) {
    commit(&store, vec![append(1, "lobby")]).await;
    let written = commit(
        &store,
        vec![
            mark(1, "cid", "+1", true),
            mark(1, "ann", "tada", true),
            mark(1, "ann", "+1", true),
        ],
    )
    .await;
    assert_eq!(written, [marked(1, 1), marked(2, 1), marked(3, 2)]);
    assert_eq!(commit(&store, vec![mark(1, "cid", "+1", false)]).await, [marked(4, 1)]);
    let found = revision(&store, 1).await;
    assert_eq!(found.rev, 4);
    assert_eq!(found.marks, [marks("+1", 1, &["ann"]), marks("tada", 1, &["ann"])]);
    let users: Vec<String> = (0..MARKED_BY_MAX + 5).map(|n| format!("user-{n:03}")).collect();
    let many = users.iter().map(|name| mark(1, name, "many", true)).collect();
    commit(&store, many).await;
    let found = revision(&store, 1).await;
    assert_eq!(found.marks[1].count, MARKED_BY_MAX as u64 + 5);
    assert_eq!(found.marks[1].users.len(), MARKED_BY_MAX);
}

pub(crate) async fn a_mark_that_is_there_changes_nothing(store: Subject) {
    commit(&store, vec![append(1, "lobby"), mark(1, "ann", "+1", true)]).await;
    let nothing = |count| Written::Revised { rev: None, count };
    assert_eq!(commit(&store, vec![mark(1, "ann", "+1", true)]).await, [nothing(1)]);
    assert_eq!(commit(&store, vec![mark(1, "bob", "+1", false)]).await, [nothing(1)]);
    assert_eq!(revision(&store, 1).await.rev, 1);
}

pub(crate) async fn a_message_has_so_many_marks(store: Subject) {
    commit(&store, vec![append(1, "lobby"), mark(1, "ann", "a", true)]).await;
    let of_quota = |writes| WriteSet {
        quota: StorageQuota {
            marks: 2,
            ..StorageQuota::UNLIMITED
        },
        ..write_set("acme", writes)
    };
    let batch = vec![
        of_quota(vec![mark(1, "ann", "b", true), mark(1, "ann", "c", true)]),
        of_quota(vec![mark(1, "ann", "b", true)]),
        of_quota(vec![mark(1, "ann", "c", true)]),
        of_quota(vec![mark(1, "ann", "b", false), mark(1, "ann", "c", true)]),
    ];
    let full = Err(Rejected::QuotaExceeded(QuotaKind::Marks));
    let results = store.commit(batch).await.unwrap();
    assert_eq!(
        results,
        [
            full.clone(),
            Ok(vec![marked(2, 1)]),
            full,
            Ok(vec![marked(3, 0), marked(4, 1)])
        ]
    );
}

pub(crate) async fn changes_have_numbers_without_gaps(store: Subject) {
    commit(&store, vec![append(1, "lobby"), append(2, "lobby")]).await;
    let mut revs = Vec::new();
    for n in [1, 2, 1, 1] {
        revs.extend(commit(&store, vec![edit(n, "x"), mark(n, "ann", "+1", true)]).await);
    }
    let revs: Vec<u64> = revs
        .into_iter()
        .filter_map(|written| match written {
            Written::Revised { rev, .. } => rev,
            _ => None,
        })
        .collect();
    assert_eq!(revs, (1..=6).collect::<Vec<_>>());
    assert_eq!(
        store.place(&tenant("acme"), &room("lobby")).await.unwrap(),
        Place { seq: 2, rev: 6 }
    );
}

pub(crate) async fn changes_since_a_number_come_once_each(store: Subject) {
    many(&store, 5).await;
    for n in [3, 1, 3, 5, 2] {
        commit(&store, vec![edit(n, &format!("changed {n}"))]).await;
    }
    let seqs = |changes: &Changes| changes.messages.iter().map(|message| message.seq).collect::<Vec<_>>();
    let all = changes(&store, 0, 5, 100).await;
    assert_eq!((seqs(&all), all.complete), (vec![1, 3, 5, 2], true));
    assert!(
        all.messages
            .iter()
            .all(|message| message.content == format!("changed {}", message.seq))
    );
    assert_eq!(seqs(&changes(&store, 2, 5, 100).await), [3, 5, 2]);
    assert_eq!(seqs(&changes(&store, 0, 3, 100).await), [1, 3, 2]);
    let some = changes(&store, 0, 5, 2).await;
    assert_eq!((seqs(&some), some.complete), (vec![1, 3], false));
    let none = changes(&store, 5, u64::MAX, u32::MAX).await;
    assert_eq!((seqs(&none), none.complete), (vec![], true));
}

pub(crate) async fn a_read_of_changes_looks_at_so_many(store: Subject) {
    many(&store, 120).await;
    let later_messages_first = (2..=120).chain([1]);
    for n in later_messages_first {
        commit(&store, vec![edit(n, "changed")]).await;
    }
    let found = |changes: Changes| {
        let seqs: Vec<_> = changes.messages.iter().map(|message| message.seq).collect();
        (seqs, changes.complete)
    };
    // The last message that it looked at tells where to go on.
    assert_eq!(found(changes(&store, 0, 1, 1).await), (vec![101], false));
    assert_eq!(found(changes(&store, 100, 1, 1).await), (vec![1], true));
    assert_eq!(found(changes(&store, 0, 1, 2).await), (vec![1], true));
}

pub(crate) async fn changes_of_a_rejected_write_set_leave_no_trace(store: Subject) {
    many(&store, 3).await;
    commit(&store, vec![mark(2, "ann", "+1", true)]).await;
    let before = page(&store, "acme", "lobby", ALL).await;
    let batch = vec![
        rejected(
            "acme",
            vec![
                edit(1, "x"),
                mark(1, "ann", "+1", true),
                mark(2, "ann", "+1", false),
                delete(3),
            ],
        ),
        rejected("acme", vec![append(4, "lobby"), edit(4, "x"), delete(2)]),
    ];
    assert_eq!(
        store.commit(batch).await.unwrap(),
        [Err(Rejected::NotFound), Err(Rejected::NotFound)]
    );
    assert_eq!(page(&store, "acme", "lobby", ALL).await, before);
    assert_eq!(
        store.place(&tenant("acme"), &room("lobby")).await.unwrap(),
        Place { seq: 3, rev: 1 }
    );
    assert_eq!(commit(&store, vec![edit(1, "y")]).await, [revised(2)]);
}

pub(crate) async fn a_message_changes_in_the_batch_that_appends_it(store: Subject) {
    let batch = vec![
        write_set("acme", vec![append(1, "lobby")]),
        write_set("acme", vec![edit(1, "first"), mark(1, "ann", "+1", true)]),
        write_set(
            "acme",
            vec![
                edit(1, "second"),
                mark(1, "ann", "+1", false),
                mark(1, "bob", "+1", true),
            ],
        ),
    ];
    let results = store.commit(batch).await.unwrap();
    assert_eq!(results[2], Ok(vec![revised(3), marked(4, 0), marked(5, 1)]));
    let found = message(&store, 1).await;
    assert_eq!(found.content, "second");
    assert_eq!(found.revision.unwrap().marks, [marks("+1", 1, &["bob"])]);
}

pub(crate) async fn usage_follows_the_text(store: Subject) {
    let bytes = async || store.usage(&tenant("acme")).await.unwrap().message_bytes;
    commit(&store, vec![append(1, "lobby")]).await;
    let empty = bytes().await - "message 1".len() as u64;
    commit(&store, vec![edit(1, "a longer text than before")]).await;
    assert_eq!(bytes().await, empty + 25);
    commit(&store, vec![edit(1, "sho"), append_text(1, "rt", 9)]).await;
    assert_eq!(bytes().await, empty + 5);
    let full = WriteSet {
        quota: StorageQuota {
            message_bytes: empty + 6,
            ..StorageQuota::UNLIMITED
        },
        ..write_set("acme", vec![edit(1, "too long now")])
    };
    let full = store.commit(vec![full]).await.unwrap();
    assert_eq!(full, [Err(Rejected::QuotaExceeded(QuotaKind::MessageBytes))]);
    assert_eq!(
        (bytes().await, message(&store, 1).await.content),
        (empty + 5, "short".to_owned())
    );
    commit(&store, vec![delete(1)]).await;
    assert_eq!(bytes().await, empty);
}

pub(crate) async fn changes_that_race_are_all_made(store: Subject) {
    many(&store, 2).await;
    let mut tasks = Vec::new();
    for task in 0..8 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            for n in 0..10 {
                let name = format!("user-{task}-{n}");
                commit(&store, vec![mark(1 + n % 2, &name, "+1", true), edit(1, &name)]).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(
        store.place(&tenant("acme"), &room("lobby")).await.unwrap(),
        Place { seq: 2, rev: 160 }
    );
    let counts = [revision(&store, 1).await, revision(&store, 2).await].map(|found| found.marks[0].count);
    assert_eq!(counts, [40, 40]);
}
