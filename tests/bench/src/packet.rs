//! The parts of Engine.IO 4 and Socket.IO 5 that the load needs, as text packets.
//!
//! Deliveries are not parsed as JSON, since the load would then cost more than the servers. The content of a message
//! begins with a marker and a stamp, which are found by their bytes.

use memchr::memmem;

/// The marker at the beginning of every message's content. The stamp follows in 16 hexadecimal digits.
const MARK: &str = "bench:";
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
    if bytes.starts_with(br#"42["new-message""#) {
        return stamp(bytes).map_or(Incoming::Refused(packet), Incoming::Delivery);
    }
    if bytes.starts_with(b"43") {
        let ok = memmem::find(bytes, br#""ok":true"#).is_some();
        return if ok {
            Incoming::Accepted
        } else {
            Incoming::Refused(packet)
        };
    }
    if bytes == b"2" {
        return Incoming::Ping;
    }
    // A disconnect from the namespace, a refused connection, a failed event.
    let wrong = ["41", "44", r#"42["error-event""#]
        .iter()
        .any(|p| packet.starts_with(p));
    if wrong {
        Incoming::Refused(packet)
    } else {
        Incoming::Other
    }
}

/// The stamp in the content of a delivery.
fn stamp(delivery: &[u8]) -> Option<u64> {
    let start = memmem::find(delivery, MARK.as_bytes())? + MARK.len();
    let digits = delivery.get(start..start + DIGITS)?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Connects to a namespace with a token.
pub(crate) fn connect(namespace: &str, token: &str) -> String {
    // The main namespace is not written.
    match namespace {
        "/" => format!(r#"40{{"token":"{token}"}}"#),
        other => format!(r#"40{other},{{"token":"{token}"}}"#),
    }
}

/// Joins a room; acknowledged with number 0.
pub(crate) fn join(namespace: &str, room: &str) -> String {
    match namespace {
        "/" => format!(r#"420["join-room","{room}"]"#),
        other => format!(r#"42{other},0["join-room","{room}"]"#),
    }
}

/// Sends a message of 64 bytes whose content carries `stamp`; acknowledged with number `ack`.
pub(crate) fn send_message(ack: u32, room: &str, stamp: u64) -> String {
    format!(r#"42{ack}["send-message",{{"roomId":"{room}","content":"{MARK}{stamp:016x}{LINE}"}}]"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_gives_back_the_stamp_that_was_sent() {
        let sent = send_message(7, "room", 0x00c8_1234_5678_9abc);
        let content = sent.split(r#""content":""#).nth(1).and_then(|c| c.split('"').next());
        let content = content.expect("a message has content");
        assert_eq!(content.len(), 64);
        let delivery = format!(r#"42["new-message",{{"id":"x","seq":1,"content":"{content}"}}]"#);
        assert_eq!(read(&delivery), Incoming::Delivery(0x00c8_1234_5678_9abc));
    }

    #[test]
    fn a_delivery_without_a_whole_stamp_is_an_error() {
        let cut = r#"42["new-message",{"content":"bench:00c8"}]"#;
        assert_eq!(read(cut), Incoming::Refused(cut));
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
