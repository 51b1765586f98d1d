//! `join-room` in a scenario: a room alone, or also which of its messages the answer is to have.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A user joins a room: the room alone, or also which of its messages the answer is to have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct JoinRoom {
    pub(super) room_id: String,
    pub(super) after: Option<u64>,
    pub(super) last: Option<u32>,
}

impl<'de> Deserialize<'de> for JoinRoom {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(JoinRoomVisitor)
    }
}

impl JsonSchema for JoinRoom {
    fn schema_name() -> Cow<'static, str> {
        "JoinRoom".into()
    }

    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [schemas.subschema_for::<String>(), schemas.subschema_for::<JoinWithPast>()] })
    }
}

struct JoinRoomVisitor;

impl<'de> Visitor<'de> for JoinRoomVisitor {
    type Value = JoinRoom;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a room, or {roomId, after, last}")
    }

    fn visit_str<E: de::Error>(self, room: &str) -> Result<JoinRoom, E> {
        Ok(JoinRoom {
            room_id: room.to_owned(),
            ..JoinRoom::default()
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<JoinRoom, A::Error> {
        let JoinWithPast { room_id, after, last } = Deserialize::deserialize(MapAccessDeserializer::new(map))?;
        Ok(JoinRoom { room_id, after, last })
    }
}

/// A user joins a room, and gets some of its messages with the answer.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct JoinWithPast {
    /// The room.
    room_id: String,
    /// The messages after this `seq`.
    after: Option<u64>,
    /// At most this many messages, the newest ones.
    last: Option<u32>,
}
