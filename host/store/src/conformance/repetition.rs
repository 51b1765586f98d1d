//! Rules of messages that are sent again under the same client id.

use super::*;

/// The message with id `n`, sent with this request.
fn asked(n: u128, to: &str, content: &str, metadata: Option<&str>) -> Write {
    Write::Append(Draft {
        content: content.to_owned(),
        metadata: metadata.map(str::to_owned),
        client: Some(ClientRef {
            id: n.to_string().into(),
            request: RequestDigest::of(to, content, metadata),
        }),
        ..draft(n, to)
    })
}

pub(crate) async fn a_client_id_of_another_message_is_rejected(store: Subject) {
    commit(&store, vec![append(5, "lobby"), asked(1, "lobby", "one", Some("{}"))]).await;
    for other in [
        asked(1, "other", "one", Some("{}")),
        asked(1, "lobby", "two", Some("{}")),
        asked(1, "lobby", "one", Some("[]")),
        asked(1, "lobby", "one", None),
    ] {
        assert_eq!(rejection(&store, vec![other.clone()]).await, Rejected::ClientIdTaken);
        // No other write of its write set happens, neither before nor after it.
        let writes = vec![set("key", "1"), append(6, "new"), other, append(7, "lobby")];
        assert_eq!(rejection(&store, writes).await, Rejected::ClientIdTaken);
    }
    assert_eq!(value(&store, "key").await, None);
    assert_eq!(contents(&store, "acme", "other").await, [""; 0]);
    assert_eq!(contents(&store, "acme", "new").await, [""; 0]);
    assert_eq!(contents(&store, "acme", "lobby").await, ["message 5", "one"]);
    assert_eq!(commit(&store, vec![append(2, "other")]).await, [appended(1, 2)]);
    let again = commit(&store, vec![asked(1, "lobby", "one", Some("{}"))]).await;
    assert_eq!(again, [duplicate(2, 1)], "the same is a repetition");
}

/// The message with id `n`, appended by the event that sends it.
fn once(n: u128, to: &str) -> Write {
    Write::Append(Draft {
        reject_repeated: true,
        ..draft(n, to)
    })
}

pub(crate) async fn an_event_that_only_repeats_its_message_does_nothing(store: Subject) {
    let repeated = |seq, n| {
        Rejected::Repeated(FirstPost {
            seq,
            sent_at: NOW + n,
            username: "Ann".into(),
        })
    };
    let first = commit(&store, vec![increment("count", 1), once(1, "lobby"), append(2, "log")]).await;
    assert_eq!(first, [Written::Done, appended(1, 1), appended(1, 2)]);
    // Also within one batch, and at any place in the write set.
    let batch = vec![
        write_set("acme", vec![once(3, "lobby"), increment("count", 1)]),
        write_set("acme", vec![increment("count", 1), append(4, "log"), once(3, "lobby")]),
        write_set("acme", vec![once(1, "lobby"), increment("count", 1)]),
        write_set("globex", vec![once(1, "lobby")]),
    ];
    let outcomes = store.commit(batch).await.unwrap();
    assert_eq!(
        outcomes,
        [
            Ok(vec![appended(2, 3), Written::Done]),
            Err(repeated(2, 3)),
            Err(repeated(1, 1)),
            Ok(vec![appended(1, 1)]),
        ]
    );
    assert_eq!(value(&store, "count").await.as_deref(), Some("2"));
    assert_eq!(contents(&store, "acme", "log").await, ["message 2"]);
    assert_eq!(contents(&store, "acme", "lobby").await, ["message 1", "message 3"]);
}

pub(crate) async fn a_repetition_is_one_of_what_was_asked_for(store: Subject) {
    // The handler rewrites the message, in another way each time; the client's request stays the same.
    let rewritten = |content: &str, username: &str| {
        Write::Append(Draft {
            content: content.to_owned(),
            username: username.into(),
            ..draft(1, "lobby")
        })
    };
    commit(&store, vec![rewritten("m**** 1", "Ann")]).await;
    assert_eq!(
        commit(&store, vec![rewritten("m***** 1", "Anna")]).await,
        [duplicate(1, 1)]
    );
    let kept = store.message(&tenant("acme"), id(1)).await.unwrap().unwrap();
    assert_eq!(
        (kept.content.as_str(), &*kept.username),
        ("m**** 1", "Ann"),
        "the first message stays"
    );
    assert_eq!(kept.request(), RequestDigest::of("lobby", "message 1", None));
}

pub(crate) async fn a_client_id_raced_for_is_one_message(store: Subject) {
    // Half of the racers post to another room, so that only the id is shared.
    let racers: Vec<_> = (0..8)
        .map(|racer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let name = if racer % 2 == 0 { "even" } else { "odd" };
                let mut results = Vec::new();
                for n in 0..20 {
                    let mut tries = 0..4;
                    results.push(loop {
                        let one = write_set("acme", vec![increment("count", 1), once(n, name)]);
                        match store.commit(vec![one]).await {
                            Ok(mut results) => break results.remove(0),
                            // All wait for one row, for longer than a statement may take on a busy machine.
                            Err(crate::StoreError::Unavailable(_)) if tries.next().is_some() => {}
                            Err(error) => panic!("{error}"),
                        }
                    });
                }
                results
            })
        })
        .collect();
    let mut posted = 0;
    for racer in racers {
        for result in racer.await.unwrap() {
            match result {
                Ok(_) => posted += 1,
                Err(other) => assert!(
                    matches!(other, Rejected::Repeated(_) | Rejected::ClientIdTaken),
                    "{other}"
                ),
            }
        }
    }
    let (even, odd) = (
        contents(&store, "acme", "even").await,
        contents(&store, "acme", "odd").await,
    );
    assert_eq!((posted, even.len() + odd.len()), (20, 20));
    assert_eq!(value(&store, "count").await.as_deref(), Some("20"), "once for each");
}
