use std::collections::HashMap;

use super::*;

/// The presence of other nodes, as a hub knows it after what the bus delivered.
#[derive(Default)]
struct KnownPresence(HashMap<NodeId, HashMap<UserId, Bytes>>);

impl KnownPresence {
    fn take(&mut self, inbound: Inbound) {
        match inbound {
            Inbound::PresenceChanged { node, user, record } => {
                let users = self.0.entry(node).or_default();
                match record {
                    Some(record) => drop(users.insert(user, record)),
                    None => drop(users.remove(&user)),
                }
            }
            Inbound::NodePresence { node, records } => drop(self.0.insert(node, records.into_iter().collect())),
            Inbound::NodeLeft { node } => drop(self.0.remove(&node)),
            _ => {}
        }
    }

    fn has(&self, node: &NodeId, users: &[(&str, &str)]) -> bool {
        let wanted = users
            .iter()
            .map(|(name, record)| (user(name), Bytes::from((*record).to_owned())));
        self.0.get(node) == Some(&wanted.collect())
    }

    async fn until(&mut self, node: &mut Node, so: impl Fn(&Self) -> bool) {
        while !so(self) {
            self.take(node.next().await);
        }
    }
}

fn set(node: &Node, name: &str, record: Option<&str>) {
    let record = record.map(|record| Bytes::from(record.to_owned()));
    node.bus.set_presence(&node.tenant, &user(name), record);
}

#[tokio::test]
async fn records_are_known_to_nodes_that_started_before_and_after() {
    let server = Server::start();
    let mut before = Node::start(&server.url(), "acme").await;
    let one = Node::start(&server.url(), "acme").await;
    set(&one, "ann", Some("1"));
    set(&one, "bob", Some("2"));
    set(&one, "ann", Some("3"));
    set(&one, "bob", None);
    let id = one.bus.node().clone();
    let mut known = KnownPresence::default();
    known.until(&mut before, |known| known.has(&id, &[("ann", "3")])).await;
    let mut after = Node::start(&server.url(), "acme").await;
    let mut late = KnownPresence::default();
    late.until(&mut after, |known| known.has(&id, &[("ann", "3")])).await;
    let mut stranger = Node::start(&server.url(), "default").await;
    let mut nothing = KnownPresence::default();
    nothing.until(&mut stranger, |known| known.has(&id, &[])).await;
}

#[tokio::test]
async fn a_node_that_leaves_is_forgotten_at_once() {
    let server = Server::start();
    let mut one = Node::start(&server.url(), "acme").await;
    let two = Node::start(&server.url(), "acme").await;
    set(&two, "ann", Some("1"));
    let id = two.bus.node().clone();
    let mut known = KnownPresence::default();
    known.until(&mut one, |known| known.has(&id, &[("ann", "1")])).await;
    two.bus.shut_down(DEADLINE).await;
    known.until(&mut one, |known| !known.0.contains_key(&id)).await;
    let key = format!("socket.io-parlance#node#{id}");
    assert_eq!(server.command(&["EXISTS", &key]), ::redis::Value::Int(0));
    assert_eq!(one.bus.status().nodes, 0);
}

#[tokio::test]
async fn a_node_that_dies_is_forgotten_when_its_lease_ends() {
    let server = Server::start();
    let mut one = Node::start(&server.url(), "acme").await;
    let url = server.url();
    // The bus's tasks end with the runtime, so the node dies without saying that it leaves.
    let doomed = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let node = runtime.block_on(async {
            let node = Node::start(&url, "acme").await;
            set(&node, "ann", Some("1"));
            eventually("written", || node.bus.status().queued == 0).await;
            node
        });
        drop(runtime);
        node.bus.node().clone()
    });
    let id = tokio::task::spawn_blocking(|| doomed.join().unwrap()).await.unwrap();
    one.until(|inbound| matches!(inbound, Inbound::NodeLeft { node } if node == id).then_some(()))
        .await;
    let key = format!("socket.io-parlance#node#{id}");
    assert_eq!(server.command(&["EXISTS", &key]), ::redis::Value::Int(0));
}

#[tokio::test]
async fn a_hub_that_unsubscribes_withdraws_its_records() {
    let server = Server::start();
    let mut one = Node::start(&server.url(), "acme").await;
    let two = Node::start(&server.url(), "acme").await;
    let id = two.bus.node().clone();
    set(&two, "ann", Some("1"));
    let mut known = KnownPresence::default();
    known.until(&mut one, |known| known.has(&id, &[("ann", "1")])).await;
    // Only a hub that has closed its inbox can unsubscribe.
    drop(two.inbox);
    two.bus.unsubscribe(&two.tenant);
    known.until(&mut one, |known| known.has(&id, &[])).await;
}

#[tokio::test]
async fn a_hash_that_was_lost_is_written_anew() {
    let server = Server::start();
    let mut one = Node::start(&server.url(), "acme").await;
    let two = Node::start(&server.url(), "acme").await;
    set(&two, "ann", Some("1"));
    let id = two.bus.node().clone();
    let mut known = KnownPresence::default();
    known.until(&mut one, |known| known.has(&id, &[("ann", "1")])).await;
    server.command(&["FLUSHALL"]);
    let mut late = Node::start(&server.url(), "acme").await;
    let mut known = KnownPresence::default();
    known.until(&mut late, |known| known.has(&id, &[("ann", "1")])).await;
}

#[tokio::test]
async fn many_changes_end_in_the_same_state_everywhere() {
    let server = Server::start();
    let mut one = Node::start(&server.url(), "acme").await;
    let two = Node::start(&server.url(), "acme").await;
    // These are more changes than the queue holds. The others are written with all records.
    for round in 0..20 {
        for at in 0..200 {
            set(
                &two,
                &format!("user {at}"),
                (at % 3 > 0).then(|| format!("{round}")).as_deref(),
            );
        }
    }
    set(&two, "last", Some("one"));
    let id = two.bus.node().clone();
    let names: Vec<String> = (0..200)
        .filter(|at| at % 3 > 0)
        .map(|at| format!("user {at}"))
        .collect();
    let mut wanted: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "19")).collect();
    wanted.push(("last", "one"));
    let mut known = KnownPresence::default();
    known.until(&mut one, |known| known.has(&id, &wanted)).await;
}

#[tokio::test]
async fn an_emptied_redis_gets_all_records_again() {
    let mut server = Server::start();
    let mut one = Node::start(&server.url(), "acme").await;
    let mut two = Node::start(&server.url(), "acme").await;
    set(&one, "ann", Some("1"));
    let id = one.bus.node().clone();
    let mut known = KnownPresence::default();
    known.until(&mut two, |known| known.has(&id, &[("ann", "1")])).await;
    server.kill();
    for node in [&mut one, &mut two] {
        node.until(|inbound| matches!(inbound, Inbound::Disconnected).then_some(()))
            .await;
    }
    set(&one, "ann", None);
    set(&one, "bob", Some("2"));
    server.restart();
    two.until(|inbound| {
        assert!(!matches!(inbound, Inbound::NodeLeft { .. }), "the node never left");
        matches!(inbound, Inbound::Connected).then_some(())
    })
    .await;
    let mut known = KnownPresence::default();
    known.until(&mut two, |known| known.has(&id, &[("bob", "2")])).await;
}
