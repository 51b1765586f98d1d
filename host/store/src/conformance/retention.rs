//! Rules of the removal of old messages.

use super::{ALL, NOW, Subject, append, appended, commit, draft, id, page, read, room, tenant, user, write_set};
use crate::quota::MESSAGE_OVERHEAD;
use crate::{
    Change, ChangeRange, Expired, PastRange, Place, Rejected, RemovedMessages, Revise, RoomSpan, SeqSpan, Usage, Write,
    read_past,
};

const WHOLE: SeqSpan = SeqSpan {
    after: 0,
    up_to: u64::MAX,
};

fn up_to(seq: u64) -> Expired {
    Expired {
        up_to: seq,
        sent_before: 0,
    }
}

fn mark(n: u128, in_room: &str, by: &str) -> Write {
    revise(
        n,
        in_room,
        by,
        Change::Mark {
            kind: "reaction".to_owned(),
            value: "+1".to_owned(),
            on: true,
        },
    )
}

fn revise(n: u128, in_room: &str, by: &str, change: Change) -> Write {
    Write::Revise(Revise {
        id: id(n),
        room: room(in_room),
        seq: 1,
        user: user(by),
        at: NOW,
        change,
    })
}

/// Removes what has expired, step by step, and returns how many messages it were.
async fn remove(store: &Subject, in_room: &str, expired: Expired, limit: u32) -> u64 {
    let (acme, name, mut removed) = (tenant("acme"), room(in_room), 0);
    loop {
        let step = store.remove_messages(&acme, &name, expired, limit).await;
        let RemovedMessages { messages, more } = step.unwrap();
        assert!(messages <= u64::from(limit));
        removed += messages;
        if !more {
            return removed;
        }
    }
}

async fn seqs(store: &Subject, in_room: &str) -> Vec<u64> {
    let page = page(store, "acme", in_room, ALL).await;
    assert!(page.complete);
    page.messages.into_iter().map(|message| message.seq).collect()
}

pub(crate) async fn old_messages_go_with_receipts_marks_and_usage(store: Subject) {
    commit(&store, (1..=5).map(|n| append(n, "a")).collect()).await;
    commit(&store, vec![append(6, "b")]).await;
    commit(&store, [1, 2, 4, 6].map(|n| read(n, "bob", NOW)).to_vec()).await;
    commit(
        &store,
        vec![mark(1, "a", "bob"), mark(4, "a", "bob"), mark(6, "b", "bob")],
    )
    .await;
    assert_eq!(remove(&store, "a", up_to(2), 100).await, 2);
    assert_eq!(seqs(&store, "a").await, [3, 4, 5]);
    assert_eq!(seqs(&store, "b").await, [1]);
    let acme = tenant("acme");
    assert_eq!(store.message(&acme, id(1)).await.unwrap(), None);
    assert!(store.message(&acme, id(3)).await.unwrap().is_some());
    let receipts = store.receipts(&acme, &room("a"), WHOLE, None, None, 10).await.unwrap();
    assert_eq!(receipts.iter().map(|own| own.seq).collect::<Vec<_>>(), [4]);
    let marks = store.marks(&acme, &room("a"), WHOLE, None, None, 10).await.unwrap();
    assert_eq!(marks.iter().map(|own| own.seq).collect::<Vec<_>>(), [4]);
    let one = "message 1".len() as u64 + MESSAGE_OVERHEAD;
    let usage = Usage {
        message_bytes: 4 * one,
        kv_bytes: 0,
        rooms: 2,
    };
    assert_eq!(store.usage(&acme).await.unwrap(), usage);
    assert_eq!(remove(&store, "a", up_to(2), 100).await, 0, "a second time");
    assert_eq!(remove(&store, "nowhere", up_to(2), 100).await, 0);
    assert_eq!(store.usage(&acme).await.unwrap(), usage);
}

pub(crate) async fn what_belongs_to_a_message_goes_first_in_steps_as_small(store: Subject) {
    let readers: Vec<String> = (0..9).map(|n| format!("reader {n}")).collect();
    commit(&store, vec![append(1, "a"), append(2, "a"), append(3, "a")]).await;
    let writes = readers.iter().flat_map(|by| [read(1, by, NOW), mark(2, "a", by)]);
    commit(&store, writes.collect()).await;
    let (acme, a) = (tenant("acme"), room("a"));
    let mut steps = vec![(0, 9, 9)];
    loop {
        let step = store.remove_messages(&acme, &a, up_to(2), 4).await.unwrap();
        let receipts = store.receipts(&acme, &a, WHOLE, None, None, 10).await.unwrap();
        let marks = store.marks(&acme, &a, WHOLE, None, None, 10).await.unwrap();
        steps.push((step.messages, receipts.len(), marks.len()));
        if !step.more {
            break;
        }
    }
    // A step may do nothing but prepare the others.
    steps.dedup();
    assert_eq!(steps, [(0, 9, 9), (0, 5, 5), (0, 1, 1), (2, 0, 0)]);
    assert_eq!(seqs(&store, "a").await, [3]);
}

pub(crate) async fn messages_go_from_the_oldest_up_to_the_first_that_is_kept(store: Subject) {
    // The third was posted by a node whose clock was behind.
    for (n, sent_at) in [(1, 10), (2, 30), (3, 20), (4, 40), (5, 50)] {
        let posted = crate::Draft {
            sent_at,
            ..draft(n, "a")
        };
        commit(&store, vec![Write::Append(posted)]).await;
    }
    let before = |sent_before| Expired { up_to: 0, sent_before };
    assert_eq!(remove(&store, "a", before(25), 100).await, 1);
    assert_eq!(seqs(&store, "a").await, [2, 3, 4, 5], "no gap");
    assert_eq!(remove(&store, "a", before(45), 1).await, 3, "one at a time");
    assert_eq!(seqs(&store, "a").await, [5]);
    assert_eq!(remove(&store, "a", before(50), 100).await, 0);
}

pub(crate) async fn a_room_begins_with_its_oldest_message_whichever_has_changed(store: Subject) {
    commit(&store, vec![append(1, "a"), append(2, "a")]).await;
    let oldest = store.rooms(&tenant("acme"), None, 10).await.unwrap()[0].first_sent_at;
    commit(&store, vec![mark(2, "a", "bob")]).await;
    let rooms = store.rooms(&tenant("acme"), None, 10).await.unwrap();
    assert_eq!((rooms[0].first, rooms[0].first_sent_at), (1, oldest));
}

pub(crate) async fn no_number_is_given_again_when_all_messages_are_removed(store: Subject) {
    let acme = tenant("acme");
    for n in 1..=40 {
        commit(&store, vec![append(n, "a")]).await;
    }
    commit(&store, vec![mark(3, "a", "bob"), mark(40, "a", "bob")]).await;
    assert_eq!(remove(&store, "a", up_to(u64::MAX), 7).await, 40);
    let place = Place { seq: 40, rev: 2 };
    assert_eq!(store.place(&acme, &room("a")).await.unwrap(), place);
    assert_eq!(seqs(&store, "a").await, [0; 0]);
    let span = RoomSpan {
        room: room("a"),
        first: 41,
        first_sent_at: None,
        place,
    };
    assert_eq!(store.rooms(&acme, None, 10).await.unwrap(), [span]);
    // The id of a removed message may be used again.
    assert_eq!(commit(&store, vec![append(3, "a")]).await, [appended(41, 3)]);
    let rev = commit(&store, vec![mark(3, "a", "bob")]).await;
    assert!(
        matches!(rev[..], [crate::Written::Revised { rev: Some(3), .. }]),
        "{rev:?}"
    );
    let again = super::rejection(&store, vec![mark(4, "a", "bob")]).await;
    assert_eq!(again, Rejected::NotFound);
    assert_eq!(store.usage(&acme).await.unwrap().rooms, 1);
}

pub(crate) async fn a_client_that_was_away_learns_where_a_room_begins(store: Subject) {
    commit(&store, (1..=6).map(|n| append(n, "a")).collect()).await;
    commit(&store, vec![mark(1, "a", "bob"), mark(5, "a", "bob")]).await;
    let past = async |after, rev| {
        let asked = PastRange {
            after: Some(after),
            last: None,
            rev,
        };
        let past = read_past(&*store, &tenant("acme"), &room("a"), asked, 100).await;
        let past = past.unwrap();
        assert!(past.is_complete());
        let seqs: Vec<u64> = past.page.messages.iter().map(|message| message.seq).collect();
        let changed: Vec<u64> = past.changes.messages.iter().map(|message| message.seq).collect();
        (past.first, seqs, changed)
    };
    assert_eq!(past(2, Some(0)).await, (None, vec![3, 4, 5, 6], vec![1]));
    remove(&store, "a", up_to(4), 100).await;
    assert_eq!(
        past(0, None).await,
        (None, vec![5, 6], vec![]),
        "a new client has none of them"
    );
    assert_eq!(past(2, Some(0)).await, (Some(5), vec![5, 6], vec![]));
    assert_eq!(past(6, Some(0)).await, (Some(5), vec![], vec![5]));
    remove(&store, "a", up_to(6), 100).await;
    assert_eq!(past(6, Some(0)).await, (Some(7), vec![], vec![]));
}

pub(crate) async fn removal_goes_on_beside_new_messages(store: Subject) {
    let (adding, removing) = (store.clone(), store.clone());
    let add = tokio::spawn(async move {
        for n in 1..=300 {
            let written = commit(&adding, vec![append(n, "a")]).await;
            let seq = u64::try_from(n).unwrap();
            assert_eq!(written, [appended(seq, seq)]);
        }
    });
    let mut removed = 0;
    while removed < 290 {
        let last = removing.place(&tenant("acme"), &room("a")).await.unwrap().seq;
        removed += remove(&removing, "a", up_to(last.saturating_sub(10)), 8).await;
        let left = seqs(&removing, "a").await;
        assert!(left.windows(2).all(|two| two[1] == two[0] + 1), "{left:?}");
    }
    add.await.unwrap();
    assert_eq!(removed, 290);
    assert_eq!(seqs(&store, "a").await, (291..=300).collect::<Vec<_>>());
    let range = ChangeRange {
        after: 0,
        up_to_seq: u64::MAX,
        limit: 10,
    };
    let changes = store
        .changed_messages(&tenant("acme"), &room("a"), range)
        .await
        .unwrap();
    assert!(changes.messages.is_empty());
    // A tenant of the same name elsewhere has lost nothing.
    store
        .commit(vec![write_set("other", vec![append(1, "a")])])
        .await
        .unwrap();
    remove(&store, "a", up_to(u64::MAX), 100).await;
    assert_eq!(page(&store, "other", "a", ALL).await.messages.len(), 1);
}
