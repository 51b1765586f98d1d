//! Translates the packets of clients that use `socket.io-msgpack-parser`.
//!
//! Such a packet is one MessagePack map that contains its binary values. The rest of the server knows packets only as
//! the default parser has them: text, with the attachments beside it.

use bytes::Bytes;
use engineioxide::{Translate, Translator};
use std::sync::Arc;

use parlance_hub::msgpack::{CodecError, Reader, read_data, write_data, write_string};
use parlance_types::throttle::LogThrottle;

/// The packet types (Socket.IO protocol 5) that are different when the packet has attachments.
const EVENT: char = '2';
const ACK: char = '3';
const BINARY_EVENT: char = '5';
const BINARY_ACK: char = '6';
/// MessagePack takes at most this many times the bytes of JSON. `[]` is among the worst: two bytes, for which the
/// array's header alone may take five.
const EXPANSION: usize = 4;

/// Translates packets from and to MessagePack.
#[derive(Debug, Default)]
struct MessagePack {
    unknown: LogThrottle,
}

/// The translator that the Engine.IO layer uses for clients that send MessagePack.
pub(super) fn translator() -> Translator {
    Translator(Arc::new(MessagePack::default()))
}

impl Translate for MessagePack {
    fn read(&self, packet: Bytes) -> Option<(String, Vec<Bytes>)> {
        read(packet).ok()?
    }

    fn write(&self, text: &str, attachments: &[Bytes]) -> Option<Bytes> {
        write(text, attachments)
    }

    fn report_unknown(&self) {
        if let Some(suppressed) = self.unknown.pass() {
            tracing::info!(
                suppressed,
                "a client was disconnected: its first packet is neither in Socket.IO's default encoding nor in that of \
                 socket.io-msgpack-parser (the client's option `parser`)"
            );
        }
    }
}

pub(super) fn read(packet: Bytes) -> Result<Option<(String, Vec<Bytes>)>, CodecError> {
    let mut input = Reader::new(packet);
    let (mut kind, mut namespace, mut id, mut data) = (None, None, None, None);
    for _ in 0..input.map()? {
        match input.name()?.as_str() {
            "type" => kind = Some(input.unsigned()?),
            "nsp" => namespace = Some(input.name()?),
            "id" => id = input.optional_unsigned()?,
            "data" => data = Some(read_data(&mut input)?),
            _ => input.skip()?,
        }
    }
    let Some(namespace) = namespace.filter(|name| name.starts_with('/') && !name.contains(',')) else {
        return Ok(None);
    };
    let data = data.filter(|data| &*data.text != b"null");
    let attachments = data.as_ref().map_or(0, |data| data.attachments.len());
    let mut text = String::with_capacity(data.as_ref().map_or(0, |data| data.text.len()) + namespace.len() + 32);
    text.push(match (kind, attachments) {
        (Some(0), 0) => '0',
        (Some(1), 0) => '1',
        (Some(2), 0) => EVENT,
        (Some(2), _) => BINARY_EVENT,
        (Some(3), 0) => ACK,
        (Some(3), _) => BINARY_ACK,
        _ => return Ok(None),
    });
    if attachments > 0 {
        text.push_str(&format!("{attachments}-"));
    }
    if namespace != "/" {
        text.push_str(&namespace);
        text.push(',');
    }
    if let Some(id) = id {
        text.push_str(&id.to_string());
    }
    let Some(data) = data else {
        return Ok(Some((text, Vec::new())));
    };
    let Ok(json) = std::str::from_utf8(&data.text) else {
        return Ok(None);
    };
    // Behind the number of an acknowledgement, a payload that is a number would be more of its digits.
    if !json.starts_with(['[', '{']) {
        return Ok(None);
    }
    text.push_str(json);
    Ok(Some((text, data.attachments)))
}

pub(super) fn write(text: &str, attachments: &[Bytes]) -> Option<Bytes> {
    let (kind, rest) = text.split_at_checked(1)?;
    let (kind, rest) = match kind.chars().next()? {
        BINARY_EVENT => (EVENT, rest.split_once('-')?.1),
        BINARY_ACK => (ACK, rest.split_once('-')?.1),
        other => (other, rest),
    };
    let (namespace, rest) = if rest.starts_with('/') {
        rest.split_once(',')?
    } else {
        ("/", rest)
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (id, json) = rest.split_at_checked(digits)?;
    let bytes = attachments
        .iter()
        .map(Bytes::len)
        .fold(json.len(), usize::saturating_add);
    // Placeholders may stand for as many bytes as there are, in addition.
    let most = bytes.saturating_mul(EXPANSION + 1).saturating_add(64 + namespace.len());
    let mut out = Vec::with_capacity(bytes + namespace.len() + 64);
    let entries = 2 + u32::from(!json.is_empty()) + u32::from(!id.is_empty());
    // Writing to memory does not fail.
    rmp::encode::write_map_len(&mut out, entries).ok()?;
    write_string(&mut out, "type");
    rmp::encode::write_uint(&mut out, u64::from(kind.to_digit(10)?)).ok()?;
    if !json.is_empty() {
        write_string(&mut out, "data");
        write_data(&mut out, json.as_bytes(), attachments, most).ok()?;
    }
    write_string(&mut out, "nsp");
    write_string(&mut out, namespace);
    if !id.is_empty() {
        write_string(&mut out, "id");
        rmp::encode::write_uint(&mut out, id.parse().ok()?).ok()?;
    }
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(text: &str, attachments: &[&'static [u8]]) -> (String, Vec<Bytes>) {
        let attachments: Vec<_> = attachments.iter().map(|bytes| Bytes::from_static(bytes)).collect();
        let packet = write(text, &attachments).unwrap();
        read(packet).unwrap().unwrap()
    }

    #[test]
    fn packets_come_back_as_they_were() {
        for text in [
            "0",
            r#"0/t,{"sid":"x"}"#,
            "1/t,",
            r#"2["x",1,{"a":[null,"é"]}]"#,
            r#"2/t,12["x"]"#,
            "3/t,0[]",
            r#"312["x",-1.5]"#,
        ] {
            assert_eq!(there_and_back(text, &[]), (text.to_owned(), Vec::new()));
        }
        let text = r#"52-/t,3["x",{"_placeholder":true,"num":0},[{"_placeholder":true,"num":1}]]"#;
        assert_eq!(
            there_and_back(text, &[b"a", b""]),
            (text.to_owned(), vec!["a".into(), "".into()])
        );
        let text = r#"61-3[{"_placeholder":true,"num":0}]"#;
        assert_eq!(there_and_back(text, &[b"a"]).0, text);
    }

    #[test]
    fn invalid_packets_are_refused() {
        let map = |entries: &[(&str, &[u8])]| {
            let mut out = Vec::new();
            rmp::encode::write_map_len(&mut out, u32::try_from(entries.len()).unwrap()).unwrap();
            for (key, value) in entries {
                write_string(&mut out, key);
                out.extend_from_slice(value);
            }
            read(out.into())
        };
        // {type: 2, nsp: "/", data: ["x"]}, with one thing wrong in each.
        let (event, root, data): (&[u8], &[u8], &[u8]) = (&[2], &[0xa1, b'/'], &[0x91, 0xa1, b'x']);
        assert!(matches!(
            map(&[("type", event), ("nsp", root), ("data", data)]),
            Ok(Some(_))
        ));
        assert!(matches!(map(&[("nsp", root), ("data", data)]), Ok(None)));
        assert!(matches!(map(&[("type", event), ("data", data)]), Ok(None)));
        assert!(matches!(
            map(&[("type", &[7]), ("nsp", root), ("data", data)]),
            Ok(None)
        ));
        assert!(matches!(
            map(&[("type", event), ("nsp", &[0xa2, b'/', b',']), ("data", data)]),
            Ok(None)
        ));
        assert!(matches!(
            map(&[("type", event), ("nsp", root), ("data", &[5])]),
            Ok(None)
        ));
        assert!(map(&[("type", &[0xc0]), ("nsp", root)]).is_err());
        assert!(map(&[("type", event), ("nsp", root), ("id", &[0xff])]).is_err());
        assert!(
            map(&[
                ("type", event),
                ("nsp", root),
                ("data", &[0xdd, 0xff, 0xff, 0xff, 0xff])
            ])
            .is_err()
        );
        assert!(read(Bytes::from_static(b"2[\"x\"]")).is_err());
        assert!(read(Bytes::new()).is_err());
    }
}
