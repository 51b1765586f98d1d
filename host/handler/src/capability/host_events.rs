//! The events that the host sends to clients. Each is declared once, with its name, its argument and its description.
//!
//! A packet can be made only of a declared event, so the descriptions of all events are never short of one.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::Packet;

/// An event that the host sends to clients. It has one argument.
pub trait HostEvent {
    /// The event's name.
    const NAME: &'static str;
    /// The argument, whose schema clients are told.
    type Argument<'a>: Serialize + JsonSchema;
}

/// What a description of all events says about one event of the host.
#[derive(Debug, Clone)]
pub struct HostEventDescription {
    /// The event's name.
    pub name: &'static str,
    /// When clients get it: the doc comment of its declaration.
    pub about: &'static str,
    /// Gives the schema of its argument.
    pub argument: fn(&mut SchemaGenerator) -> Schema,
}

impl Packet {
    /// The packet of an event of the host.
    pub(super) fn of<E: HostEvent>(argument: &E::Argument<'_>) -> Self {
        Self {
            // Numbers and text always become JSON.
            text: serde_json::to_vec(&(E::NAME, argument)).unwrap_or_default().into(),
            attachments: Vec::new(),
        }
    }
}

/// Declares events of the host, and a list of them: below its description each is `Type = "name", Argument<'a>;`.
#[macro_export]
macro_rules! declare_host_events {
    (
        $(#[doc = $list_doc:literal])+
        $list_vis:vis const $list:ident;
        $( $(#[doc = $line:literal])+ $vis:vis $event:ident = $name:literal, $argument:ty; )+
    ) => {
        $(
            $(#[doc = $line])+
            #[derive(Debug)]
            $vis struct $event;

            impl $crate::capability::HostEvent for $event {
                const NAME: &'static str = $name;
                type Argument<'a> = $argument;
            }
        )+

        $(#[doc = $list_doc])+
        $list_vis const $list: &[$crate::capability::HostEventDescription] = &[
            $( $crate::capability::HostEventDescription {
                name: $name,
                about: concat!($($line),+),
                argument: |schemas| {
                    schemas.subschema_for::<<$event as $crate::capability::HostEvent>::Argument<'static>>()
                },
            }, )+
        ];
    };
}

pub use declare_host_events;
