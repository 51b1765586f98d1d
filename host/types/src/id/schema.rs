//! The JSON Schemas of the ids that clients see.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{MAX_ROOM_BYTES, MAX_USER_BYTES, MessageId, RoomId, UserId};

/// Ids are written out where they are used: a reference would be longer, and its reader would have to follow it.
macro_rules! id_schema {
    ($id:ident, $schema:expr) => {
        impl JsonSchema for $id {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($id).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

// The limits are in bytes, and a character has one or more.
id_schema!(
    UserId,
    json_schema!({ "type": "string", "minLength": 1, "maxLength": MAX_USER_BYTES })
);
id_schema!(
    RoomId,
    json_schema!({ "type": "string", "minLength": 1, "maxLength": MAX_ROOM_BYTES })
);
id_schema!(
    MessageId,
    json_schema!({ "type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$" })
);
