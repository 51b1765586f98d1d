//! Replaces lone surrogates: JSON escapes of half a UTF-16 pair, as JavaScript writes when text was cut inside an
//! emoji.

use std::borrow::Cow;

/// Length of `\uXXXX`.
const ESCAPE: usize = 6;

/// Replaces each escape of a lone surrogate by U+FFFD, the replacement character. JavaScript accepts lone surrogates;
/// `serde_json` and UTF-8 cannot represent them. All other bytes stay. Most texts have no such escapes and cost one
/// search.
#[must_use]
pub fn without_lone_surrogates(json: &str) -> Cow<'_, str> {
    let mut mended: Option<String> = None;
    let (mut kept, mut at) = (0, 0);
    while let Some(found) = json.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        let (passed, lone) = match surrogate(json, at) {
            // Another escape, of one character. In a text that is not JSON the next position may be inside a character.
            None => (2, false),
            Some(Half::High) if surrogate(json, at + ESCAPE) == Some(Half::Low) => (2 * ESCAPE, false),
            Some(Half::High | Half::Low) => (ESCAPE, true),
        };
        if lone {
            let mended = mended.get_or_insert_with(|| String::with_capacity(json.len()));
            mended.push_str(json.get(kept..at).unwrap_or_default());
            mended.push(char::REPLACEMENT_CHARACTER);
            kept = at + passed;
        }
        at += passed;
        while at < json.len() && !json.is_char_boundary(at) {
            at += 1;
        }
    }
    match mended {
        None => Cow::Borrowed(json),
        Some(mut mended) => {
            mended.push_str(json.get(kept..).unwrap_or_default());
            Cow::Owned(mended)
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    High,
    Low,
}

/// Which half of a pair is escaped at this position, if any.
fn surrogate(json: &str, at: usize) -> Option<Half> {
    let digits = json.get(at..at + ESCAPE)?.strip_prefix("\\u")?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    match u16::from_str_radix(digits, 16).ok()? {
        0xd800..=0xdbff => Some(Half::High),
        0xdc00..=0xdfff => Some(Half::Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use parlance_strategies::escapes;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_lone_surrogates_are_replaced() {
        for (json, expected) in [
            (r#"["\ud83d"]"#, "[\"\u{fffd}\"]"),
            (r#"["\uDC4B"]"#, "[\"\u{fffd}\"]"),
            (r#"["\ud83d\ud83d\udc4b"]"#, "[\"\u{fffd}\\ud83d\\udc4b\"]"),
            (r#"["\udc4b\ud83d"]"#, "[\"\u{fffd}\u{fffd}\"]"),
            (r#"["\ud83d\n\udc4b"]"#, "[\"\u{fffd}\\n\u{fffd}\"]"),
            (r#"["\ud83dé"]"#, "[\"\u{fffd}é\"]"),
            (r#"{"\ud83d":"\ud83d"}"#, "{\"\u{fffd}\":\"\u{fffd}\"}"),
            (r#"["\\\ud83d"]"#, "[\"\\\\\u{fffd}\"]"),
        ] {
            assert_eq!(without_lone_surrogates(json), expected, "{json}");
        }
        for same in [
            r#"["\ud83d\udc4b"]"#,
            r#"["\\ud83d"]"#,
            r#"["\u00e9\u0000"]"#,
            r#"["👋"]"#,
            r#"["\ud83"]"#,
            "\\",
            "\\u",
            "\\é\\ud",
            "",
        ] {
            assert!(matches!(without_lone_surrogates(same), Cow::Borrowed(text) if text == same));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn serde_can_read_every_result(text in escapes()) {
            let mended = without_lone_surrogates(&text);
            let read = serde_json::from_str::<String>(&mended);
            prop_assert!(read.is_ok(), "it became {mended}");
            prop_assert_eq!(&*without_lone_surrogates(&mended), &*mended);
            if let Ok(before) = serde_json::from_str::<String>(&text) {
                prop_assert_eq!(read.unwrap(), before);
            }
        }

        #[test]
        fn it_never_panics(text: String) {
            let _ = without_lone_surrogates(&text);
        }
    }
}
