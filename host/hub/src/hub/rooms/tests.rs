use super::*;
use crate::tests::{Inbox, packet, random, send_all};
use parlance_types::auth::Identity;
use parlance_types::id::ConnectionId;

/// A client that is joining the room.
struct Client {
    connection: Arc<Connection>,
    inbox: Inbox,
    /// The last `seq` in the store when it was read for this client.
    read: Option<u64>,
    /// The last `seq` that the client was told of.
    told: Option<u64>,
}

#[test]
fn a_joining_client_misses_nothing_after_its_answer_in_any_order_of_events() {
    const MESSAGES: u64 = 20;
    let room = RoomId::new("room").unwrap();
    for seed in 0..3000_u64 {
        let mut random = random(seed);
        let mut random = move |below: usize| usize::try_from(random(below as u64)).unwrap();
        let (mut rooms, mut out) = (Rooms::default(), Vec::new());
        let mut clients: Vec<Client> = Vec::new();
        let mut in_flight: Vec<u64> = Vec::new();
        let mut committed = 0;
        while committed < MESSAGES || !in_flight.is_empty() || clients.iter().any(|client| client.told.is_none()) {
            match random(5) {
                0 if committed < MESSAGES => {
                    committed += 1;
                    in_flight.push(committed);
                }
                1 if !in_flight.is_empty() => {
                    let seq = in_flight.swap_remove(random(in_flight.len()));
                    rooms.offer(&room, seq, &packet(seq));
                }
                2 if clients.len() < 4 => {
                    let identity = Arc::new(Identity::for_tests("t", "alice").unwrap());
                    let inbox = Inbox::default();
                    let id = ConnectionId::from_bits(clients.len() as u64);
                    let connection = Arc::new(Connection::new(id, identity, Box::new(inbox.clone())));
                    rooms.join(&room, &connection, true);
                    clients.push(Client {
                        connection,
                        inbox,
                        read: None,
                        told: None,
                    });
                }
                _ if clients.is_empty() => {}
                n => {
                    let at = random(clients.len());
                    let client = &mut clients[at];
                    match (client.read, client.told) {
                        (None, _) => client.read = Some(committed),
                        (Some(read), None) if n == 4 => {
                            let place = Place { seq: read, rev: 0 };
                            if rooms.release(&room, &client.connection, place, Some(place), None, &mut out) {
                                rooms.start_after(&room, place);
                                client.told = Some(read);
                            } else {
                                client.read = None;
                            }
                        }
                        _ => {}
                    }
                }
            }
            // Before the next input the outbox is emptied, in parts of any size.
            while rooms.has_outgoing() {
                rooms.send_part(seed % 3, &mut out);
            }
            send_all(&mut out);
        }
        for client in clients {
            let expected: Vec<String> = (client.told.unwrap() + 1..=MESSAGES).map(|n| n.to_string()).collect();
            assert_eq!(client.inbox.texts(), expected, "seed {seed}");
        }
    }
}

#[test]
fn connections_join_and_leave_in_any_order_and_get_what_is_sent_while_they_are_members() {
    let room = RoomId::new("room").unwrap();
    for seed in 0..200_u64 {
        let mut random = random(seed);
        let (mut rooms, mut out) = (Rooms::default(), Vec::new());
        let clients: Vec<_> = (0..12)
            .map(|n| {
                let identity = Arc::new(Identity::for_tests("t", "alice").unwrap());
                let inbox = Inbox::default();
                let connection = Connection::new(ConnectionId::from_bits(n), identity, Box::new(inbox.clone()));
                (Arc::new(connection), inbox)
            })
            .collect();
        let mut expected = vec![Vec::new(); clients.len()];
        for step in 0..200 {
            let at = usize::try_from(random(12)).unwrap();
            let (connection, _) = &clients[at];
            let is_in = connection.is_in("room");
            match random(3) {
                0 => assert_eq!(rooms.join(&room, connection, false), !is_in, "seed {seed}"),
                1 => assert_eq!(rooms.leave(&room, connection), is_in, "seed {seed}"),
                _ => {
                    rooms.send_to_room(&room, Some(connection), &packet(step));
                    while rooms.has_outgoing() {
                        rooms.send_part(seed, &mut out);
                    }
                    send_all(&mut out);
                    for (other, (connection, _)) in clients.iter().enumerate() {
                        if other != at && connection.is_in("room") {
                            expected[other].push(step.to_string());
                        }
                    }
                }
            }
        }
        for ((_, inbox), expected) in clients.iter().zip(expected) {
            assert_eq!(inbox.texts(), expected, "seed {seed}");
        }
    }
}
