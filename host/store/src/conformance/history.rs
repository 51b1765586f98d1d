//! Rules of reading a room's history.

use super::*;

/// Fills the room `lobby` with messages 1 to 10, each with its `seq` in its content, and another room that no page of
/// `lobby` may show.
async fn ten(store: &Subject) {
    commit(
        store,
        (1..=10)
            .flat_map(|n| [append(n, "lobby"), append(n + 100, "next door")])
            .collect(),
    )
    .await;
}

async fn seqs(store: &Subject, range: Range) -> (Vec<u64>, bool) {
    let page = page(store, "acme", "lobby", range).await;
    for message in &page.messages {
        assert_eq!(message.content, format!("message {}", message.seq));
    }
    (page.messages.iter().map(|message| message.seq).collect(), page.complete)
}

pub(crate) async fn a_room_without_messages_is_empty_and_complete(store: Subject) {
    let empty = Page {
        messages: vec![],
        complete: true,
    };
    assert_eq!(page(&store, "acme", "lobby", ALL).await, empty, "no tenant yet");
    commit(&store, vec![append(1, "elsewhere")]).await;
    assert_eq!(page(&store, "acme", "lobby", ALL).await, empty, "no such room yet");
    assert_eq!(page(&store, "acme", "lobby", Range { limit: 0, ..ALL }).await, empty);
    assert_eq!(store.place(&tenant("acme"), &room("lobby")).await.unwrap().seq, 0);
}

pub(crate) async fn history_pages_backwards_without_gap_or_overlap(store: Subject) {
    ten(&store).await;
    let (mut all, mut before, mut pages) = (Vec::new(), None, 0);
    loop {
        let (page, complete) = seqs(
            &store,
            Range {
                after: 0,
                before,
                limit: 3,
                ..ALL
            },
        )
        .await;
        before = page.first().copied();
        all.splice(0..0, page);
        pages += 1;
        if complete {
            break;
        }
        assert!(pages < 10, "it ends");
    }
    assert_eq!(all, (1..=10).collect::<Vec<_>>());
    assert_eq!(pages, 4);
}

pub(crate) async fn history_pages_forwards_without_gap_or_overlap(store: Subject) {
    ten(&store).await;
    let forwards = |after, limit| Range {
        after,
        limit,
        from: End::Oldest,
        ..ALL
    };
    let (mut all, mut pages) = (Vec::new(), 0);
    loop {
        let (page, complete) = seqs(&store, forwards(all.last().copied().unwrap_or(0), 3)).await;
        all.extend(page);
        pages += 1;
        if complete {
            break;
        }
        assert!(pages < 10, "it ends");
    }
    assert_eq!(all, (1..=10).collect::<Vec<_>>());
    assert_eq!(pages, 4);
    assert_eq!(
        seqs(&store, forwards(7, 3)).await,
        (vec![8, 9, 10], true),
        "just enough"
    );
    assert_eq!(
        seqs(&store, forwards(6, 3)).await,
        (vec![7, 8, 9], false),
        "one too few"
    );
    assert_eq!(seqs(&store, forwards(10, 3)).await, (vec![], true));
    assert_eq!(seqs(&store, forwards(9, 0)).await, (vec![], false));
    let between = |limit| Range {
        before: Some(6),
        ..forwards(2, limit)
    };
    assert_eq!(seqs(&store, between(3)).await, (vec![3, 4, 5], true), "up to `before`");
    assert_eq!(seqs(&store, between(2)).await, (vec![3, 4], false));
}

pub(crate) async fn history_after_gives_what_was_missed(store: Subject) {
    ten(&store).await;
    assert_eq!(seqs(&store, Range { after: 7, ..ALL }).await, (vec![8, 9, 10], true));
    assert_eq!(seqs(&store, Range { after: 9, ..ALL }).await, (vec![10], true));
    assert_eq!(
        seqs(&store, Range { after: 10, ..ALL }).await,
        (vec![], true),
        "nothing was missed"
    );
    assert_eq!(
        seqs(&store, Range { after: 99, ..ALL }).await,
        (vec![], true),
        "further than there is"
    );
    assert_eq!(
        seqs(
            &store,
            Range {
                after: 2,
                before: Some(5),
                limit: 9,
                ..ALL
            }
        )
        .await,
        (vec![3, 4], true)
    );
    assert_eq!(
        seqs(
            &store,
            Range {
                after: 4,
                before: Some(5),
                limit: 9,
                ..ALL
            }
        )
        .await,
        (vec![], true)
    );
    assert_eq!(
        seqs(
            &store,
            Range {
                after: 5,
                before: Some(3),
                limit: 9,
                ..ALL
            }
        )
        .await,
        (vec![], true)
    );
}

pub(crate) async fn incomplete_pages_say_so(store: Subject) {
    ten(&store).await;
    assert_eq!(
        seqs(&store, Range { limit: 10, ..ALL }).await,
        ((1..=10).collect(), true),
        "just enough"
    );
    assert_eq!(
        seqs(&store, Range { limit: 9, ..ALL }).await,
        ((2..=10).collect(), false),
        "one too few"
    );
    assert_eq!(
        seqs(
            &store,
            Range {
                after: 6,
                before: None,
                limit: 4,
                ..ALL
            }
        )
        .await,
        (vec![7, 8, 9, 10], true)
    );
    assert_eq!(
        seqs(
            &store,
            Range {
                after: 6,
                before: None,
                limit: 3,
                ..ALL
            }
        )
        .await,
        (vec![8, 9, 10], false)
    );
    assert_eq!(
        seqs(
            &store,
            Range {
                after: 0,
                before: Some(4),
                limit: 3,
                ..ALL
            }
        )
        .await,
        (vec![1, 2, 3], true)
    );
    assert_eq!(
        seqs(
            &store,
            Range {
                after: 0,
                before: Some(4),
                limit: 2,
                ..ALL
            }
        )
        .await,
        (vec![2, 3], false)
    );
    assert_eq!(seqs(&store, Range { limit: 0, ..ALL }).await, (vec![], false));
    assert_eq!(
        seqs(
            &store,
            Range {
                after: 9,
                before: None,
                limit: 0,
                ..ALL
            }
        )
        .await,
        (vec![], false)
    );
    assert_eq!(
        seqs(
            &store,
            Range {
                after: 10,
                before: None,
                limit: 0,
                ..ALL
            }
        )
        .await,
        (vec![], true)
    );
}

pub(crate) async fn bounds_beyond_all_numbers_are_fine(store: Subject) {
    ten(&store).await;
    for edge in [i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        assert_eq!(seqs(&store, Range { after: edge, ..ALL }).await, (vec![], true));
        let (page, complete) = seqs(
            &store,
            Range {
                after: 0,
                before: Some(edge),
                limit: 2,
                ..ALL
            },
        )
        .await;
        assert_eq!((page, complete), (vec![9, 10], false));
    }
    assert_eq!(seqs(&store, Range { before: Some(0), ..ALL }).await, (vec![], true));
    assert_eq!(seqs(&store, Range { before: Some(1), ..ALL }).await, (vec![], true));
}
