//! The objects in clients' events.
//!
//! An unknown key of an object is skipped, so that clients of later versions are served. The reply names it, so that a
//! misspelt key is noticed.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, IntoDeserializer, MapAccess, Visitor};

use parlance_store::PastRange;
use parlance_types::id::{RoomId, UserId};
use parlance_types::text::number::{whole, whole_u32};

/// The most unknown keys that a reply names.
const UNKNOWN_KEYS_MAX: usize = 8;
/// The most bytes of an unknown key that a reply has.
const UNKNOWN_KEY_BYTES: usize = 64;

/// The keys of an object that its struct has fields for.
pub(super) trait KnownFields {
    const KEYS: &'static [&'static str];
}

impl KnownFields for super::SendMessage {
    const KEYS: &'static [&'static str] = &["roomId", "content", "metadata", "clientId"];
}

/// A client's request for one page of a room's history.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
pub(in crate::dispatch) struct HistoryRequest {
    #[serde(rename = "roomId")]
    #[schemars(with = "RoomId")]
    pub(in crate::dispatch) room: String,
    /// Only messages after this `seq`, the oldest ones first.
    #[serde(default, deserialize_with = "whole")]
    pub(in crate::dispatch) after: Option<u64>,
    /// Only messages before this `seq`.
    #[serde(default, deserialize_with = "whole")]
    pub(in crate::dispatch) before: Option<u64>,
    /// At most this many.
    #[serde(default, deserialize_with = "whole_u32")]
    pub(in crate::dispatch) limit: Option<u32>,
}

impl KnownFields for HistoryRequest {
    const KEYS: &'static [&'static str] = &["roomId", "after", "before", "limit"];
}

/// A client's request for a page of its user's rooms, with what is unread in each.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(inline)]
pub(in crate::dispatch) struct UnreadRequest {
    /// Only rooms after this one.
    #[serde(default)]
    #[schemars(with = "Option<RoomId>")]
    pub(in crate::dispatch) after: Option<String>,
    /// At most this many.
    #[serde(default, deserialize_with = "whole_u32")]
    pub(in crate::dispatch) limit: Option<u32>,
}

impl KnownFields for UnreadRequest {
    const KEYS: &'static [&'static str] = &["after", "limit"];
}

/// A client's request for a page of a room's lasting members.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
pub(in crate::dispatch) struct RoomMembersRequest {
    #[serde(rename = "roomId")]
    #[schemars(with = "RoomId")]
    pub(in crate::dispatch) room: String,
    /// Only members after this user.
    #[serde(default)]
    #[schemars(with = "Option<UserId>")]
    pub(in crate::dispatch) after: Option<String>,
    /// At most this many.
    #[serde(default, deserialize_with = "whole_u32")]
    pub(in crate::dispatch) limit: Option<u32>,
}

impl KnownFields for RoomMembersRequest {
    const KEYS: &'static [&'static str] = &["roomId", "after", "limit"];
}

/// Which part of a room's past a join asks for.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[schemars(rename = "JoinOptions")]
pub(super) struct PastRequest {
    /// Only messages after this `seq`.
    #[serde(default, deserialize_with = "whole")]
    after: Option<u64>,
    /// At most this many messages, the newest ones. Zero counts as absent.
    #[serde(default, deserialize_with = "positive")]
    last: Option<u32>,
    /// Also what has changed of messages up to `after`, since the change with this number.
    #[serde(default, deserialize_with = "whole")]
    rev: Option<u64>,
}

/// Reads a count, and zero as absent.
fn positive<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<Option<u32>, D::Error> {
    Ok(whole_u32(reader)?.filter(|count| *count > 0))
}

impl From<PastRequest> for PastRange {
    fn from(PastRequest { after, last, rev }: PastRequest) -> Self {
        Self { after, last, rev }
    }
}

impl KnownFields for PastRequest {
    const KEYS: &'static [&'static str] = &["after", "last", "rev"];
}

/// A struct that is read from a JSON object only. A derived `Deserialize` would also take an array of the fields.
pub(super) struct Object<T> {
    pub(super) fields: T,
    /// The first of the unknown keys.
    pub(super) unknown: Vec<String>,
}

impl<'de, T: Deserialize<'de> + KnownFields> Deserialize<'de> for Object<T> {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + KnownFields> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        let mut unknown = Vec::new();
        let known = KnownKeys {
            map,
            keys: T::KEYS,
            unknown: &mut unknown,
        };
        match T::deserialize(serde::de::value::MapAccessDeserializer::new(known)) {
            Ok(fields) => Ok(Object { fields, unknown }),
            Err(error) if unknown.is_empty() => Err(error),
            Err(error) => Err(A::Error::custom(format_args!(
                "{error}; unknown: {}",
                unknown.join(", ")
            ))),
        }
    }
}

/// Yields the entries of an object with known keys, and collects the other keys.
struct KnownKeys<'a, A> {
    map: A,
    keys: &'static [&'static str],
    unknown: &'a mut Vec<String>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for KnownKeys<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<Cow<'de, str>>()? {
            if self.keys.contains(&&*key) {
                return seed.deserialize(key.into_deserializer()).map(Some);
            }
            if self.unknown.len() < UNKNOWN_KEYS_MAX {
                let mut name = key.into_owned();
                name.truncate(name.floor_char_boundary(UNKNOWN_KEY_BYTES));
                self.unknown.push(name);
            }
            self.map.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
