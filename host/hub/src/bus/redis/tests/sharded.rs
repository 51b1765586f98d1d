//! Tests with the sharded adapter.

use serde_json::value::to_raw_value;

use super::requests::{all_clients, serve, socket};
use super::server::Cluster;
use super::*;

fn sharded(url: &str) -> RedisSettings {
    RedisSettings {
        adapter: Adapter::Sharded,
        ..settings(url)
    }
}

async fn start(url: &str) -> Node {
    let mut node = Node::with(sharded(url), "acme");
    node.until(|inbound| matches!(inbound, Inbound::Connected).then_some(()))
        .await;
    node
}

/// Publishes to a sharded channel until the node has received it, since subscribing takes a while.
async fn receives(server: &Server, node: &mut Node, channel: &str, text: &str) {
    let packet = format!(r#"{{"packet":{{"type":2,"data":{text}}},"opts":{{"rooms":["r"],"except":[]}}}}"#);
    let message = format!(r#"{{"uid":"node","nsp":"/acme","type":3,"data":{packet}}}"#);
    eventually("somebody listens", || {
        server.command(&["SPUBLISH", channel, &message]) == ::redis::Value::Int(1)
    })
    .await;
    assert_eq!(node.broadcast().await.packet.text, text);
}

#[tokio::test]
async fn events_and_requests_reach_every_node() {
    let server = Server::start();
    let mut one = start(&server.url()).await;
    let mut two = start(&server.url()).await;
    let sent = Broadcast {
        message: Some((RoomId::new("r").unwrap(), 42)),
        ..event(r#"["e",1.50]"#, BroadcastTarget::Rooms(vec![room("r")]))
    };
    one.bus.broadcast(&one.tenant, sent.clone());
    let got = two.broadcast().await;
    assert_eq!(got.packet.text, sent.packet.text);
    assert_eq!((got.to, got.message), (sent.to, sent.message));
    two.send(r#"["back"]"#);
    assert_eq!(one.broadcast().await.packet.text, r#"["back"]"#, "not its own event");

    let acme = one.tenant.clone();
    // io.of("/acme").except("x").socketsJoin("r")
    let join = r#"{"opts":{"rooms":[],"except":["x"],"flags":{}},"rooms":["r"]}"#;
    let message = format!(r#"{{"uid":"node","nsp":"/acme","type":4,"data":{join}}}"#);
    server.command(&["SPUBLISH", "socket.io#/acme#", &message]);
    for node in [&mut one, &mut two] {
        let joined = node.until(|inbound| match inbound {
            Inbound::SocketsJoin { clients, rooms } => Some((clients, rooms)),
            _ => None,
        });
        assert_eq!(joined.await, (all_clients(), vec!["r".to_owned()]));
    }

    tokio::spawn(serve(one.inbox, "one"));
    tokio::spawn(serve(two.inbox, "two"));
    let mut sockets = one.bus.fetch_sockets(&acme, all_clients()).await;
    sockets.items.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(sockets.items, [socket("one"), socket("two")]);
    assert!(sockets.complete);
    let arguments = to_raw_value(&("question", 1)).unwrap();
    let answers = one.bus.server_side_emit_with_ack(&acme, &arguments).await;
    assert_eq!(answers.items, ["\"two\""], "the others only");
}

#[tokio::test]
async fn the_channel_of_a_room_is_subscribed_to_while_the_room_has_members() {
    let mut server = Server::start();
    let mut node = start(&server.url()).await;
    let acme = node.tenant.clone();
    let channel = "socket.io#/acme#r#";
    node.bus.announce_room(&acme, "r", true);
    receives(&server, &mut node, channel, r#"["one"]"#).await;
    // The subscription is renewed after an outage.
    server.kill();
    server.restart();
    node.until(|inbound| matches!(inbound, Inbound::Connected).then_some(()))
        .await;
    receives(&server, &mut node, channel, r#"["two"]"#).await;
    node.bus.announce_room(&acme, "r", false);
    eventually("nobody listens", || {
        server.command(&["SPUBLISH", channel, "{}"]) == ::redis::Value::Int(0)
    })
    .await;
    receives(&server, &mut node, "socket.io#/acme#", r#"["three"]"#).await;
}

#[tokio::test]
async fn malformed_messages_are_counted_and_do_no_harm() {
    let server = Server::start();
    let one = start(&server.url()).await;
    let mut two = start(&server.url()).await;
    for payload in ["", "\u{1}", "{", "{}", "[]", "\u{7f}nonsense"] {
        server.command(&["SPUBLISH", "socket.io#/acme#", payload]);
    }
    one.send(r#"["after"]"#);
    assert_eq!(two.broadcast().await.packet.text, r#"["after"]"#);
    assert_eq!(two.bus.status().malformed, 6);
}

#[tokio::test]
async fn a_cluster_carries_sharded_channels() {
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let mut one = start(&cluster.urls).await;
    let mut two = start(&cluster.urls).await;
    for n in 0..3 {
        let text = format!("[\"e{n}\"]");
        one.send(&text);
        assert_eq!(two.broadcast().await.packet.text, text);
    }
    let acme = one.tenant.clone();
    // The channels of these rooms are on different servers.
    for n in 0..10 {
        one.bus.announce_room(&acme, &format!("room {n}"), true);
    }
    two.send(r#"["back"]"#);
    assert_eq!(one.broadcast().await.packet.text, r#"["back"]"#);
    tokio::spawn(serve(one.inbox, "one"));
    tokio::spawn(serve(two.inbox, "two"));
    let sockets = one.bus.fetch_sockets(&acme, all_clients()).await;
    assert!(sockets.complete);
    assert_eq!(sockets.items.len(), 2);
}
