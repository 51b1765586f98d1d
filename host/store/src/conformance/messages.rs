//! Rules of appending, of receipts, and of write sets and batches.

use super::*;

pub(crate) async fn an_append_is_read_back_as_it_was_written(store: Subject) {
    let draft = Draft {
        metadata: Some(r#"{"a":[1]}"#.to_owned()),
        ..draft(7, "lobby")
    };
    assert_eq!(
        commit(&store, vec![Write::Append(draft.clone())]).await,
        [appended(1, 7)]
    );
    let kept = Message {
        id: draft.id,
        room: draft.room,
        seq: 1,
        sender: draft.sender,
        username: draft.username,
        content: draft.content,
        metadata: draft.metadata,
        sent_at: draft.sent_at,
        client: draft.client,
        revision: None,
    };
    assert_eq!(
        store.message(&tenant("acme"), id(7)).await.unwrap().as_ref(),
        Some(&kept)
    );
    assert_eq!(
        page(&store, "acme", "lobby", ALL).await,
        Page {
            messages: vec![kept],
            complete: true
        }
    );
    assert_eq!(store.message(&tenant("acme"), id(8)).await.unwrap(), None);
    let own = Draft {
        client: None,
        ..self::draft(9, "lobby")
    };
    commit(&store, vec![Write::Append(own)]).await;
    let kept = store.message(&tenant("acme"), id(9)).await.unwrap().unwrap();
    assert_eq!((kept.client, &*kept.username), (None, "Ann"), "without a client id");
}

pub(crate) async fn an_id_posted_twice_is_appended_once(store: Subject) {
    commit(&store, vec![append(1, "lobby"), append(2, "lobby")]).await;
    let again = Draft {
        sent_at: 1,
        ..draft(1, "lobby")
    };
    assert_eq!(commit(&store, vec![Write::Append(again)]).await, [duplicate(1, 1)]);
    assert_eq!(contents(&store, "acme", "lobby").await, ["message 1", "message 2"]);
}

pub(crate) async fn an_id_posted_twice_in_one_write_set_is_appended_once(store: Subject) {
    let written = commit(&store, vec![append(1, "lobby"), append(1, "lobby")]).await;
    assert_eq!(written, [appended(1, 1), duplicate(1, 1)]);
    assert_eq!(contents(&store, "acme", "lobby").await, ["message 1"]);
}

pub(crate) async fn seq_has_no_gaps_after_a_duplicate(store: Subject) {
    let written = commit(&store, vec![append(1, "lobby"), append(1, "lobby"), append(2, "lobby")]).await;
    assert_eq!(written, [appended(1, 1), duplicate(1, 1), appended(2, 2)]);
    assert_eq!(
        commit(&store, vec![append(2, "lobby"), append(3, "lobby")]).await,
        [duplicate(2, 2), appended(3, 3)]
    );
    assert_eq!(contents(&store, "acme", "lobby").await.len(), 3);
}

pub(crate) async fn seq_has_no_gaps_after_a_rejected_write_set(store: Subject) {
    let batch = vec![
        write_set("acme", vec![append(1, "lobby")]),
        rejected("acme", vec![append(2, "lobby"), append(3, "lobby")]),
        write_set("acme", vec![append(4, "lobby")]),
    ];
    let outcomes = store.commit(batch).await.unwrap();
    assert_eq!(
        outcomes,
        [
            Ok(vec![appended(1, 1)]),
            Err(Rejected::NotFound),
            Ok(vec![appended(2, 4)])
        ]
    );
    assert_eq!(commit(&store, vec![append(5, "lobby")]).await, [appended(3, 5)]);
    assert_eq!(
        contents(&store, "acme", "lobby").await,
        ["message 1", "message 4", "message 5"]
    );
}

pub(crate) async fn seq_has_no_gaps_when_batches_race(store: Subject) {
    let racers: Vec<_> = (0..8u128)
        .map(|racer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in 0..25 {
                    let writes = vec![append(racer * 100 + n, "lobby")];
                    let one = if n % 5 == 4 {
                        rejected("acme", writes)
                    } else {
                        write_set("acme", writes)
                    };
                    store.commit(vec![one]).await.unwrap();
                }
            })
        })
        .collect();
    for racer in racers {
        racer.await.unwrap();
    }
    let contents = contents(&store, "acme", "lobby").await;
    assert_eq!(contents.len(), 8 * 20);
    // Each racer's own messages are in the order it posted them.
    let mut of_third = contents
        .iter()
        .filter(|content| content.starts_with("message 3") && content.len() == 11);
    assert!(of_third.clone().is_sorted());
    assert_eq!(of_third.next().map(String::as_str), Some("message 300"));
}

pub(crate) async fn rooms_count_for_themselves(store: Subject) {
    let written = commit(
        &store,
        vec![append(1, "a"), append(2, "b"), append(3, "a"), append(4, "b")],
    )
    .await;
    assert_eq!(
        written,
        [appended(1, 1), appended(1, 2), appended(2, 3), appended(2, 4)]
    );
}

pub(crate) async fn a_large_batch_keeps_its_order(store: Subject) {
    let rooms = ["a", "b", "c"];
    let batch = (0..3_000)
        .map(|n| write_set("acme", vec![append(n, rooms[n as usize % 3])]))
        .collect();
    let outcomes = store.commit(batch).await.unwrap();
    let expected: Vec<_> = (0..3_000).map(|n| Ok(vec![appended(n / 3 + 1, n)])).collect();
    assert_eq!(outcomes, expected);
    for (first, name) in rooms.iter().enumerate() {
        let expected: Vec<_> = (0..1_000).map(|n| format!("message {}", n * 3 + first)).collect();
        assert_eq!(contents(&store, "acme", name).await, expected);
    }
}

pub(crate) async fn a_rejected_write_set_leaves_no_trace(store: Subject) {
    commit(&store, vec![append(1, "lobby"), set("kept", "1"), set("gone", "1")]).await;
    let writes = vec![
        append(2, "lobby"),
        append(3, "new"),
        read(1, "ann", NOW),
        set("kept", "2"),
        set("new", "1"),
        increment("count", 1),
        Write::KvDelete { key: key("gone") },
    ];
    assert_eq!(
        store.commit(vec![rejected("acme", writes)]).await.unwrap(),
        [Err(Rejected::NotFound)]
    );
    assert_eq!(contents(&store, "acme", "lobby").await, ["message 1"]);
    assert_eq!(contents(&store, "acme", "new").await, [""; 0]);
    assert_eq!(store.message(&tenant("acme"), id(2)).await.unwrap(), None);
    assert_eq!(value(&store, "kept").await.as_deref(), Some("1"));
    assert_eq!(value(&store, "gone").await.as_deref(), Some("1"));
    assert_eq!(value(&store, "new").await, None);
    assert_eq!(value(&store, "count").await, None);
    let read_later = commit(&store, vec![read(1, "ann", NOW + 9)]).await;
    assert_eq!(
        read_later,
        [Written::Read {
            at: NOW + 9,
            first: true
        }]
    );
    assert_eq!(
        commit(&store, vec![append(2, "lobby")]).await,
        [appended(2, 2)],
        "its ids are free"
    );
}

pub(crate) async fn a_rejected_write_set_leaves_its_neighbours_alone(store: Subject) {
    let batch = vec![
        write_set("acme", vec![append(1, "lobby"), increment("count", 1)]),
        write_set("acme", vec![read(u128::MAX, "ann", NOW), append(2, "lobby")]),
        rejected("globex", vec![append(3, "lobby")]),
        write_set("globex", vec![append(4, "lobby"), read(4, "bob", NOW)]),
        write_set("acme", vec![append(5, "lobby"), increment("count", 1)]),
    ];
    let outcomes = store.commit(batch).await.unwrap();
    assert_eq!(
        outcomes,
        [
            Ok(vec![appended(1, 1), Written::Done]),
            Err(Rejected::NotFound),
            Err(Rejected::NotFound),
            Ok(vec![appended(1, 4), Written::Read { at: NOW, first: true }]),
            Ok(vec![appended(2, 5), Written::Done]),
        ]
    );
    assert_eq!(contents(&store, "acme", "lobby").await, ["message 1", "message 5"]);
    assert_eq!(contents(&store, "globex", "lobby").await, ["message 4"]);
    assert_eq!(value(&store, "count").await.as_deref(), Some("2"));
}

pub(crate) async fn a_room_made_by_a_rejected_write_set_can_be_made_again(store: Subject) {
    // The tenant is new as well. A store that caches its row or the room's must forget both.
    let batch = vec![
        rejected("acme", vec![append(1, "first"), append(2, "second")]),
        write_set("acme", vec![append(3, "second")]),
        write_set("acme", vec![append(4, "first")]),
    ];
    let outcomes = store.commit(batch).await.unwrap();
    assert_eq!(
        outcomes,
        [
            Err(Rejected::NotFound),
            Ok(vec![appended(1, 3)]),
            Ok(vec![appended(1, 4)])
        ]
    );
    assert_eq!(contents(&store, "acme", "first").await, ["message 4"]);
    assert_eq!(contents(&store, "acme", "second").await, ["message 3"]);
}

pub(crate) async fn an_empty_batch_and_an_empty_write_set_are_fine(store: Subject) {
    assert_eq!(store.commit(vec![]).await.unwrap(), []);
    assert_eq!(
        store.commit(vec![write_set("acme", vec![])]).await.unwrap(),
        [Ok(vec![])]
    );
}

pub(crate) async fn a_tenant_never_sees_anothers_messages(store: Subject) {
    commit(&store, vec![append(1, "lobby"), append(2, "lobby")]).await;
    let other = tenant("globex");
    assert_eq!(store.message(&other, id(1)).await.unwrap(), None);
    assert_eq!(contents(&store, "globex", "lobby").await, [""; 0]);
    // Nor when the other tenant exists and has a room of that name.
    let outcome = store
        .commit(vec![write_set("globex", vec![append(3, "lobby")])])
        .await
        .unwrap();
    assert_eq!(outcome, [Ok(vec![appended(1, 3)])]);
    assert_eq!(store.message(&other, id(1)).await.unwrap(), None);
    assert_eq!(contents(&store, "globex", "lobby").await, ["message 3"]);
    assert_eq!(contents(&store, "acme", "lobby").await, ["message 1", "message 2"]);
}

pub(crate) async fn one_id_in_two_tenants_is_two_messages(store: Subject) {
    commit(&store, vec![append(9, "elsewhere"), append(1, "lobby")]).await;
    let draft = Draft {
        content: "theirs".to_owned(),
        ..draft(1, "lobby")
    };
    let outcome = store
        .commit(vec![write_set("globex", vec![Write::Append(draft)])])
        .await
        .unwrap();
    assert_eq!(outcome, [Ok(vec![appended(1, 1)])]);
    let theirs = store.message(&tenant("globex"), id(1)).await.unwrap().unwrap();
    let ours = store.message(&tenant("acme"), id(1)).await.unwrap().unwrap();
    assert_eq!(
        (theirs.content.as_str(), ours.content.as_str()),
        ("theirs", "message 1")
    );
}

pub(crate) async fn any_text_comes_back_unchanged(store: Subject) {
    let long = "€".repeat(128 * 1024);
    let texts = [
        "",
        " ",
        "a\0b",
        "e\u{301}",
        "é",
        "👩‍👩‍👧 \u{202e}",
        "'; DROP TABLE messages; --",
        &long,
    ];
    for (n, text) in texts.iter().enumerate() {
        let (n, name) = (n as u128, format!("räume {n} 👋"));
        let draft = Draft {
            room: room(&name),
            sender: user("Ünï 👋"),
            content: (*text).to_owned(),
            metadata: Some((*text).to_owned()),
            ..draft(n, "x")
        };
        commit(&store, vec![Write::Append(draft)]).await;
        let kept = store.message(&tenant("acme"), id(n)).await.unwrap().unwrap();
        assert_eq!((kept.content.as_str(), kept.metadata.as_deref()), (*text, Some(*text)));
        assert_eq!((kept.room, kept.sender), (room(&name), user("Ünï 👋")));
    }
    // Composed and decomposed characters look the same but are different names.
    let written = commit(&store, vec![append(90, "e\u{301}"), append(91, "é"), append(92, "É")]).await;
    assert_eq!(written, [appended(1, 90), appended(1, 91), appended(1, 92)]);
}

pub(crate) async fn times_have_no_edges(store: Subject) {
    for (n, at) in [0, 1, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX]
        .into_iter()
        .enumerate()
    {
        let n = n as u128;
        let draft = Draft {
            sent_at: at,
            ..draft(n, "lobby")
        };
        let seq = n as u64 + 1;
        let first = commit(&store, vec![Write::Append(draft.clone()), read(n, "ann", at)]).await;
        let fresh = Written::Appended {
            seq,
            sent_at: at,
            duplicate: false,
        };
        assert_eq!(first, [fresh, Written::Read { at, first: true }]);
        let again = commit(&store, vec![Write::Append(draft), read(n, "ann", 5)]).await;
        let known = Written::Appended {
            seq,
            sent_at: at,
            duplicate: true,
        };
        assert_eq!(again, [known, Written::Read { at, first: false }]);
        assert_eq!(
            store.message(&tenant("acme"), id(n)).await.unwrap().unwrap().sent_at,
            at
        );
    }
}

pub(crate) async fn the_first_receipt_counts(store: Subject) {
    commit(&store, vec![append(1, "lobby"), append(2, "lobby")]).await;
    let first = |at| Written::Read { at, first: true };
    assert_eq!(commit(&store, vec![read(1, "bob", NOW + 5)]).await, [first(NOW + 5)]);
    let again = commit(&store, vec![read(1, "bob", NOW + 9), read(1, "bob", NOW + 1)]).await;
    assert_eq!(
        again,
        [Written::Read {
            at: NOW + 5,
            first: false
        }; 2]
    );
    let others = commit(&store, vec![read(1, "cyd", NOW + 6), read(2, "bob", NOW + 7)]).await;
    assert_eq!(
        others,
        [first(NOW + 6), first(NOW + 7)],
        "another user, another message"
    );
}

pub(crate) async fn a_receipt_follows_its_message_in_one_write_set(store: Subject) {
    let written = commit(&store, vec![append(1, "lobby"), read(1, "bob", NOW)]).await;
    assert_eq!(written, [appended(1, 1), Written::Read { at: NOW, first: true }]);
    assert_eq!(
        rejection(&store, vec![read(2, "bob", NOW), append(2, "lobby")]).await,
        Rejected::NotFound
    );
}

pub(crate) async fn a_receipt_for_no_message_is_rejected(store: Subject) {
    assert_eq!(
        rejection(&store, vec![read(1, "bob", NOW)]).await,
        Rejected::NotFound,
        "no such tenant"
    );
    commit(&store, vec![append(1, "lobby")]).await;
    assert_eq!(
        rejection(&store, vec![read(2, "bob", NOW)]).await,
        Rejected::NotFound,
        "no such message"
    );
}

pub(crate) async fn a_receipt_never_reaches_another_tenant(store: Subject) {
    commit(&store, vec![append(1, "lobby")]).await;
    let theirs = vec![
        write_set("globex", vec![read(1, "bob", NOW + 1)]),
        write_set("globex", vec![append(2, "lobby")]),
        write_set("globex", vec![read(1, "bob", NOW + 2)]),
    ];
    let outcomes = store.commit(theirs).await.unwrap();
    assert_eq!(
        outcomes,
        [
            Err(Rejected::NotFound),
            Ok(vec![appended(1, 2)]),
            Err(Rejected::NotFound)
        ]
    );
    assert_eq!(
        commit(&store, vec![read(1, "bob", NOW + 3)]).await,
        [Written::Read {
            at: NOW + 3,
            first: true
        }]
    );
}

pub(crate) async fn a_ping_changes_nothing(store: Subject) {
    store.ping().await.unwrap();
    commit(&store, vec![append(1, "lobby")]).await;
    store.ping().await.unwrap();
    assert_eq!(commit(&store, vec![append(2, "lobby")]).await, [appended(2, 2)]);
    assert_eq!(contents(&store, "acme", "lobby").await, ["message 1", "message 2"]);
}
