//! Describes all events of clients and of the server as an AsyncAPI 3.0 document, from the structs that are parsed and
//! written.

use schemars::generate::{Contract, SchemaSettings};
use schemars::transform::{RemoveRefSiblings, Transform as _};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value as Json, json};

use super::event::{CLIENT_EVENTS, ClientEvent};
use parlance_handler::capability::{HostEventDescription, MEMBERS_EVENTS, MODERATE_EVENTS};
use parlance_hub::{Failed, HUB_EVENTS, UserTyping};

const ABOUT: &str = "\
The events between clients and the server, each a Socket.IO packet with the event's name and arguments. A payload is the \
array of the arguments that follow the name; an argument's `title` is its name. A reply is the array of the arguments \
of the acknowledgement, if the client asked for one. The events are described as the shipped handlers handle them; a \
tenant may replace any handler, and have events of any other name. Times are milliseconds since the Unix epoch. \
Sizes of texts are limited in bytes, by settings of the server. Later versions may add keys and arguments.";

/// Where the document has its schemas.
const SCHEMAS: &str = "/components/schemas";
const CHANNEL: &str = "#/channels/namespace";
/// The message that every event may be answered with.
const FAILED: &str = "failed";

/// What the shipped handlers emit. The host's own events are declared where they are sent.
const SHIPPED_EVENTS: &[HostEventDescription] = &[HostEventDescription {
    name: "user-typing",
    about: " A user types, or has stopped.",
    argument: |schemas| schemas.subschema_for::<UserTyping>(),
}];

/// The AsyncAPI 3.0 document of all events, with sorted keys.
#[must_use]
pub fn asyncapi() -> Json {
    let mut document = Document {
        read: generator(Contract::Deserialize),
        written: generator(Contract::Serialize),
        messages: Map::new(),
        operations: Map::new(),
    };
    let failed = document.written.subschema_for::<Failed<'_>>();
    document.message(
        FAILED,
        "failed",
        "The acknowledgement of an event that failed.",
        vec![failed],
        1,
    );
    for event in CLIENT_EVENTS {
        document.client_event(event);
    }
    for event in [HUB_EVENTS, MEMBERS_EVENTS, MODERATE_EVENTS, SHIPPED_EVENTS]
        .into_iter()
        .flatten()
    {
        document.host_event(event);
    }
    document.finish()
}

fn generator(contract: Contract) -> SchemaGenerator {
    let mut settings = SchemaSettings::draft07();
    settings.definitions_path = SCHEMAS.into();
    settings.contract = contract;
    settings.into_generator()
}

struct Document {
    /// Of what clients send.
    read: SchemaGenerator,
    /// Of what the server sends.
    written: SchemaGenerator,
    messages: Map<String, Json>,
    operations: Map<String, Json>,
}

impl Document {
    fn client_event(&mut self, event: &ClientEvent) {
        let schemas = event.arguments.iter().map(|argument| {
            let mut schema = (argument.schema)(&mut self.read);
            RemoveRefSiblings::default().transform(&mut schema);
            schema.insert("title".to_owned(), argument.name.into());
            schema
        });
        let schemas = schemas.collect();
        let required = event.arguments.iter().filter(|argument| argument.is_required).count();
        self.message(event.name, event.name, event.about, schemas, required);
        let answer_name = format!("{}.answer", event.name);
        let answer = (event.answer)(&mut self.written);
        let about = format!("The acknowledgement of `{}`.", event.name);
        self.message(&answer_name, event.name, &about, vec![answer], 1);
        let reply = json!({
            "channel": { "$ref": CHANNEL },
            "messages": [in_channel(&answer_name), in_channel(FAILED)],
        });
        self.operation(event.name, "receive", event.about, Some(reply));
    }

    fn host_event(&mut self, event: &HostEventDescription) {
        let argument = (event.argument)(&mut self.written);
        let about = event.about.trim();
        self.message(event.name, event.name, about, vec![written(argument)], 1);
        self.operation(event.name, "send", about, None);
    }

    fn message(&mut self, key: &str, name: &str, about: &str, arguments: Vec<Schema>, required: usize) {
        let message = json!({
            "name": name,
            "summary": about,
            "payload": { "type": "array", "items": arguments, "minItems": required },
        });
        self.messages.insert(key.to_owned(), message);
    }

    fn operation(&mut self, name: &str, action: &str, about: &str, reply: Option<Json>) {
        let mut operation = json!({
            "action": action,
            "summary": about,
            "channel": { "$ref": CHANNEL },
            "messages": [in_channel(name)],
        });
        if let (Some(operation), Some(reply)) = (operation.as_object_mut(), reply) {
            operation.insert("reply".to_owned(), reply);
        }
        self.operations.insert(name.to_owned(), operation);
    }

    fn finish(mut self) -> Json {
        let mut schemas = self.read.take_definitions(true);
        for (name, schema) in self.written.take_definitions(true) {
            let schema = Schema::try_from(schema).map(written).unwrap_or_default();
            schemas.insert(name, schema.to_value());
        }
        let refer = |key: &String| (key.clone(), json!({ "$ref": format!("#/components/messages/{key}") }));
        let in_channel: Map<String, Json> = self.messages.keys().map(refer).collect();
        let mut document = json!({
            "asyncapi": "3.0.0",
            "info": {
                "title": "Parlance",
                "version": env!("CARGO_PKG_VERSION"),
                "description": ABOUT,
                "license": { "name": env!("CARGO_PKG_LICENSE") },
            },
            "defaultContentType": "application/json",
            "channels": {
                "namespace": {
                    "address": "/{tenant}",
                    "description": "The Socket.IO namespace of a tenant. The client's token is `auth.token`, a JWT.",
                    "parameters": {
                        "tenant": { "description": "The tenant's name; empty for the default tenant." },
                    },
                    "messages": in_channel,
                },
            },
            "operations": self.operations,
            "components": { "messages": self.messages, "schemas": schemas },
        });
        drop_formats(&mut document);
        document.sort_all_objects();
        document
    }
}

fn in_channel(message: &str) -> Json {
    json!({ "$ref": format!("{CHANNEL}/messages/{message}") })
}

/// Completes the schema of what the server writes: references have no siblings, as draft 7 requires, and what may be
/// absent is never null.
fn written(mut schema: Schema) -> Schema {
    RemoveRefSiblings::default().transform(&mut schema);
    never_null(&mut schema);
    schema
}

fn never_null(schema: &mut Schema) {
    let required: Vec<Json> = schema
        .get("required")
        .and_then(Json::as_array)
        .cloned()
        .unwrap_or_default();
    let Some(properties) = schema.get_mut("properties").and_then(Json::as_object_mut) else {
        return;
    };
    for (name, property) in properties.iter_mut() {
        if required.iter().any(|required| required == name) {
            continue;
        }
        if let Some(types) = property.get_mut("type").filter(|types| types.is_array()) {
            let left = types
                .as_array()
                .into_iter()
                .flatten()
                .find(|each| *each != "null")
                .cloned();
            *types = left.unwrap_or_default();
        }
        let Some(property) = property.as_object_mut() else {
            continue;
        };
        if let Some(Json::Array(mut alternatives)) = property.remove("anyOf") {
            alternatives.retain(|each| each["type"] != "null");
            property.insert("allOf".to_owned(), alternatives.into());
        }
    }
}

/// Drops formats such as `uint64`, which validators of JSON Schema do not know. The ranges of numbers stay.
fn drop_formats(value: &mut Json) {
    match value {
        Json::Object(object) => {
            if object.get("format").is_some_and(|format| format.is_string()) {
                object.remove("format");
            }
            object.values_mut().for_each(drop_formats);
        }
        Json::Array(items) => items.iter_mut().for_each(drop_formats),
        _ => {}
    }
}
