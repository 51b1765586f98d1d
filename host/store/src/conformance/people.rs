//! Rules of what is listed, forgotten and imported of a tenant's data.

use super::{ALL, NOW, Subject, append, commit, draft, id, page, read, room, set, tenant, user, write_set};
use crate::{
    Change, Imported, KvKey, Message, Place, Revise, SeqSpan, StoredKey, StoredMark, StoredReceipt, Usage, Write,
};
use parlance_types::id::TenantId;

const WHOLE: SeqSpan = SeqSpan {
    after: 0,
    up_to: u64::MAX,
};

fn revise(n: u128, by: &str, change: Change) -> Write {
    Write::Revise(Revise {
        id: id(n),
        room: room("a"),
        seq: 1,
        user: user(by),
        at: NOW + n as u64,
        change,
    })
}

fn mark(n: u128, by: &str, value: &str) -> Write {
    let kind = "reaction".to_owned();
    let value = value.to_owned();
    revise(n, by, Change::Mark { kind, value, on: true })
}

/// Four messages of Ann in room `a` and one in `b`, with changes, marks, receipts and keys.
async fn fill(store: &Subject) {
    commit(store, (1..=4).map(|n| append(n, "a")).collect()).await;
    commit(store, vec![append(5, "b")]).await;
    let text = Change::Edit {
        content: "edited".to_owned(),
        metadata: Some("{}".to_owned()),
    };
    commit(store, vec![revise(1, "ann", text), revise(2, "ann", Change::Delete)]).await;
    commit(
        store,
        vec![
            mark(3, "bob", "+1"),
            mark(3, "ann", "+1"),
            mark(3, "bob", "-1"),
            mark(4, "bob", "+1"),
        ],
    )
    .await;
    commit(
        store,
        vec![
            read(1, "bob", 1),
            read(1, "cy", 2),
            read(3, "bob", 3),
            read(5, "bob", 4),
        ],
    )
    .await;
    let due = Write::DueSet {
        key: KvKey::timer("handler", "t".to_owned()),
        value: b"later".to_vec(),
        due_at: NOW,
    };
    let expiring = Write::KvSet {
        key: super::key("expiring"),
        value: vec![0, 255],
        expires_at: Some(NOW * 2),
    };
    commit(store, vec![set("one", "1"), due, expiring]).await;
    store
        .commit(vec![write_set("other", vec![append(1, "a"), set("x", "y")])])
        .await
        .unwrap();
}

async fn marks(store: &Subject, of: &TenantId, span: SeqSpan, by: Option<&str>) -> Vec<StoredMark> {
    let by = by.map(user);
    let mut all: Vec<StoredMark> = Vec::new();
    // One at a time: each goes on after the last.
    while let [one] = &store
        .marks(of, &room("a"), span, by.as_ref(), all.last(), 1)
        .await
        .unwrap()[..]
    {
        all.push(one.clone());
    }
    all
}

async fn receipts(store: &Subject, of: &TenantId, span: SeqSpan, by: Option<&str>) -> Vec<StoredReceipt> {
    let by = by.map(user);
    let mut all: Vec<StoredReceipt> = Vec::new();
    while let [one] = &store
        .receipts(of, &room("a"), span, by.as_ref(), all.last(), 1)
        .await
        .unwrap()[..]
    {
        all.push(one.clone());
    }
    all
}

async fn keys(store: &Subject, of: &TenantId) -> Vec<StoredKey> {
    let mut all: Vec<StoredKey> = Vec::new();
    while let [one] = &store.keys(of, all.last().map(|last| &last.key), 1).await.unwrap()[..] {
        all.push(one.clone());
    }
    all
}

pub(crate) async fn all_that_a_tenant_stores_is_listed_in_order(store: Subject) {
    fill(&store).await;
    let acme = tenant("acme");
    let rooms = store.rooms(&acme, None, 1).await.unwrap();
    assert_eq!((rooms.len(), &rooms[0].room), (1, &room("a")));
    assert_eq!((rooms[0].first, rooms[0].first_sent_at), (1, Some(NOW + 1)));
    assert_eq!(rooms[0].place, Place { seq: 4, rev: 6 });
    let rooms = store.rooms(&acme, Some(&room("a")), 10).await.unwrap();
    assert_eq!(rooms.iter().map(|span| span.room.as_str()).collect::<Vec<_>>(), ["b"]);

    let found = marks(&store, &acme, WHOLE, None).await;
    let names = found
        .iter()
        .map(|mark| (mark.seq, mark.value.as_str(), mark.user.as_str(), mark.at));
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            (3, "+1", "ann", NOW + 3),
            (3, "+1", "bob", NOW + 3),
            (3, "-1", "bob", NOW + 3),
            (4, "+1", "bob", NOW + 4)
        ]
    );
    assert_eq!(marks(&store, &acme, WHOLE, Some("bob")).await.len(), 3);
    let last = SeqSpan { after: 3, up_to: 4 };
    assert_eq!(marks(&store, &acme, last, None).await.len(), 1);

    let found = receipts(&store, &acme, WHOLE, None).await;
    let names = found.iter().map(|own| (own.seq, own.user.as_str(), own.at));
    assert_eq!(names.collect::<Vec<_>>(), [(1, "bob", 1), (1, "cy", 2), (3, "bob", 3)]);
    let first = SeqSpan { after: 0, up_to: 1 };
    assert_eq!(receipts(&store, &acme, first, Some("bob")).await.len(), 1);

    let found = keys(&store, &acme).await;
    let names = found
        .iter()
        .map(|own| (own.key.key.as_str(), &own.value[..], own.expires_at, own.due_at));
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            ("expiring", &[0, 255][..], Some(NOW * 2), None),
            ("one", &b"1"[..], None, None),
            ("t", &b"later"[..], None, Some(NOW)),
        ]
    );
    assert!(keys(&store, &tenant("never-there")).await.is_empty());
}

pub(crate) async fn a_user_is_forgotten_in_a_span_of_a_room(store: Subject) {
    fill(&store).await;
    let acme = tenant("acme");
    let bob = crate::Draft {
        sender: user("bob"),
        username: "Bob".into(),
        ..draft(6, "a")
    };
    commit(&store, vec![Write::Append(bob), revise(6, "bob", Change::Delete)]).await;
    let names = async || {
        let messages = page(&store, "acme", "a", ALL).await.messages;
        let names = messages.iter().map(|message| message.username.to_string());
        (names.collect::<Vec<_>>(), messages)
    };
    // Ann's name stays with the messages that are not deleted.
    assert_eq!(
        store.forget_user(&acme, &room("a"), WHOLE, &user("ann")).await.unwrap(),
        0
    );
    let (shown, messages) = names().await;
    assert_eq!(shown, ["Ann", "ann", "Ann", "Ann", "Bob"]);
    assert_eq!(messages[1].client, None, "nor its own id");
    assert_eq!(store.message(&acme, id(2)).await.unwrap().unwrap(), messages[1]);
    let beginning = SeqSpan { after: 0, up_to: 2 };
    assert_eq!(
        store
            .forget_user(&acme, &room("a"), beginning, &user("bob"))
            .await
            .unwrap(),
        1
    );
    assert_eq!(receipts(&store, &acme, WHOLE, Some("bob")).await.len(), 1);
    assert_eq!(
        store.forget_user(&acme, &room("a"), WHOLE, &user("bob")).await.unwrap(),
        1
    );
    assert_eq!(names().await.0, ["Ann", "ann", "Ann", "Ann", "bob"]);
    assert_eq!(
        receipts(&store, &acme, WHOLE, None).await.len(),
        1,
        "those of others stay"
    );
    let elsewhere = store.receipts(&acme, &room("b"), WHOLE, None, None, 9).await.unwrap();
    assert_eq!(elsewhere.len(), 1, "nor does another room lose any");
    assert_eq!(
        store
            .forget_user(&acme, &room("nowhere"), WHOLE, &user("bob"))
            .await
            .unwrap(),
        0
    );
    store.finish_removal().await.unwrap();
}

/// All of a tenant's data as pieces.
async fn pieces(store: &Subject, of: &TenantId) -> Vec<Imported> {
    let mut pieces = Vec::new();
    for span in store.rooms(of, None, 100).await.unwrap() {
        let name = span.room.clone();
        pieces.push(Imported::Room {
            room: name.clone(),
            removed_up_to: span.first - 1,
            place: span.place,
        });
        let page = store.history(of, &name, ALL).await.unwrap();
        let without_marks = |mut message: Message| {
            message.revision.iter_mut().for_each(|revision| revision.marks.clear());
            Imported::Message(Box::new(message))
        };
        pieces.extend(page.messages.into_iter().map(without_marks));
        let marks = store.marks(of, &name, WHOLE, None, None, 100).await.unwrap();
        pieces.extend(marks.into_iter().map(|mark| Imported::Mark(name.clone(), mark)));
        let receipts = store.receipts(of, &name, WHOLE, None, None, 100).await.unwrap();
        pieces.extend(
            receipts
                .into_iter()
                .map(|receipt| Imported::Receipt(name.clone(), receipt)),
        );
    }
    pieces.extend(keys(store, of).await.into_iter().map(Imported::Key));
    pieces
}

pub(crate) async fn what_was_listed_can_be_imported_under_another_tenant(store: Subject) {
    fill(&store).await;
    let (acme, copy) = (tenant("acme"), tenant("copy"));
    let expired = crate::Expired {
        up_to: 1,
        sent_before: 0,
    };
    store.remove_messages(&acme, &room("a"), expired, 10).await.unwrap();
    // SQLite removes merged messages only, and merges first.
    while store.rooms(&acme, None, 1).await.unwrap()[0].first == 1 {
        store.remove_messages(&acme, &room("a"), expired, 10).await.unwrap();
    }
    let all = pieces(&store, &acme).await;
    assert!(store.import(&copy, all.clone()).await.unwrap());
    assert_eq!(pieces(&store, &copy).await, all);
    let usage = store.usage(&acme).await.unwrap();
    assert_ne!(usage, Usage::default());
    assert_eq!(store.usage(&copy).await.unwrap(), usage);
    assert_eq!(
        page(&store, "copy", "a", ALL).await,
        page(&store, "acme", "a", ALL).await,
        "with marks"
    );
    // The copy goes on from there, and knows its ids.
    let again = store
        .commit(vec![write_set("copy", vec![append(4, "a"), append(9, "a")])])
        .await;
    assert_eq!(
        again.unwrap().remove(0).unwrap(),
        [super::duplicate(4, 4), super::appended(5, 9)]
    );
    assert_eq!(store.place(&copy, &room("a")).await.unwrap(), Place { seq: 5, rev: 6 });
}

pub(crate) async fn an_import_is_stored_whole_or_not_at_all(store: Subject) {
    fill(&store).await;
    let (acme, copy) = (tenant("acme"), tenant("copy"));
    let all = pieces(&store, &acme).await;
    let (room_of, rest) = all.split_first().unwrap();
    assert!(
        !store.import(&copy, rest.to_vec()).await.unwrap(),
        "there is no such room"
    );
    assert!(store.rooms(&copy, None, 10).await.unwrap().is_empty());
    assert_eq!(store.usage(&copy).await.unwrap(), Usage::default());
    assert!(
        store
            .import(&copy, vec![room_of.clone(), rest[0].clone()])
            .await
            .unwrap()
    );
    let usage = store.usage(&copy).await.unwrap();
    assert!(!store.import(&copy, all).await.unwrap(), "the message is there");
    assert_eq!(page(&store, "copy", "a", ALL).await.messages.len(), 1);
    assert!(keys(&store, &copy).await.is_empty());
    assert_eq!(store.usage(&copy).await.unwrap(), usage);
    // What a failed import has left in memory misleads no later write.
    let next = store
        .commit(vec![write_set("copy", vec![append(50, "a")])])
        .await
        .unwrap();
    assert!(next[0].is_ok());
}
