//! Data of people: exports, imports and erasures.

use super::*;
use crate::control::export::Transfers;
use futures_util::StreamExt as _;
use parlance_store::{Imported, KvKey, Maintenance as _, StoredKey};
use parlance_types::id::{TenantId, UserId};

impl Node {
    /// The lines of an export of the tenant.
    async fn export(&self) -> String {
        let mut pages = self.control.export(&self.actor, "acme", None).await.unwrap();
        let mut export = Vec::new();
        while let Some(page) = pages.recv().await {
            export.extend(page.unwrap());
        }
        String::from_utf8(export).unwrap()
    }
}

#[tokio::test]
async fn an_erasure_knows_the_keys_of_handlers_that_are_not_loaded_yet() {
    let node = Node::with_acme().await;
    let mut handler = document(1);
    handler.versions[0].settings = [("user_keys".to_owned(), "warnings/{user}".to_owned())].into();
    node.decide_elsewhere(RecordKind::Handler, "h", &handler).await;
    node.control.read_catalog().await.unwrap();
    let tenant = node.acme().await;
    let is_loaded = tenant.routes().handlers().any(|handler| &*handler.info().name == "h");
    assert!(!is_loaded);
    let keys = node.control.user_keys(&tenant, &UserId::new("ann").unwrap()).await;
    let keys: Vec<_> = keys
        .unwrap()
        .into_iter()
        .map(|keys| (keys.handler.to_string(), keys.key))
        .collect();
    assert_eq!(keys, [("h".to_owned(), "warnings/ann".to_owned())]);
}

#[test]
fn a_node_has_one_transfer_of_a_tenant_and_those_of_four() {
    let transfers = Transfers::default();
    let permit = |name: &str| transfers.permit(&TenantId::for_tests(name).unwrap());
    let acme = permit("acme").unwrap();
    let why = permit("acme").err().unwrap().to_string();
    assert!(why.contains("of this tenant"), "{why}");
    let _others = ["b", "c", "d"].map(|name| permit(name).unwrap());
    let why = permit("e").err().unwrap().to_string();
    assert!(why.contains("4 tenants"), "{why}");
    drop(acme);
    permit("acme").unwrap();
}

#[tokio::test]
async fn an_import_ends_when_its_tenant_is_deleted_and_leaves_the_next_one_of_its_name_alone() {
    let node = Node::with_acme().await;
    for n in 0..250 {
        let body = json!({ "bot": "Bot", "content": format!("message {n}") });
        let request = serde_json::from_value(body).unwrap();
        node.control.post_message("acme", "lobby", request).await.unwrap();
    }
    let (control, actor) = (&node.control, &node.actor);
    let export = node.export().await;
    let (lines, received) = tokio::sync::mpsc::unbounded_channel();
    let received = futures_util::stream::unfold(
        received,
        async |mut received: tokio::sync::mpsc::UnboundedReceiver<_>| Some((received.recv().await?, received)),
    );
    node.create("globex").await.unwrap();
    let import = {
        let (control, actor) = (control.clone(), actor.clone());
        tokio::spawn(async move { control.import(&actor, "globex", Box::pin(received.fuse())).await })
    };
    let mut left = export.lines().map(|line| Ok(line.to_owned()));
    for line in left.by_ref().take(220) {
        lines.send(line).unwrap();
    }
    let globex = TenantId::for_tests("globex").unwrap();
    let usage = async || node.store.usage(&globex).await.unwrap();
    while usage().await.message_bytes == 0 {
        tokio::task::yield_now().await;
    }
    let stored = usage().await;
    control.delete_tenant(actor, "globex", false).await.unwrap();
    while node.create("globex").await.is_err() {
        tokio::task::yield_now().await;
    }
    for line in left {
        lines.send(line).unwrap();
    }
    drop(lines);
    let why = import.await.unwrap().unwrap_err().to_string();
    assert!(why.contains("was deleted meanwhile"), "{why}");
    assert_eq!(usage().await, stored, "what the next tenant of this name has stays");
}

#[tokio::test]
async fn an_import_begins_beside_no_other_and_leaves_nothing_but_what_it_imports() {
    let node = Node::with_acme().await;
    let (control, actor) = (&node.control, &node.actor);
    let export = node.export().await;
    let import = |lines: &str| {
        let lines: Vec<_> = lines.lines().map(|line| Ok(line.to_owned())).collect();
        control.import(actor, "acme", futures_util::stream::iter(lines))
    };
    let acme = TenantId::for_tests("acme").unwrap();
    let keys = async || node.store.keys(&acme, None, 10).await.unwrap();
    for lines in [&export, "wrong"] {
        assert_eq!(import(lines).await.is_ok(), lines != "wrong");
        assert_eq!(keys().await, []);
    }
    let marker = StoredKey {
        key: KvKey::import(),
        value: Vec::new(),
        expires_at: None,
        due_at: None,
    };
    assert!(node.store.import(&acme, vec![Imported::Key(marker)]).await.unwrap());
    let why = import(&export).await.unwrap_err().to_string();
    assert!(why.contains("an import that is under way"), "{why}");
    assert_eq!(keys().await.len(), 1, "the other one's");
}
