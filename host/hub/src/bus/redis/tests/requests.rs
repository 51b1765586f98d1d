use futures_util::StreamExt as _;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use super::*;

pub(super) fn all_clients() -> ClientSelector {
    ClientSelector {
        to: BroadcastTarget::AllClients,
        except: vec![TargetRoom::RoomOrSocket("x".into())],
    }
}

pub(super) fn socket(id: &str) -> RemoteSocket {
    RemoteSocket {
        id: id.to_owned(),
        rooms: vec!["r".to_owned()],
        handshake: r#"{"query":{}}"#.to_owned(),
        data: "null".to_owned(),
    }
}

/// Answers requests as a hub would, until it is dropped.
pub(super) async fn serve(mut inbox: Inbox, name: &'static str) {
    while let Some(inbound) = inbox.recv().await {
        match inbound {
            Inbound::FetchSockets { clients, reply } => {
                assert!(clients.to == BroadcastTarget::AllClients);
                reply.send(vec![socket(name)]).unwrap();
            }
            Inbound::AllRooms { reply } => reply.send(vec!["shared".to_owned(), name.to_owned()]).unwrap(),
            Inbound::ServerSideEmit { arguments, reply } => {
                assert_eq!(arguments, r#"["question",1]"#);
                if let Some(reply) = reply {
                    reply.send(format!("{name:?}")).unwrap();
                }
            }
            _ => {}
        }
    }
}

/// Publishes a request as a Node server does.
fn publish_as_node(server: &Server, request: &Value) {
    server.command(&["PUBLISH", "socket.io-request#/acme#", &request.to_string()]);
}

#[tokio::test]
async fn every_node_responds_to_requests() {
    let server = Server::start();
    let one = Node::start(&server.url(), "acme").await;
    let two = Node::start(&server.url(), "acme").await;
    tokio::spawn(serve(one.inbox, "one"));
    tokio::spawn(serve(two.inbox, "two"));
    let acme = &one.tenant;

    let mut sockets = one.bus.fetch_sockets(acme, all_clients()).await;
    sockets.items.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(sockets.items, [socket("one"), socket("two")]);
    assert!(sockets.complete);

    let arguments = to_raw_value(&("question", 1)).unwrap();
    let answers = one.bus.server_side_emit_with_ack(acme, &arguments).await;
    assert_eq!(answers.items, ["\"two\""], "the others only");
    assert!(answers.complete);
}

#[tokio::test]
async fn every_node_responds_to_a_node_server() {
    let server = Server::start();
    let one = Node::start(&server.url(), "acme").await;
    let two = Node::start(&server.url(), "acme").await;
    tokio::spawn(serve(one.inbox, "one"));
    tokio::spawn(serve(two.inbox, "two"));
    let client = ::redis::Client::open(server.url()).unwrap();
    let mut responses = client.get_async_pubsub().await.unwrap();
    responses.subscribe("socket.io-response#/acme#").await.unwrap();
    // io.of("/acme").adapter.allRooms()
    publish_as_node(&server, &json!({ "uid": "node", "requestId": "rooms", "type": 1 }));
    let mut messages = responses.on_message();
    let mut rooms = Vec::new();
    for _ in 0..2 {
        let message = tokio::time::timeout(DEADLINE, messages.next()).await;
        let response: Value = serde_json::from_slice(message.unwrap().unwrap().get_payload_bytes()).unwrap();
        assert_eq!(response["requestId"], "rooms");
        rooms.push(response["rooms"].clone());
    }
    rooms.sort_by_key(Value::to_string);
    assert_eq!(rooms, [json!(["shared", "one"]), json!(["shared", "two"])]);
}

#[tokio::test]
async fn every_node_carries_out_requests() {
    let server = Server::start();
    let mut one = Node::start(&server.url(), "acme").await;
    let mut two = Node::start(&server.url(), "acme").await;
    let clients = ClientSelector {
        to: BroadcastTarget::Rooms(vec![TargetRoom::User(user("ann"))]),
        except: Vec::new(),
    };
    let options = json!({ "rooms": ["\u{0}user:ann"], "except": [] });
    for kind in [2, 3] {
        // socketsJoin("r") and socketsLeave("r")
        publish_as_node(
            &server,
            &json!({ "uid": "node", "type": kind, "opts": options, "rooms": ["r"] }),
        );
    }
    let rooms = vec!["r".to_owned()];
    for node in [&mut one, &mut two] {
        let joined = node.until(|inbound| match inbound {
            Inbound::SocketsJoin { clients, rooms } => Some((clients, rooms)),
            _ => None,
        });
        assert_eq!(joined.await, (clients.clone(), rooms.clone()));
        let left = node.until(|inbound| match inbound {
            Inbound::SocketsLeave { clients, rooms } => Some((clients, rooms)),
            _ => None,
        });
        assert_eq!(left.await, (clients.clone(), rooms.clone()));
    }
    let none = ClientSelector {
        to: BroadcastTarget::Rooms(Vec::new()),
        except: Vec::new(),
    };
    let acme = one.tenant.clone();
    // A selector without rooms must not reach other nodes, where it would mean all clients.
    one.bus.disconnect_sockets(&acme, none.clone(), true);
    one.bus.disconnect_sockets(&acme, clients.clone(), true);
    for (node, expected) in [(&mut one, vec![none, clients.clone()]), (&mut two, vec![clients])] {
        for expected in expected {
            let disconnected = node.until(|inbound| match inbound {
                Inbound::DisconnectSockets { clients, close } => Some((clients, close)),
                _ => None,
            });
            assert_eq!(disconnected.await, (expected, true));
        }
    }
}

#[tokio::test]
async fn without_the_response_of_a_node_a_request_is_incomplete() {
    let server = Server::start();
    let one = Node::start(&server.url(), "acme").await;
    let mut two = Node::start(&server.url(), "acme").await;
    tokio::spawn(serve(one.inbox, "one"));
    let silent = async {
        // The hub drops the reply.
        two.until(|inbound| matches!(inbound, Inbound::FetchSockets { .. }).then_some(()))
            .await;
    };
    let mut hasty = settings(&server.url());
    hasty.request_timeout = Duration::from_millis(300);
    let requester = RedisBus::start(hasty).unwrap();
    eventually("connected", || requester.status().connected).await;
    let acme = tenant("acme");
    let (responses, ()) = tokio::join!(requester.fetch_sockets(&acme, all_clients()), silent);
    assert!(!responses.complete);
}
