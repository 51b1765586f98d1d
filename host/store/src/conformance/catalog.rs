//! Rules of the catalog.

use std::sync::Arc;

use crate::catalog::{AuditEntry, Catalog, Component, Conflict, Put, Record, RecordKey, RecordKind};

type Subject = Arc<dyn Catalog>;

fn key(kind: RecordKind, tenant: &str, name: &str) -> RecordKey {
    RecordKey {
        kind,
        tenant: tenant.to_owned(),
        name: name.to_owned(),
    }
}

fn handler(name: &str) -> RecordKey {
    key(RecordKind::Handler, "acme", name)
}

fn put(key: RecordKey, document: Option<&str>, expect: Option<u64>) -> Put {
    Put {
        key,
        document: document.map(str::to_owned),
        expect,
        component: None,
    }
}

/// A document of a handler that names a component, and the component.
fn named(tenant: &str, name: &str, byte: u8, bytes: &[u8]) -> Put {
    let sha256 = [byte; 32];
    Put {
        component: Some(Component {
            sha256,
            bytes: bytes.to_vec(),
        }),
        ..put(key(RecordKind::Handler, tenant, name), Some(&naming(byte)), None)
    }
}

fn naming(byte: u8) -> String {
    format!("{{\"versions\":[{{\"sha256\":\"{}\"}}]}}", hex(byte))
}

fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

async fn is_stored(catalog: &Subject, tenant: &str, byte: u8) -> bool {
    catalog.component(tenant, [byte; 32]).await.unwrap().is_some()
}

fn record(key: RecordKey, document: Option<&str>, revision: u64) -> Record {
    Record {
        key,
        document: document.map(str::to_owned),
        revision,
    }
}

fn entry(tenant: &str, action: &str) -> AuditEntry {
    AuditEntry {
        id: 0,
        at_ms: u64::MAX,
        actor: "ops".to_owned(),
        tenant: tenant.to_owned(),
        action: action.to_owned(),
        detail: r#"{"a":"é\u0000"}"#.to_owned(),
    }
}

async fn must(catalog: &Subject, puts: Vec<Put>) -> u64 {
    catalog.put(puts, vec![]).await.unwrap().unwrap()
}

pub(crate) async fn an_empty_catalog_has_no_revision(catalog: Subject) {
    assert_eq!(catalog.revision().await.unwrap(), 0);
    assert_eq!(catalog.changes(0).await.unwrap(), []);
    assert_eq!(catalog.audit(None, None, 10).await.unwrap(), []);
    assert_eq!(must(&catalog, vec![]).await, 0, "nothing to change is no change");
    assert_eq!(catalog.revision().await.unwrap(), 0);
}

pub(crate) async fn a_document_is_read_back_as_it_was_put(catalog: Subject) {
    let long = format!("{{\"text\":\"{}\"}}", "é👋\\u0000'; --".repeat(20_000));
    let puts = RecordKind::ALL.map(|kind| put(key(kind, "acme", ""), Some(&long), None));
    assert_eq!(must(&catalog, puts.to_vec()).await, 3);
    assert_eq!(must(&catalog, vec![put(handler(""), Some("{}"), None)]).await, 4);
    let expected = [
        record(key(RecordKind::Tenant, "acme", ""), Some(&long), 1),
        record(key(RecordKind::Revocation, "acme", ""), Some(&long), 3),
        record(handler(""), Some("{}"), 4),
    ];
    assert_eq!(catalog.changes(0).await.unwrap(), expected, "by revision, each once");
    assert_eq!(catalog.changes(3).await.unwrap(), expected[2..]);
    assert_eq!(catalog.changes(4).await.unwrap(), []);
    assert_eq!(catalog.revision().await.unwrap(), 4);
}

pub(crate) async fn a_put_checks_the_expected_revision(catalog: Subject) {
    let conflict = Err(Conflict { key: handler("h") });
    let attempt = async |document, expect| {
        let puts = vec![put(handler("h"), document, expect)];
        catalog.put(puts, vec![]).await.unwrap()
    };
    assert_eq!(attempt(Some("{}"), Some(1)).await, conflict, "it is not there");
    assert_eq!(attempt(Some("{}"), Some(0)).await, Ok(1));
    assert_eq!(attempt(Some("{}"), Some(0)).await, conflict, "it is there now");
    assert_eq!(attempt(Some("[1]"), Some(1)).await, Ok(2));
    assert_eq!(attempt(Some("[2]"), Some(1)).await, conflict, "stale");
    assert_eq!(attempt(Some("[2]"), Some(3)).await, conflict, "ahead");
    assert_eq!(attempt(Some("[3]"), None).await, Ok(3), "whatever is there");
    assert_eq!(attempt(None, Some(2)).await, conflict, "a removal expects too");
    assert_eq!(
        catalog.changes(0).await.unwrap(),
        [record(handler("h"), Some("[3]"), 3)],
        "a conflict leaves no trace"
    );
}

pub(crate) async fn a_deleted_document_leaves_a_tombstone(catalog: Subject) {
    must(&catalog, vec![put(handler("h"), Some("{}"), None)]).await;
    assert_eq!(must(&catalog, vec![put(handler("h"), None, Some(1))]).await, 2);
    let gone = [record(handler("h"), None, 2)];
    assert_eq!(catalog.changes(1).await.unwrap(), gone);
    let all = catalog.changes(0).await.unwrap();
    assert!(all.iter().all(|record| record.document.is_none()), "{all:?}");
    let stale = vec![put(handler("h"), Some("{}"), Some(2))];
    assert!(
        catalog.put(stale, vec![]).await.unwrap().is_err(),
        "what was removed has no revision to expect"
    );
    assert_eq!(
        must(&catalog, vec![put(handler("h"), Some("[]"), Some(0))]).await,
        3,
        "it can be made again"
    );
}

pub(crate) async fn changes_of_one_put_are_all_made_or_none(catalog: Subject) {
    must(&catalog, vec![put(handler("a"), Some("1"), None)]).await;
    let puts = vec![
        put(handler("b"), Some("2"), Some(0)),
        put(handler("a"), Some("2"), Some(9)),
        put(handler("c"), Some("2"), Some(0)),
    ];
    let answer = catalog.put(puts, vec![entry("acme", "x")]).await.unwrap();
    assert_eq!(answer, Err(Conflict { key: handler("a") }));
    assert_eq!(catalog.changes(0).await.unwrap(), [record(handler("a"), Some("1"), 1)]);
    assert_eq!(catalog.audit(None, None, 10).await.unwrap(), []);
    let twice = vec![
        put(handler("a"), Some("2"), Some(1)),
        put(handler("a"), Some("3"), Some(2)),
    ];
    assert_eq!(must(&catalog, twice).await, 3, "a put sees those before it");
    assert_eq!(catalog.changes(0).await.unwrap(), [record(handler("a"), Some("3"), 3)]);
}

pub(crate) async fn revisions_only_grow_when_puts_race(catalog: Subject) {
    let racers: Vec<_> = (0..6)
        .map(|racer| {
            let catalog = catalog.clone();
            tokio::spawn(async move {
                for n in 0..10 {
                    must(
                        &catalog,
                        vec![put(handler(&format!("{racer}-{n}")), Some("{}"), Some(0))],
                    )
                    .await;
                }
            })
        })
        .collect();
    // A follower that asks for the changes after the last one it knows misses none.
    let mut seen = Vec::new();
    while seen.len() < 60 {
        let last = seen.last().copied().unwrap_or(0);
        seen.extend(
            catalog
                .changes(last)
                .await
                .unwrap()
                .iter()
                .map(|record| record.revision),
        );
        tokio::task::yield_now().await;
    }
    assert_eq!(seen, (1..=60).collect::<Vec<_>>());
    for racer in racers {
        racer.await.unwrap();
    }
    assert_eq!(catalog.revision().await.unwrap(), 60);
}

pub(crate) async fn of_rivals_with_one_expectation_one_wins(catalog: Subject) {
    must(&catalog, vec![put(handler("h"), Some("0"), None)]).await;
    let rivals: Vec<_> = (0..6)
        .map(|n| {
            let catalog = catalog.clone();
            let puts = vec![put(handler("h"), Some(&format!("[{n}]")), Some(1))];
            tokio::spawn(async move { catalog.put(puts, vec![entry("acme", "h")]).await.unwrap().is_ok() })
        })
        .collect();
    let mut winners = 0;
    for rival in rivals {
        winners += usize::from(rival.await.unwrap());
    }
    assert_eq!(winners, 1);
    assert_eq!(catalog.revision().await.unwrap(), 2);
    assert_eq!(catalog.audit(None, None, 10).await.unwrap().len(), 1);
}

pub(crate) async fn parts_of_a_key_do_not_run_together(catalog: Subject) {
    let keys = [("a", "b:c"), ("a:b", "c"), ("ab", ":c"), ("A", "b:c"), ("a", "")];
    let keys = keys.map(|(tenant, name)| key(RecordKind::Handler, tenant, name));
    for (n, key) in keys.iter().enumerate() {
        must(&catalog, vec![put(key.clone(), Some(&n.to_string()), Some(0))]).await;
    }
    let found: Vec<RecordKey> = catalog
        .changes(0)
        .await
        .unwrap()
        .into_iter()
        .map(|record| record.key)
        .collect();
    assert_eq!(found, keys);
}

pub(crate) async fn components_are_stored_by_tenant_and_hash(catalog: Subject) {
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    assert!(!is_stored(&catalog, "acme", 0xab).await);
    must(&catalog, vec![named("acme", "h", 0xab, &bytes)]).await;
    must(&catalog, vec![named("acme", "h", 0xab, b"")]).await;
    assert_eq!(
        catalog.component("acme", [0xab; 32]).await.unwrap().as_ref(),
        Some(&bytes),
        "the first stays"
    );
    assert!(!is_stored(&catalog, "acme", 0xac).await);
    assert!(!is_stored(&catalog, "globex", 0xab).await, "it is the tenant's");
}

pub(crate) async fn a_component_goes_with_the_last_document_that_names_it(catalog: Subject) {
    for tenant in ["acme", "globex"] {
        must(&catalog, vec![named(tenant, "one", 0xab, b"x")]).await;
    }
    must(&catalog, vec![put(handler("two"), Some(&naming(0xab)), None)]).await;
    must(&catalog, vec![named("acme", "one", 0xcd, b"y")]).await;
    assert!(is_stored(&catalog, "acme", 0xab).await, "another handler names it");
    must(&catalog, vec![put(handler("two"), None, None)]).await;
    assert!(!is_stored(&catalog, "acme", 0xab).await);
    assert!(is_stored(&catalog, "acme", 0xcd).await);
    must(&catalog, vec![put(handler("one"), Some("{}"), None)]).await;
    assert!(
        !is_stored(&catalog, "acme", 0xcd).await,
        "the document exists and names no component"
    );
    assert!(is_stored(&catalog, "globex", 0xab).await, "another tenant's stays");
    assert_eq!(catalog.collect_garbage().await.unwrap(), 0, "nothing is left over");
    assert!(
        is_stored(&catalog, "globex", 0xab).await,
        "and a component that is named stays"
    );
}

pub(crate) async fn a_hash_in_a_setting_keeps_no_component(catalog: Subject) {
    must(&catalog, vec![named("acme", "h", 0xab, b"x")]).await;
    let hash = hex(0xab);
    let settings = format!("{{\"sha256\":\"{hash}\",\"nul\":\"\\u0000\"}}");
    let other = hex(0xcd);
    let document =
        format!("{{\"versions\":[{{\"sha256\":\"{other}\",\"settings\":{settings}}}],\"sha256\":\"{hash}\"}}");
    must(&catalog, vec![put(handler("h"), Some(&document), None)]).await;
    assert!(!is_stored(&catalog, "acme", 0xab).await);
}

pub(crate) async fn a_component_of_a_rejected_change_is_not_stored(catalog: Subject) {
    let late = Put {
        expect: Some(9),
        ..named("acme", "h", 0xab, b"x")
    };
    assert!(catalog.put(vec![late], vec![]).await.unwrap().is_err());
    assert!(!is_stored(&catalog, "acme", 0xab).await);
    let puts = vec![named("acme", "h", 0xab, b"x"), put(handler("other"), None, Some(9))];
    assert!(catalog.put(puts, vec![]).await.unwrap().is_err());
    assert!(!is_stored(&catalog, "acme", 0xab).await);
}

pub(crate) async fn components_that_no_document_names_are_deleted(catalog: Subject) {
    let unnamed = Put {
        document: Some("{}".to_owned()),
        // A tenant's document names no component, and a change of one deletes none.
        key: key(RecordKind::Tenant, "acme", ""),
        ..named("acme", "", 0xab, b"x")
    };
    must(&catalog, vec![unnamed, named("globex", "h", 0xcd, b"y")]).await;
    assert!(is_stored(&catalog, "acme", 0xab).await);
    assert_eq!(catalog.collect_garbage().await.unwrap(), 1);
    assert!(!is_stored(&catalog, "acme", 0xab).await);
    assert!(is_stored(&catalog, "globex", 0xcd).await);
}

pub(crate) async fn the_audit_log_is_read_newest_first(catalog: Subject) {
    let change = async |tenants: &[&str]| {
        let puts = vec![put(handler("h"), Some("{}"), None)];
        let entries = tenants.iter().map(|tenant| entry(tenant, "handler.deploy")).collect();
        catalog.put(puts, entries).await.unwrap().unwrap();
    };
    change(&["acme"]).await;
    change(&["globex", "acme", ""]).await;
    change(&["acme"]).await;
    let all = catalog.audit(None, None, 10).await.unwrap();
    let tenants: Vec<&str> = all.iter().map(|entry| entry.tenant.as_str()).collect();
    assert_eq!(tenants, ["acme", "", "acme", "globex", "acme"]);
    assert!(
        all.iter().rev().map(|entry| entry.id).is_sorted_by(|a, b| a < b),
        "{all:?}"
    );
    assert_eq!(
        all[0],
        AuditEntry {
            id: all[0].id,
            ..entry("acme", "handler.deploy")
        }
    );
    let acmes = catalog.audit(Some("acme"), None, 2).await.unwrap();
    assert_eq!(acmes, [all[0].clone(), all[2].clone()]);
    let before = catalog.audit(Some("acme"), Some(all[2].id), 2).await.unwrap();
    assert_eq!(before, [all[4].clone()]);
    assert_eq!(catalog.audit(None, Some(0), 10).await.unwrap(), []);
    assert_eq!(catalog.audit(None, Some(u64::MAX), 1).await.unwrap(), all[..1]);
}

pub(crate) async fn old_audit_entries_are_deleted_a_few_at_a_time(catalog: Subject) {
    let at = |at_ms| AuditEntry {
        at_ms,
        ..entry("acme", "handler.deploy")
    };
    // The clock was set back once.
    let entries = [10, 11, 9, 20, 12].map(at).to_vec();
    catalog.put(vec![], entries).await.unwrap().unwrap();
    let times = async || -> Vec<u64> {
        let left = catalog.audit(None, None, 10).await.unwrap();
        left.iter().rev().map(|entry| entry.at_ms).collect()
    };
    assert_eq!(catalog.prune_audit(9, 10).await.unwrap(), 0, "none is that old");
    assert_eq!(catalog.prune_audit(20, 2).await.unwrap(), 2);
    assert_eq!(times().await, [9, 20, 12]);
    assert_eq!(catalog.prune_audit(20, 10).await.unwrap(), 2);
    assert_eq!(times().await, [20]);
    let last = catalog.audit(None, None, 1).await.unwrap()[0].id;
    assert_eq!(catalog.prune_audit(u64::MAX, 10).await.unwrap(), 1);
    catalog.put(vec![], vec![at(30)]).await.unwrap().unwrap();
    assert!(
        times().await == [30] && (catalog.audit(None, None, 1).await.unwrap()[0].id > last),
        "no id comes twice"
    );
}
