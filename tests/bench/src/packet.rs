//! The parts of Engine.IO 4 and Socket.IO 5 that the load needs, as text packets.
//!
//! Deliveries are not parsed as JSON, since the load would then cost more than the servers. The content of a message
//! begins with a marker and a stamp, which are found by their bytes, as are the few fields that the load reads.

use memchr::memmem;

/// The marker at the beginning of every message's content. The stamp follows in 16 hexadecimal digits.
const MARK: &str = "bench:";
/// The beginning of every user id. The user's number follows.
const USER: &str = "bench-";
/// Number of digits of a stamp.
const DIGITS: usize = 16;
/// The rest of the content, which makes it 64 bytes long: a line of chat.
const LINE: &str = " shall we meet at the usual place at nine?";

/// A packet from the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming<'a> {
    /// A ping, to be answered with [`PONG`].
    Ping,
    /// `new-message` with this stamp.
    Delivery(u64),
    /// `user-typing` of the user with this number, who begins to type or still does.
    Typing(u16),
    /// `message-read` of the message with this id by the user with this number.
    Receipt(&'a str, u16),
    /// An acknowledgement with `ok: true`.
    Accepted,
    /// Any packet that reports an error.
    Refused(&'a str),
    /// Any other packet, such as presence.
    Other,
}

/// The answer to [`Incoming::Ping`].
pub(crate) const PONG: &str = "3";

/// Reads one packet.
pub(crate) fn read(packet: &str) -> Incoming<'_> {
    let bytes = packet.as_bytes();
    let event = event(packet).as_bytes();
    if event.starts_with(br#"["new-message""#) {
        if memmem::find(event, MARK.as_bytes()).is_none() {
            // A message of an attacker.
            return Incoming::Other;
        }
        return stamp(event).map_or(Incoming::Refused(packet), Incoming::Delivery);
    }
    if bytes.starts_with(b"43") {
        let ok = memmem::find(bytes, br#""ok":true"#).is_some();
        return if ok {
            Incoming::Accepted
        } else {
            Incoming::Refused(packet)
        };
    }
    if event.starts_with(br#"["user-typing""#) {
        // The server ends typing that is not repeated, at a time of its own choice.
        let is_typing = memmem::find(bytes, br#""typing":true"#).is_some();
        return match user(packet) {
            Some(user) if is_typing => Incoming::Typing(user),
            Some(_) => Incoming::Other,
            None => Incoming::Refused(packet),
        };
    }
    if event.starts_with(br#"["message-read""#) {
        let receipt = field(packet, "messageId").zip(user(packet));
        return receipt.map_or(Incoming::Refused(packet), |(message, user)| {
            Incoming::Receipt(message, user)
        });
    }
    if bytes == b"2" {
        return Incoming::Ping;
    }
    // A disconnect from the namespace, a refused connection, a failed event.
    let wrong = ["41", "44"].iter().any(|start| packet.starts_with(start));
    if wrong || event.starts_with(br#"["error-event""#) {
        Incoming::Refused(packet)
    } else {
        Incoming::Other
    }
}

/// The array of an event, which follows its namespace; empty for another packet.
fn event(packet: &str) -> &str {
    let Some(rest) = packet.strip_prefix("42") else {
        return "";
    };
    match rest.strip_prefix('/') {
        Some(named) => named.split_once(',').map_or("", |(_, event)| event),
        None => rest,
    }
}

/// The stamp in the content of a delivery.
fn stamp(delivery: &[u8]) -> Option<u64> {
    let start = memmem::find(delivery, MARK.as_bytes())? + MARK.len();
    let digits = delivery.get(start..start + DIGITS)?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The stamps of all messages in a page of history, in its order; `None` if one is not whole.
pub(crate) fn stamps(page: &str) -> Option<Vec<u64>> {
    let marks = memmem::find_iter(page.as_bytes(), MARK.as_bytes());
    marks.map(|at| stamp(page.as_bytes().get(at..)?)).collect()
}

/// The id of the message in a delivery.
pub(crate) fn message_id(delivery: &str) -> Option<&str> {
    field(delivery, "id")
}

/// The user's number in a packet that names one user.
fn user(packet: &str) -> Option<u16> {
    field(packet, "userId")?.strip_prefix(USER)?.parse().ok()
}

/// The first string field of this name. It must have no escapes.
fn field<'a>(packet: &'a str, name: &str) -> Option<&'a str> {
    let key = format!(r#""{name}":""#);
    let start = memmem::find(packet.as_bytes(), key.as_bytes())? + key.len();
    packet.get(start..)?.split('"').next()
}

/// Connects to a namespace with a token.
pub(crate) fn connect(namespace: &str, token: &str) -> String {
    format!(r#"40{}{{"token":"{token}"}}"#, prefix(namespace))
}

/// Joins a room; acknowledged with number 0.
pub(crate) fn join(namespace: &str, room: &str) -> String {
    format!(r#"42{}0["join-room","{room}"]"#, prefix(namespace))
}

/// The namespace as it begins a packet. The main namespace is not written.
fn prefix(namespace: &str) -> String {
    match namespace {
        "/" => String::new(),
        other => format!("{other},"),
    }
}

/// Sends a message of 64 bytes whose content carries `stamp`, with an id of its own by which its sender may repeat it;
/// acknowledged with number `ack`.
pub(crate) fn send_message(namespace: &str, ack: u32, room: &str, stamp: u64) -> String {
    let (id, prefix) = (format!("{stamp:016x}-{ack}"), prefix(namespace));
    format!(
        r#"42{prefix}{ack}["send-message",{{"clientId":"{id}","roomId":"{room}","content":"{MARK}{stamp:016x}{LINE}"}}]"#
    )
}

/// Tells the others in the room that the user types; acknowledged with number `ack`.
pub(crate) fn typing(ack: u32, room: &str) -> String {
    format!(r#"42{ack}["typing","{room}",true]"#)
}

/// Marks a message as read; acknowledged with number `ack`.
pub(crate) fn read_message(ack: u32, message: &str) -> String {
    format!(r#"42{ack}["read-message","{message}"]"#)
}

/// Joins a room again and asks for the newest `last` of all its messages; acknowledged with number 0.
pub(crate) fn rejoin(room: &str, last: u64) -> String {
    format!(r#"420["join-room","{room}",{{"after":0,"last":{last}}}]"#)
}

/// Asks for the newest `limit` messages with a lower number than `before`; acknowledged with number 0.
pub(crate) fn history(room: &str, before: u64, limit: u64) -> String {
    format!(r#"420["history",{{"roomId":"{room}","before":{before},"limit":{limit}}}]"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_gives_back_the_stamp_that_was_sent() {
        let sent = send_message("/", 7, "room", 0x00c8_1234_5678_9abc);
        let content = sent.split(r#""content":""#).nth(1).and_then(|c| c.split('"').next());
        let content = content.expect("a message has content");
        assert_eq!(content.len(), 64);
        let delivery = format!(r#"42["new-message",{{"id":"x","seq":1,"content":"{content}"}}]"#);
        assert_eq!(read(&delivery), Incoming::Delivery(0x00c8_1234_5678_9abc));
        let of_a_tenant = delivery.replacen("42", "42/acme,", 1);
        assert_eq!(read(&of_a_tenant), Incoming::Delivery(0x00c8_1234_5678_9abc));
    }

    #[test]
    fn a_delivery_without_a_whole_stamp_is_an_error() {
        let cut = r#"42["new-message",{"content":"bench:00c8"}]"#;
        assert_eq!(read(cut), Incoming::Refused(cut));
        assert_eq!(read(r#"42/evil,["new-message",{"content":"xx"}]"#), Incoming::Other);
    }

    #[test]
    fn typing_and_receipts_name_their_user() {
        let typing = r#"42["user-typing",{"roomId":"r","userId":"bench-17","username":"Bench 17","typing":true}]"#;
        assert_eq!(read(typing), Incoming::Typing(17));
        assert_eq!(read(&typing.replace("true", "false")), Incoming::Other);
        let strange = typing.replace("bench-17", "alice");
        assert_eq!(read(&strange), Incoming::Refused(&strange));
        let receipt = r#"42["message-read",{"messageId":"m1","roomId":"r","userId":"bench-3","readAt":1}]"#;
        assert_eq!(read(receipt), Incoming::Receipt("m1", 3));
    }

    #[test]
    fn the_id_of_a_delivery_is_not_that_of_its_room_or_user() {
        let delivery = r#"42["new-message",{"roomId":"r","userId":"bench-1","id":"m7","seq":1}]"#;
        assert_eq!(message_id(delivery), Some("m7"));
    }

    #[test]
    fn a_page_gives_its_stamps_in_order() {
        let message = |stamp: u64| format!(r#"{{"content":"{MARK}{stamp:016x}{LINE}"}}"#);
        let page = format!(r#"430[{{"ok":true,"messages":[{},{}]}}]"#, message(1), message(2));
        assert_eq!(stamps(&page), Some(vec![1, 2]));
        assert_eq!(stamps("430[{\"messages\":[]}]"), Some(Vec::new()));
        assert_eq!(stamps("bench:00c8"), None);
    }

    #[test]
    fn acknowledgements_are_told_apart() {
        assert_eq!(read(r#"4312[{"ok":true,"message":{"seq":1}}]"#), Incoming::Accepted);
        let refused = r#"4312[{"ok":false,"error":{"code":"rate-limited"}}]"#;
        assert_eq!(read(refused), Incoming::Refused(refused));
    }

    #[test]
    fn failures_are_not_taken_for_chatter() {
        for packet in [
            r#"44{"message":"Authentication error"}"#,
            "41",
            r#"42["error-event",{}]"#,
        ] {
            assert_eq!(read(packet), Incoming::Refused(packet));
        }
        assert_eq!(read(r#"42["presence",{"userId":"u"}]"#), Incoming::Other);
        assert_eq!(read("2"), Incoming::Ping);
    }
}
