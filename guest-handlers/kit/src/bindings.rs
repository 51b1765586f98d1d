//! The bindings that wit-bindgen generates from `wit/`, which is a link to the repository's, and a copy of it in the
//! package. The capabilities are generated once and shared by all handlers' worlds, so that a
//! [`Rejection`](crate::Rejection) has the same type in all of them.

/// The imports of all worlds.
pub mod capabilities {
    wit_bindgen::generate!({ path: "wit", world: "capabilities", generate_all });
}

macro_rules! world {
    ($(#[$doc:meta])* $module:ident, $world:literal, $export:literal) => {
        $(#[$doc])*
        pub mod $module {
            wit_bindgen::generate!({
                path: "wit",
                world: $world,
                pub_export_macro: true,
                export_macro_name: $export,
                with: {
                    "parlance:chat/types@0.1.0": crate::bindings::capabilities::parlance::chat::types,
                    "parlance:chat/messages@0.1.0": crate::bindings::capabilities::parlance::chat::messages,
                    "parlance:chat/kv@0.1.0": crate::bindings::capabilities::parlance::chat::kv,
                    "parlance:chat/broadcast@0.1.0": crate::bindings::capabilities::parlance::chat::broadcast,
                    "parlance:chat/rooms@0.1.0": crate::bindings::capabilities::parlance::chat::rooms,
                    "parlance:chat/presence@0.1.0": crate::bindings::capabilities::parlance::chat::presence,
                    "parlance:chat/identity@0.1.0": crate::bindings::capabilities::parlance::chat::identity,
                    "parlance:chat/settings@0.1.0": crate::bindings::capabilities::parlance::chat::settings,
                    "parlance:chat/ambient@0.1.0": crate::bindings::capabilities::parlance::chat::ambient,
                    "parlance:chat/log@0.1.0": crate::bindings::capabilities::parlance::chat::log,
                    "parlance:chat/refusal@0.1.0": crate::bindings::capabilities::parlance::chat::refusal,
                    "parlance:chat/timers@0.1.0": crate::bindings::capabilities::parlance::chat::timers,
                    "parlance:chat/requests@0.1.0": crate::bindings::capabilities::parlance::chat::requests,
                    "parlance:chat/revise@0.1.0": crate::bindings::capabilities::parlance::chat::revise,
                    "parlance:chat/members@0.1.0": crate::bindings::capabilities::parlance::chat::members,
                    "parlance:chat/moderate@0.1.0": crate::bindings::capabilities::parlance::chat::moderate,
                },
            });
        }
    };
}

world!(
    /// `on-message`.
    message, "message-handler", "export_on_message"
);
world!(
    /// `on-typing`.
    typing, "typing-handler", "export_on_typing"
);
world!(
    /// `on-receipt`.
    receipt, "receipt-handler", "export_on_receipt"
);
world!(
    /// `on-presence`.
    presence, "presence-handler", "export_on_presence"
);
world!(
    /// `on-room`.
    room, "room-handler", "export_on_room"
);
world!(
    /// `on-event`.
    event, "event-handler", "export_on_event"
);
world!(
    /// `on-event-ack`.
    event_ack, "event-ack-handler", "export_on_event_ack"
);
world!(
    /// `on-answer`.
    answer, "answer-handler", "export_on_answer"
);
world!(
    /// `on-server-event`.
    server_event, "server-event-handler", "export_on_server_event"
);
world!(
    /// `on-timer`.
    timer, "timer-handler", "export_on_timer"
);
world!(
    /// `on-response`.
    response, "response-handler", "export_on_response"
);
world!(
    /// `on-revise`.
    revise, "revise-handler", "export_on_revise"
);
world!(
    /// `on-connect`.
    connect, "connect-handler", "export_on_connect"
);
