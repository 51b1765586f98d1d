use std::time::Duration;

use super::*;
use crate::tests::{Inbox, packet, random, send_all};
use parlance_store::{Change, Revise};
use parlance_types::auth::Identity;
use parlance_types::id::{ConnectionId, MessageId, UserId};

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
fn members_of_several_rooms_get_a_packet_once_in_parts_of_any_size() {
    let ids: Vec<RoomId> = ["a", "b", "c", "d"].map(|id| RoomId::new(id).unwrap()).into();
    for seed in 0..2000_u64 {
        let mut random = random(seed);
        let mut random = move |below: usize| usize::try_from(random(below as u64)).unwrap();
        let (mut rooms, mut out) = (Rooms::new(Instant::now()), Vec::new());
        let mut some = || -> IndexSet<RoomId> { ids.iter().filter(|_| random(2) == 0).cloned().collect() };
        let (to, known) = (some(), some());
        let mut clients = Vec::new();
        // More of them than one part looks at, in some cases.
        for n in 0..[3, 30, 700][usize::try_from(seed % 3).unwrap()] {
            let identity = Arc::new(Identity::for_tests("t", "alice").unwrap());
            let inbox = Inbox::default();
            let connection = Arc::new(Connection::new(
                ConnectionId::from_bits(n),
                identity,
                Box::new(inbox.clone()),
            ));
            let is_in = some();
            for room in &is_in {
                rooms.join(room, &connection, false);
            }
            clients.push((is_in, inbox));
        }
        let one = packet(1);
        rooms.send_to_members(to.clone(), known.clone(), &one);
        while rooms.has_outgoing() {
            rooms.send_part(seed % 4 * one.weight(), &mut out);
            assert!(out.len() <= usize::try_from(seed % 4).unwrap().max(1), "seed {seed}");
            send_all(&mut out);
        }
        let mut told = 0;
        for (is_in, inbox) in clients {
            let is_meant = !is_in.is_disjoint(&to) && is_in.is_disjoint(&known);
            assert_eq!(inbox.texts().len(), usize::from(is_meant), "seed {seed}");
            told += u64::from(is_meant);
        }
        assert_eq!(
            rooms.take_sent(),
            told * one.weight(),
            "no more than was sent is paid for"
        );
    }
}

#[test]
fn a_joining_client_misses_nothing_after_its_answer_in_any_order_of_events() {
    const MESSAGES: u64 = 20;
    let room = RoomId::new("room").unwrap();
    for seed in 0..3000_u64 {
        let mut random = random(seed);
        let mut random = move |below: usize| usize::try_from(random(below as u64)).unwrap();
        let (mut rooms, mut out) = (Rooms::new(Instant::now()), Vec::new());
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
        let (mut rooms, mut out) = (Rooms::new(Instant::now()), Vec::new());
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
                1 => assert_eq!(rooms.leave(&room, connection, &mut out), is_in, "seed {seed}"),
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

/// What a member of a room gets, and when.
struct Listener {
    rooms: Rooms,
    room: RoomId,
    connection: Arc<Connection>,
    inbox: Inbox,
    rev: u64,
}

impl Listener {
    fn new() -> Self {
        let room = RoomId::new("room").unwrap();
        let identity = Arc::new(Identity::for_tests("t", "alice").unwrap());
        let inbox = Inbox::default();
        let connection = Arc::new(Connection::new(
            ConnectionId::from_bits(1),
            identity,
            Box::new(inbox.clone()),
        ));
        let mut rooms = Rooms::new(Instant::now());
        rooms.join(&room, &connection, false);
        rooms.start_after(&room, Place { seq: 9, rev: 0 });
        Self {
            rooms,
            room,
            connection,
            inbox,
            rev: 0,
        }
    }

    fn change(&mut self, message: u128, by: &str, change: Change) {
        self.rev += 1;
        let revise = Revise {
            id: MessageId::from_time(1, message),
            room: self.room.clone(),
            seq: 1,
            user: UserId::new(by).unwrap(),
            at: 0,
            change,
        };
        let outgoing = crate::wire::message_revised(&revise, self.rev, 0);
        self.rooms.offer_change(&self.room, 1, self.rev, &outgoing);
    }

    fn append(&mut self, message: u128, by: &str, fragment: &str, done: bool) {
        let change = Change::Append {
            fragment: fragment.to_owned(),
            done,
            max_bytes: 0,
        };
        self.change(message, by, change);
    }

    /// What has come so far: of text that is added its fragments and the last `rev`, of other events the name.
    fn heard(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        while self.rooms.has_outgoing() {
            self.rooms.send_part(u64::MAX, &mut out);
        }
        send_all(&mut out);
        let short = |text: String| {
            let Ok((name, body)) = serde_json::from_str::<(String, serde_json::Value)>(&text) else {
                return text;
            };
            match name.as_str() {
                "message-appended" => format!("{} at {}", body["fragments"], body["rev"]),
                _ => name,
            }
        };
        self.inbox.texts().into_iter().map(short).collect()
    }

    fn wait(&mut self, time: Duration) {
        self.rooms.outbox.now += time;
        self.rooms.outbox.send_due();
    }
}

const WAIT: Duration = Duration::from_millis(40);

#[test]
fn text_that_is_added_to_a_message_waits_a_moment_for_more() {
    let mut listener = Listener::new();
    listener.append(1, "bot:a", "one", false);
    listener.wait(WAIT / 2);
    listener.append(1, "bot:a", " two", false);
    listener.wait(WAIT / 2 - Duration::from_micros(1));
    assert!(listener.heard().is_empty());
    assert!(listener.rooms.outbox.next_due().is_some());
    listener.wait(Duration::from_micros(1));
    assert_eq!(listener.heard(), [r#"["one"," two"] at 2"#]);
    assert_eq!(listener.rooms.outbox.next_due(), None);
    listener.append(1, "bot:a", " three", true);
    assert_eq!(
        listener.heard().last().unwrap(),
        r#"[" three"] at 3"#,
        "the last does not wait"
    );
    // The time of the one that did not wait is over.
    listener.append(1, "bot:a", "!", false);
    listener.wait(WAIT / 2);
    listener.append(1, "bot:a", "", true);
    listener.append(1, "bot:a", "?", false);
    listener.wait(WAIT / 2);
    assert_eq!(listener.heard().len(), 3);
    listener.wait(WAIT / 2);
    assert_eq!(listener.heard().last().unwrap(), r#"["?"] at 6"#);
}

#[test]
fn what_follows_in_the_room_does_not_overtake_text_that_waits() {
    let mut listener = Listener::new();
    listener.append(1, "bot:a", "a", false);
    listener.append(2, "bot:a", "b", false);
    listener.append(2, "bot:b", "c", false);
    listener.append(2, "bot:b", "d", false);
    listener.change(2, "bot:b", Change::Delete);
    listener.append(1, "bot:a", "e", false);
    let room = listener.room.clone();
    listener.rooms.follow(&room, None, &packet("typing"));
    listener.append(1, "bot:a", "f", false);
    listener.rooms.offer(&room, 10, &packet("message"));
    let expected = [
        r#"["a"] at 1"#,
        r#"["b"] at 2"#,
        r#"["c","d"] at 4"#,
        "message-deleted",
        r#"["e"] at 6"#,
        "typing",
        r#"["f"] at 7"#,
        "message",
    ];
    assert_eq!(listener.heard(), expected);
}

#[test]
fn who_leaves_gets_the_text_that_waits() {
    let mut listener = Listener::new();
    listener.append(1, "bot:a", "a", false);
    let mut out = Vec::new();
    let (room, connection) = (listener.room.clone(), listener.connection.clone());
    assert!(listener.rooms.leave(&room, &connection, &mut out));
    send_all(&mut out);
    listener.wait(WAIT);
    assert_eq!(listener.heard(), [r#"["a"] at 1"#]);
}

/// Behind a message that is missing, only so many changes wait. The others must not overtake them.
#[test]
fn changes_that_have_no_room_behind_a_missing_message_are_read_later() {
    let mut listener = Listener::new();
    let room = listener.room.clone();
    assert_eq!(listener.rooms.offer(&room, 11, &packet("the second")), Gap::Missing);
    for n in 0..2000 {
        listener.append(n, "bot:a", "a", false);
    }
    assert!(listener.heard().is_empty());
    listener.rooms.offer(&room, 10, &packet("the first"));
    let heard = listener.heard();
    assert_eq!(heard[..2], ["the first", "the second"]);
    assert_eq!(heard.len(), 2 + 1023, "the last one waits for more text");
    let changes = listener.rooms.series(&room, Series::Changes).unwrap();
    assert_eq!((changes.first_missing(), changes.last()), (Some(1025), 2000));
    // As they are now.
    listener.rooms.send_changed(&room, 1, 2000, &packet("as it is"));
    listener.rooms.skip_changes(&room, 2000);
    let heard = listener.heard();
    assert_eq!(heard[heard.len() - 2..], [r#"["a"] at 1024"#, "as it is"]);
    listener.append(1, "bot:a", "b", true);
    assert_eq!(listener.heard().last().unwrap(), r#"["b"] at 2001"#);
}
