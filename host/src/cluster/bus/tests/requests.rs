use serde_json::value::to_raw_value;

use super::*;

pub(super) fn everybody() -> ClientSelector {
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

/// Answers whatever comes as a hub would, until it is dropped.
pub(super) async fn serve(mut mail: mpsc::Receiver<Inbound>, name: &'static str) {
    while let Some(inbound) = mail.recv().await {
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
            Inbound::BroadcastWithAck {
                broadcast,
                clients,
                answers,
            } => {
                assert_eq!(broadcast.packet.text, r#"["e"]"#);
                clients.send(2).unwrap();
                for _ in 0..2 {
                    let text = Bytes::from(format!("{name:?}"));
                    let attachments = Vec::new();
                    answers.send(Packet { text, attachments }).await.unwrap();
                }
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn questions_are_answered_by_every_node() {
    let server = Server::start();
    let one = Node::start(&server.url(), "acme").await;
    let two = Node::start(&server.url(), "acme").await;
    tokio::spawn(serve(one.mail, "one"));
    tokio::spawn(serve(two.mail, "two"));
    let acme = &one.tenant;

    let mut sockets = one.bus.fetch_sockets(acme, everybody()).await;
    sockets.items.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(sockets.items, [socket("one"), socket("two")]);
    assert!(sockets.complete);

    let rooms = one.bus.all_rooms(acme).await;
    assert_eq!(rooms.items, ["one", "shared", "two"]);

    let arguments = to_raw_value(&("question", 1)).unwrap();
    let answers = one.bus.server_side_emit_with_ack(acme, &arguments).await;
    assert_eq!(answers.items, ["\"two\""], "the others only");
    assert!(answers.complete);

    let got = one
        .bus
        .broadcast_with_ack(acme, event(r#"["e"]"#, BroadcastTarget::AllClients), DEADLINE)
        .await;
    assert!(got.complete);
    assert_eq!(got.clients, 4);
    let mut texts: Vec<Bytes> = got.answers.into_iter().map(|answer| answer.text).collect();
    texts.sort();
    assert_eq!(texts, ["\"one\"", "\"one\"", "\"two\"", "\"two\""]);
}

#[tokio::test]
async fn orders_are_carried_out_on_every_node() {
    let server = Server::start();
    let mut one = Node::start(&server.url(), "acme").await;
    let mut two = Node::start(&server.url(), "acme").await;
    let clients = ClientSelector {
        to: BroadcastTarget::Rooms(vec![TargetRoom::User(user("ann"))]),
        except: Vec::new(),
    };
    let nobody = ClientSelector {
        to: BroadcastTarget::Rooms(Vec::new()),
        except: Vec::new(),
    };
    let acme = one.tenant.clone();
    one.bus.disconnect_sockets(&acme, nobody.clone(), true);
    one.bus.join(&acme, clients.clone(), vec!["r".to_owned()]);
    one.bus.leave_rooms(&acme, clients.clone(), vec!["r".to_owned()]);
    one.bus.disconnect_sockets(&acme, clients.clone(), true);
    one.until(|inbound| {
        matches!(inbound, Inbound::DisconnectSockets { clients, .. } if clients == nobody).then_some(())
    })
    .await;
    for node in [&mut one, &mut two] {
        let mut seen = Vec::new();
        while seen.len() < 3 {
            match node.next().await {
                Inbound::SocketsJoin { clients: got, rooms } => {
                    assert_eq!((got, rooms), (clients.clone(), vec!["r".to_owned()]));
                    seen.push("join");
                }
                Inbound::SocketsLeave { clients: got, rooms } => {
                    assert_eq!((got, rooms), (clients.clone(), vec!["r".to_owned()]));
                    seen.push("leave");
                }
                Inbound::DisconnectSockets { clients: got, close } => {
                    assert_eq!((got, close), (clients.clone(), true));
                    seen.push("disconnect");
                }
                _ => {}
            }
        }
        assert_eq!(seen, ["join", "leave", "disconnect"]);
    }
}

#[tokio::test]
async fn a_silent_node_leaves_an_answer_incomplete() {
    let server = Server::start();
    let one = Node::start(&server.url(), "acme").await;
    let mut two = Node::start(&server.url(), "acme").await;
    tokio::spawn(serve(one.mail, "one"));
    let silent = async {
        // The answer is let fall, and the hub goes on.
        two.until(|inbound| matches!(inbound, Inbound::AllRooms { .. }).then_some(()))
            .await;
    };
    let mut patient = settings(&server.url());
    patient.request_timeout = Duration::from_millis(300);
    let asker = RedisBus::start(patient).unwrap();
    eventually("connected", || asker.status().connected).await;
    let acme = tenant("acme");
    let (gathered, ()) = tokio::join!(asker.all_rooms(&acme), silent);
    assert!(!gathered.complete);
}
