//! The data API: what back ends post, change and read.

use super::*;
use crate::control::api::{DeleteMessageQuery, EditMessageRequest, MessageView, PostMessageRequest};
use parlance_store::{Reader as _, Usage};
use parlance_types::id::RoomId;

fn request(body: Value) -> PostMessageRequest {
    serde_json::from_str(&body.to_string()).unwrap()
}

fn edit(body: Value) -> EditMessageRequest {
    serde_json::from_str(&body.to_string()).unwrap()
}

fn query(body: Value) -> DeleteMessageQuery {
    serde_json::from_value(body).unwrap()
}

impl Node {
    async fn post(&self, room: &str, body: Value) -> ControlResult<(MessageView, bool)> {
        self.control.post_message("acme", room, request(body)).await
    }

    async fn posted(&self, room: &str, body: Value) -> MessageView {
        let (message, is_new) = self.post(room, body).await.unwrap();
        assert!(is_new);
        message
    }

    async fn code(&self, room: &str, body: Value) -> &'static str {
        self.post(room, body).await.unwrap_err().code()
    }

    async fn page(&self, room: &str, page: MessagePage) -> (Vec<u64>, bool) {
        let page = self.control.messages("acme", room, page).await.unwrap();
        (page.messages.iter().map(|message| message.seq).collect(), page.complete)
    }

    async fn set(&self, tables: Value) {
        let mut configuration = configuration();
        let (all, tables) = (configuration.as_object_mut().unwrap(), tables);
        all.extend(tables.as_object().unwrap().clone());
        let set = self
            .control
            .replace_tenant(&self.actor, "acme", configuration, None)
            .await;
        set.unwrap();
    }
}

#[tokio::test]
async fn a_message_is_posted_as_a_bot_or_on_behalf_of_a_user() {
    let node = Node::with_acme().await;
    let bot = node
        .posted(
            "lobby",
            json!({ "bot": "Deploy Bot", "content": "v7", "metadata": {"n": [1.50, null]} }),
        )
        .await;
    assert_eq!(
        (bot.seq, &*bot.user_id, &*bot.username),
        (1, "bot:Deploy Bot", "Deploy Bot")
    );
    assert_eq!(bot.metadata.as_ref().unwrap().get(), r#"{"n":[1.5,null]}"#);
    assert_eq!(
        (bot.rev, bot.client_id.as_deref(), &*bot.room_id),
        (None, None, "lobby")
    );
    let ann = node
        .posted(
            "lobby",
            json!({ "userId": "ann", "username": "Ann\u{202e}", "content": "hi", "metadata": null }),
        )
        .await;
    assert_eq!((ann.seq, &*ann.user_id, &*ann.username), (2, "ann", "Ann\u{fffd}"));
    assert!(ann.metadata.is_none() && ann.sent_at >= bot.sent_at);
    let nameless = node.posted("lobby", json!({ "userId": "bob", "content": "hi" })).await;
    assert_eq!(&*nameless.username, "bob");
    for message in [&bot, &ann] {
        let read = node.control.message("acme", &message.id).await.unwrap();
        assert_eq!(format!("{read:?}"), format!("{message:?}"));
    }
    let audit = node.control.audit(Some("acme"), None, 500).await.unwrap();
    assert!(
        audit.iter().all(|entry| entry.action.starts_with("tenant.")),
        "{audit:?}"
    );
}

#[tokio::test]
async fn a_client_id_posts_once_for_each_sender() {
    let node = Node::with_acme().await;
    let body = json!({ "bot": "b", "content": "once", "metadata": {"a": 1}, "clientId": "c" });
    let first = node.posted("lobby", body.clone()).await;
    let (again, is_new) = node.post("lobby", body.clone()).await.unwrap();
    assert_eq!((format!("{again:?}"), is_new), (format!("{first:?}"), false));
    for (room, key, value) in [
        ("other", "content", json!("once")),
        ("lobby", "content", json!("twice")),
        ("lobby", "metadata", json!({"a": 2})),
        ("lobby", "metadata", Value::Null),
    ] {
        let mut other = body.clone();
        other[key] = value;
        assert_eq!(node.code(room, other).await, "conflict");
    }
    let user = json!({ "userId": "b", "content": "another sender", "clientId": "c" });
    assert_eq!(node.posted("lobby", user).await.seq, 2);
    // At the same moment, and after a change of the message.
    let raced = json!({ "bot": "b", "content": "raced", "clientId": "raced" });
    let both = tokio::join!(node.post("lobby", raced.clone()), node.post("lobby", raced.clone()));
    let (one, two) = (both.0.unwrap(), both.1.unwrap());
    assert_eq!(format!("{:?}", one.0), format!("{:?}", two.0));
    assert!(one.1 != two.1, "one of them has posted it");
    node.control
        .delete_message("acme", &one.0.id, &query(json!({})))
        .await
        .unwrap();
    let (deleted, _) = node.post("lobby", raced).await.unwrap();
    assert_eq!((deleted.seq, &*deleted.content, deleted.rev), (3, "", Some(1)));
}

#[tokio::test]
async fn posts_are_held_to_the_limits_of_clients() {
    let node = Node::with_acme().await;
    node.set(json!({ "limits": { "content": 8, "metadata": 8, "room_id": 4, "client_id": 4, "json_depth": 4 } }))
        .await;
    let deep = json!([[[[[1]]]]]);
    for (room, body, code) in [
        ("a", json!({ "bot": "b", "content": "" }), "invalid"),
        ("a", json!({ "bot": "b", "content": "123456789" }), "too-large"),
        (
            "a",
            json!({ "bot": "b", "content": "c", "metadata": "1234567" }),
            "too-large",
        ),
        (
            "a",
            json!({ "bot": "b", "content": "c", "clientId": "12345" }),
            "too-large",
        ),
        ("a", json!({ "bot": "b", "content": "c", "clientId": "" }), "invalid"),
        ("a", json!({ "bot": "b", "content": "c", "clientId": "a\n" }), "invalid"),
        ("12345", json!({ "bot": "b", "content": "c" }), "invalid"),
        ("a\u{7}", json!({ "bot": "b", "content": "c" }), "invalid"),
        ("a", json!({ "content": "c" }), "invalid"),
        ("a", json!({ "bot": "b", "userId": "u", "content": "c" }), "invalid"),
        ("a", json!({ "bot": "b", "username": "u", "content": "c" }), "invalid"),
        ("a", json!({ "bot": "", "content": "c" }), "invalid"),
        ("a", json!({ "bot": "\u{200b}", "content": "c" }), "invalid"),
        ("a", json!({ "bot": "b".repeat(125), "content": "c" }), "invalid"),
        ("a", json!({ "userId": "bot:b", "content": "c" }), "invalid"),
        (
            "a",
            json!({ "userId": "u", "username": " ", "content": "c" }),
            "invalid",
        ),
    ] {
        assert_eq!(node.code(room, body.clone()).await, code, "{body}");
    }
    node.set(json!({ "limits": { "json_depth": 4 } })).await;
    assert_eq!(
        node.code("a", json!({ "bot": "b", "content": "c", "metadata": deep }))
            .await,
        "invalid"
    );
    assert_eq!(
        node.control.usage("acme").await.unwrap().rooms.used,
        0,
        "nothing was posted"
    );
}

#[tokio::test]
async fn a_message_is_edited_and_deleted_by_its_sender_or_by_who_is_named() {
    let node = Node::with_acme().await;
    let message = node
        .posted("lobby", json!({ "userId": "ann", "content": "a", "metadata": 1 }))
        .await;
    let change = |body| node.control.edit_message("acme", &message.id, edit(body));
    let edited = change(json!({ "content": "b", "bot": "janitor" })).await.unwrap();
    assert_eq!((&*edited.content, edited.rev, &*edited.user_id), ("b", Some(1), "ann"));
    assert!(edited.metadata.is_none() && edited.edited_at.is_some() && edited.deleted_at.is_none());
    let edited = change(json!({ "content": "c", "metadata": {} })).await.unwrap();
    assert_eq!((edited.rev, edited.metadata.unwrap().get()), (Some(2), "{}"));
    for wrong in [
        json!({ "content": "" }),
        json!({ "content": "c", "bot": "b", "userId": "u" }),
        json!({ "content": "c", "userId": "bot:b" }),
    ] {
        assert_eq!(change(wrong).await.unwrap_err().code(), "invalid");
    }
    let deleted = node
        .control
        .delete_message("acme", &message.id, &query(json!({ "userId": "moderator" })))
        .await
        .unwrap();
    assert_eq!((&*deleted.content, deleted.rev, deleted.seq), ("", Some(3), 1));
    let again = node
        .control
        .delete_message("acme", &message.id, &query(json!({})))
        .await;
    assert_eq!(
        format!("{:?}", again.unwrap()),
        format!("{deleted:?}"),
        "it stays as it is"
    );
    assert_eq!(change(json!({ "content": "d" })).await.unwrap_err().code(), "not-found");
    for id in ["01ARZ3NDEKTSV4RRFFQ69G5FAV", "nonsense"] {
        let control = &node.control;
        let edited = control.edit_message("acme", id, edit(json!({ "content": "d" }))).await;
        let deleted = control.delete_message("acme", id, &query(json!({}))).await;
        for failed in [edited, deleted, control.message("acme", id).await] {
            assert_eq!(failed.unwrap_err().code(), "not-found");
        }
    }
}

#[tokio::test]
async fn a_room_is_read_page_by_page_and_so_are_rooms() {
    let node = Node::with_acme().await;
    node.set(json!({ "limits": { "history_page": 2, "history_page_max": 3 } }))
        .await;
    for (room, count) in [("b", 5), ("a", 1), ("ä", 1), ("c", 2)] {
        for n in 0..count {
            node.posted(room, json!({ "bot": "b", "content": n.to_string() })).await;
        }
    }
    let page = |after, before, limit| MessagePage { after, before, limit };
    assert_eq!(node.page("b", page(None, None, None)).await, (vec![4, 5], false));
    assert_eq!(
        node.page("b", page(None, Some(4), Some(9))).await,
        (vec![1, 2, 3], true)
    );
    assert_eq!(
        node.page("b", page(Some(0), None, Some(u64::MAX))).await,
        (vec![1, 2, 3], false)
    );
    assert_eq!(node.page("b", page(Some(3), None, Some(3))).await, (vec![4, 5], true));
    assert_eq!(node.page("b", page(Some(1), Some(3), None)).await, (vec![2], true));
    assert_eq!(node.page("nowhere", page(None, None, None)).await, (vec![], true));
    let none = node.control.messages("acme", "b", page(None, None, Some(0))).await;
    assert_eq!(none.unwrap_err().code(), "invalid");

    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let list = node
            .control
            .rooms("acme", &RoomPage { after, limit: None })
            .await
            .unwrap();
        assert!(list.rooms.len() <= 2);
        seen.extend(list.rooms.into_iter().map(|room| (room.room_id, room.last_seq)));
        after = list.next;
        if after.is_none() {
            break;
        }
    }
    let expected = [("a", 1), ("b", 5), ("c", 2), ("ä", 1)].map(|(room, seq)| (room.to_owned(), seq));
    assert_eq!(seen, expected);
    let wrong = RoomPage {
        after: Some("\u{7}".to_owned()),
        limit: None,
    };
    assert_eq!(node.control.rooms("acme", &wrong).await.unwrap_err().code(), "invalid");
}

#[tokio::test]
async fn the_tenants_budgets_quotas_and_state_count() {
    let node = Node::with_acme().await;
    let post = |content: &str| node.post("lobby", json!({ "bot": "b", "content": content }));
    assert_eq!(post_elsewhere(&node).await, "not-found");
    node.set(json!({ "quota": { "message_bytes": 1024 } })).await;
    let full = post(&"x".repeat(1000)).await.unwrap_err();
    assert_eq!(full.code(), "quota-exceeded");
    assert!(
        matches!(
            full,
            ControlError::QuotaExceeded {
                retry_after_ms: 60_000,
                ..
            }
        ),
        "{full:?}"
    );
    let usage: Usage = {
        use parlance_store::Maintenance as _;
        node.store.usage(node.acme().await.id()).await.unwrap()
    };
    assert_eq!(usage.message_bytes, 0);

    node.set(json!({ "quota": { "events_per_second": 1, "event_burst": 2 } }))
        .await;
    let first = post("one").await.unwrap().0;
    node.control.message("acme", &first.id).await.unwrap();
    let limited = post("two").await.unwrap_err();
    assert!(
        matches!(
            limited,
            ControlError::Limited {
                retry_after_ms: 1..=1000,
                ..
            }
        ),
        "{limited:?}"
    );
    let rooms = node.control.rooms("acme", &RoomPage::default()).await.unwrap_err();
    assert_eq!(rooms.code(), "rate-limited");
    let acme = node.acme().await;
    let lobby = RoomId::new("lobby").unwrap();
    assert_eq!(node.store.place(acme.id(), &lobby).await.unwrap().seq, 1);
    assert!(
        acme.reserve_queued_bytes(acme.settings().limits.quota.queued_bytes),
        "all bytes were given back"
    );

    node.set(json!({})).await;
    node.control.set_suspended(&node.actor, "acme", true).await.unwrap();
    assert_eq!(post("three").await.unwrap_err().code(), "conflict");
    assert_eq!(
        node.page("lobby", MessagePage::default()).await,
        (vec![1], true),
        "it can be read"
    );
}

async fn post_elsewhere(node: &Node) -> &'static str {
    let body = request(json!({ "bot": "b", "content": "c" }));
    node.control
        .post_message("nobody", "lobby", body)
        .await
        .unwrap_err()
        .code()
}

#[tokio::test]
async fn nothing_is_written_once_the_server_stops() {
    let node = Node::with_acme().await;
    node.control
        .deps
        .server
        .services()
        .shutting_down
        .store(true, Ordering::Relaxed);
    assert_eq!(
        node.code("lobby", json!({ "bot": "b", "content": "c" })).await,
        "unavailable"
    );
}
