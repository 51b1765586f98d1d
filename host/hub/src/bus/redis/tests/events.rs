use super::requests::{all_clients, serve, socket};
use super::server::Cluster;
use super::*;

#[tokio::test]
async fn an_event_reaches_the_other_node_and_not_its_sender() {
    let server = Server::start();
    let mut one = Node::start(&server.url(), "acme").await;
    let mut two = Node::start(&server.url(), "acme").await;
    let mut elsewhere = Node::start(&server.url(), "default").await;
    let sent = Broadcast {
        packet: Packet {
            text: Bytes::from_static(br#"["e",{"_placeholder":true,"num":0}]"#),
            attachments: vec![Bytes::from_static(b"\x00\xff")],
        },
        to: BroadcastTarget::Rooms(vec![room("r"), TargetRoom::User(user("ann"))]),
        except: vec![room("x")],
        message: Some((RoomId::new("r").unwrap(), 42)),
        after: None,
        rev: None,
        then: None,
        question: None,
    };
    one.bus.broadcast(&one.tenant, sent.clone());
    let got = two.broadcast().await;
    assert_eq!(got.packet.text, sent.packet.text);
    assert_eq!(got.packet.attachments, sent.packet.attachments);
    assert_eq!((got.to, got.except, got.message), (sent.to, sent.except, sent.message));
    two.send(r#"["back"]"#);
    assert_eq!(one.broadcast().await.packet.text, r#"["back"]"#, "not its own event");
    elsewhere.send(r#"["mine"]"#);
    one.bus
        .broadcast(&tenant("default"), event(r#"["theirs"]"#, BroadcastTarget::AllClients));
    let got = elsewhere.broadcast().await;
    assert_eq!(got.packet.text, r#"["theirs"]"#, "nothing of another tenant");
    assert_eq!(got.to, BroadcastTarget::AllClients);
    eventually("counted as unknown", || one.bus.status().unknown_namespaces > 0).await;
}

#[tokio::test]
async fn no_rooms_are_not_all_clients() {
    let server = Server::start();
    let one = Node::start(&server.url(), "default").await;
    let mut two = Node::start(&server.url(), "default").await;
    one.bus
        .broadcast(&one.tenant, event(r#"["none"]"#, BroadcastTarget::Rooms(Vec::new())));
    one.send(r#"["room"]"#);
    assert_eq!(two.broadcast().await.packet.text, r#"["room"]"#);
}

#[tokio::test]
async fn malformed_messages_are_counted_and_do_no_harm() {
    let server = Server::start();
    let one = Node::start(&server.url(), "default").await;
    let mut two = Node::start(&server.url(), "default").await;
    let channels = [
        "socket.io#/#",
        "socket.io-request#/#",
        "socket.io-response#/#",
        "socket.io-parlance#nodes",
    ];
    for channel in channels {
        for payload in ["", "\u{1}", "{", "{}", "[]", "\u{7f}nonsense"] {
            server.command(&["PUBLISH", channel, payload]);
        }
    }
    let large = "x".repeat(2 << 20);
    server.command(&["PUBLISH", "socket.io#/#", &large]);
    one.send(r#"["after"]"#);
    assert_eq!(two.broadcast().await.packet.text, r#"["after"]"#);
    assert_eq!(two.bus.status().malformed, 25);
}

#[tokio::test]
async fn invalidations_and_loads_reach_the_others() {
    let server = Server::start();
    let one = Node::start(&server.url(), "default").await;
    let two = Node::start(&server.url(), "default").await;
    let mut invalidations = two.bus.invalidations();
    let mut own = one.bus.invalidations();
    one.bus.invalidate(Bytes::from_static(b"changed"));
    let got = tokio::time::timeout(DEADLINE, invalidations.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(got, Invalidation::Topic(Bytes::from_static(b"changed")));
    let load = Load {
        connections: 3,
        events_per_second: 7,
    };
    one.bus.set_load(&one.tenant, load);
    eventually("the load", || {
        two.bus.remote_load(&two.tenant) == RemoteLoad { nodes: 1, load }
    })
    .await;
    assert_eq!(one.bus.remote_load(&one.tenant), RemoteLoad::default());
    one.bus.shut_down(DEADLINE).await;
    eventually("no load", || two.bus.remote_load(&two.tenant) == RemoteLoad::default()).await;
    assert!(own.try_recv().is_err(), "not its own invalidation");
}

#[tokio::test]
async fn a_hub_whose_inbox_was_full_is_told_so() {
    let server = Server::start();
    let one = Node::start(&server.url(), "default").await;
    let bus = RedisBus::start(settings(&server.url())).unwrap();
    let (sender, inbox) = inbox(2);
    bus.subscribe(&one.tenant, sender);
    let mut two = Node {
        bus,
        tenant: one.tenant.clone(),
        inbox,
    };
    two.until(|inbound| matches!(inbound, Inbound::Connected).then_some(()))
        .await;
    eventually("a loss", || {
        one.send(r#"["e"]"#);
        two.bus.status().overflowed > 0
    })
    .await;
    two.until(|inbound| matches!(inbound, Inbound::Connected).then_some(()))
        .await;
    let other = one.bus.node().clone();
    two.until(|inbound| matches!(inbound, Inbound::NodePresence { node, .. } if node == other).then_some(()))
        .await;
}

#[tokio::test]
async fn a_cluster_carries_events_presence_and_requests() {
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let mut nodes = Vec::new();
    for at in 0..3 {
        // Each node connects to another server of the cluster first.
        let mut urls: Vec<&str> = cluster.urls.split(',').collect();
        urls.rotate_left(at);
        nodes.push(Node::start(&urls.join(","), "default").await);
    }
    nodes[0].send(r#"["e"]"#);
    for node in &mut nodes[1..] {
        assert_eq!(node.broadcast().await.packet.text, r#"["e"]"#);
    }
    let record = Bytes::from_static(b"here");
    nodes[1]
        .bus
        .set_presence(&tenant("default"), &user("ann"), Some(record.clone()));
    let got = nodes[2]
        .until(|inbound| match inbound {
            Inbound::PresenceChanged { user, record, .. } => Some((user, record)),
            Inbound::NodePresence { records, .. } => {
                records.into_iter().next().map(|(user, record)| (user, Some(record)))
            }
            _ => None,
        })
        .await;
    assert_eq!(got, (user("ann"), Some(record)));
    let mut buses = Vec::new();
    for (node, name) in nodes.into_iter().zip(["one", "two", "three"]) {
        tokio::spawn(serve(node.inbox, name));
        buses.push(node.bus);
    }
    let mut sockets = buses[0].fetch_sockets(&tenant("default"), all_clients()).await;
    assert!(sockets.complete);
    sockets.items.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(sockets.items, [socket("one"), socket("three"), socket("two")]);
}
