//! Rules of listing a tenant's rooms.

use super::{Subject, append, commit, id, rejected, room, tenant, user, write_set};
use crate::{Change, Place, Revise, RoomList, Write};

async fn list(store: &Subject, of: &str, after: Option<&str>, limit: u32) -> RoomList {
    let after = after.map(room);
    store.rooms_of(&tenant(of), after.as_ref(), limit).await.unwrap()
}

fn listed(rooms: &[(&str, u64, u64)]) -> Vec<(crate::RoomId, Place)> {
    let place = |(name, seq, rev): &(&str, u64, u64)| (room(name), Place { seq: *seq, rev: *rev });
    rooms.iter().map(place).collect()
}

pub(crate) async fn rooms_come_page_by_page_with_how_far_each_has_come(store: Subject) {
    assert_eq!(list(&store, "acme", None, 10).await, RoomList::default());
    // In the order of their bytes: neither that of a language nor that in which they were made.
    let names = ["é", "b", "a b", "Z", "a", "日本", "_"];
    let mut n = 0;
    for (at, name) in names.iter().enumerate() {
        for _ in 0..=at {
            n += 1;
            commit(&store, vec![append(n, name)]).await;
        }
    }
    store
        .commit(vec![write_set("other", vec![append(1, "aa")])])
        .await
        .unwrap();
    // The second message of `b`.
    let edit = Revise {
        id: id(3),
        room: room("b"),
        seq: 2,
        user: user("ann"),
        at: 1,
        change: Change::Delete,
    };
    commit(&store, vec![Write::Revise(edit)]).await;
    let all = [
        ("Z", 4, 0),
        ("_", 7, 0),
        ("a", 5, 0),
        ("a b", 3, 0),
        ("b", 2, 1),
        ("é", 1, 0),
        ("日本", 6, 0),
    ];
    for limit in [7, 8, u32::MAX] {
        let page = list(&store, "acme", None, limit).await;
        assert_eq!((page.rooms, page.next), (listed(&all), None), "{limit}");
    }
    for limit in 1..=6 {
        let mut rest = &all[..];
        let mut after = None;
        loop {
            let page = list(&store, "acme", after.as_deref(), limit).await;
            let (here, later) = rest.split_at(rest.len().min(limit as usize));
            assert_eq!(page.rooms, listed(here), "{limit} after {after:?}");
            rest = later;
            let Some(next) = page.next else { break };
            after = Some(next.as_str().to_owned());
        }
        assert!(rest.is_empty(), "{limit}");
    }
    assert_eq!(list(&store, "acme", Some("c"), 1).await.rooms, listed(&[("é", 1, 0)]));
    assert_eq!(list(&store, "other", None, 10).await.rooms, listed(&[("aa", 1, 0)]));
    assert_eq!(list(&store, "nobody", None, 10).await, RoomList::default());
}

pub(crate) async fn a_room_without_a_message_is_not_listed(store: Subject) {
    store
        .commit(vec![rejected("acme", vec![append(1, "empty")])])
        .await
        .unwrap();
    assert_eq!(list(&store, "acme", None, 10).await, RoomList::default());
    commit(&store, vec![append(2, "full")]).await;
    assert_eq!(list(&store, "acme", None, 10).await.rooms, listed(&[("full", 1, 0)]));
    store.delete_data(&tenant("acme")).await.unwrap();
    assert_eq!(list(&store, "acme", None, 10).await, RoomList::default());
}
