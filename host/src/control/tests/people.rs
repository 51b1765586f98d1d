//! Data of people: exports, imports and erasures.

use super::*;
use crate::control::export::Transfers;
use parlance_types::id::{TenantId, UserId};

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
