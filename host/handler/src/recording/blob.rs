//! Bytes in a recording: a JSON string when they are UTF-8, else `{"base64": "…"}`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that are shown as text where they are text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form<'a> {
    #[serde(borrow)]
    Text(std::borrow::Cow<'a, str>),
    Binary {
        base64: String,
    },
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => Form::Text(text.into()),
            Err(_) => Form::Binary {
                base64: STANDARD.encode(&self.0),
            },
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Ok(Self(text.into_owned().into_bytes())),
            Form::Binary { base64 } => STANDARD.decode(base64).map(Self).map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_back_as_written() {
        for (bytes, json) in [
            (&b"plain \"text\""[..], r#""plain \"text\"""#),
            ("é\n".as_bytes(), r#""é\n""#),
            (&[0xff, 0][..], r#"{"base64":"/wA="}"#),
            (&[][..], r#""""#),
        ] {
            let blob = Blob(bytes.to_vec());
            assert_eq!(serde_json::to_string(&blob).unwrap(), json);
            assert_eq!(serde_json::from_str::<Blob>(json).unwrap(), blob);
        }
        assert!(serde_json::from_str::<Blob>(r#"{"base64":"?"}"#).is_err());
    }
}
