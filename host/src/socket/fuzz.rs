//! Properties that must hold for any packet of a client with `socket.io-msgpack-parser`. The unit tests below and the
//! fuzz targets in `tests/fuzz` check them.

use bytes::Bytes;

use super::msgpack;

/// Reads a packet as text and attachments. Returns `None` for bytes that are not a packet.
///
/// # Panics
/// When writing the packet and reading it again gives another packet.
#[must_use]
pub fn packet(bytes: &[u8]) -> Option<(String, Vec<Bytes>)> {
    let packet = msgpack::read(Bytes::copy_from_slice(bytes)).ok()??;
    let (text, attachments) = &packet;
    let written = msgpack::write(text, attachments);
    let again = written.and_then(|written| msgpack::read(written).ok()?);
    assert_eq!(again.as_ref(), Some(&packet));
    Some(packet)
}

#[cfg(test)]
mod tests {
    use parlance_strategies::json;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_broken_packet_is_refused_or_read(
            namespace in "(|/[a-z]{1,5},)",
            number in proptest::option::of(any::<u32>()),
            argument in json(),
            broken in vec((any::<Index>(), any::<u8>()), 0..4),
        ) {
            let number = number.map_or_else(String::new, |number| number.to_string());
            let written = msgpack::write(&format!("2{namespace}{number}[\"e\",{argument}]"), &[]);
            let mut bytes = written.unwrap().to_vec();
            let whole = broken.is_empty();
            for (at, byte) in broken {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            prop_assert!(packet(&bytes).is_some() || !whole);
        }

        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            let _ = packet(&bytes);
        }
    }
}
