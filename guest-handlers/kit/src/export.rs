//! From the traits to the component's exports.

/// Exports a type as the component's handler for the interfaces named: `message`, `typing`, `receipt`, `presence`,
/// `room`, `event`, `event_ack`, `answer`, `server_event`. The type implements the trait of each.
///
/// ```ignore
/// parlance_guest::export!(Chat: message, room);
/// ```
#[macro_export]
macro_rules! export {
    ($handler:ty: $($interface:ident),+ $(,)?) => {
        $( $crate::__export!($interface, $handler); )+
    };
}

#[doc(hidden)]
#[macro_export]
// rustfmt indents it differently each time.
#[rustfmt::skip]
macro_rules! __export {
    (message, $handler:ty) => {
        const _: () = {
            use $crate::bindings::message as world;
            struct Export;
            impl world::exports::parlance::chat::on_message::Guest for Export {
                fn handle(context: $crate::Context, message: $crate::Incoming) -> Result<Option<String>, $crate::Rejection> {
                    $crate::install_panic_log();
                    $crate::reply(<$handler as $crate::MessageHandler>::handle(&context, message))
                }
            }
            world::export_on_message!(Export with_types_in world);
        };
    };
    (typing, $handler:ty) => {
        const _: () = {
            use $crate::bindings::typing as world;
            struct Export;
            impl world::exports::parlance::chat::on_typing::Guest for Export {
                fn handle(context: $crate::Context, room: String, typing: bool) -> Result<(), $crate::Rejection> {
                    $crate::install_panic_log();
                    <$handler as $crate::TypingHandler>::handle(&context, room, typing)
                }
            }
            world::export_on_typing!(Export with_types_in world);
        };
    };
    (receipt, $handler:ty) => {
        const _: () = {
            use $crate::bindings::receipt as world;
            struct Export;
            impl world::exports::parlance::chat::on_receipt::Guest for Export {
                fn handle(context: $crate::Context, message: String) -> Result<(), $crate::Rejection> {
                    $crate::install_panic_log();
                    <$handler as $crate::ReceiptHandler>::handle(&context, message)
                }
            }
            world::export_on_receipt!(Export with_types_in world);
        };
    };
    (presence, $handler:ty) => {
        const _: () = {
            use $crate::bindings::presence as world;
            struct Export;
            impl world::exports::parlance::chat::on_presence::Guest for Export {
                fn handle(context: $crate::Context, change: $crate::Change) -> Result<(), $crate::Rejection> {
                    $crate::install_panic_log();
                    <$handler as $crate::PresenceHandler>::handle(&context, change)
                }
            }
            world::export_on_presence!(Export with_types_in world);
        };
    };
    (room, $handler:ty) => {
        const _: () = {
            use $crate::bindings::room as world;
            struct Export;
            impl world::exports::parlance::chat::on_room::Guest for Export {
                fn handle(context: $crate::Context, request: $crate::Request) -> Result<Option<String>, $crate::Rejection> {
                    $crate::install_panic_log();
                    $crate::reply(<$handler as $crate::RoomHandler>::handle(&context, request))
                }
            }
            world::export_on_room!(Export with_types_in world);
        };
    };
    (event, $handler:ty) => {
        const _: () = {
            use $crate::bindings::event as world;
            struct Export;
            impl world::exports::parlance::chat::on_event::Guest for Export {
                fn handle(
                    context: $crate::Context,
                    name: String,
                    arguments: String,
                    attachments: Vec<Vec<u8>>,
                ) -> Result<Option<String>, $crate::Rejection> {
                    $crate::install_panic_log();
                    let arguments = $crate::Arguments::new(arguments, attachments);
                    $crate::reply(<$handler as $crate::EventHandler>::handle(&context, &name, arguments))
                }
            }
            world::export_on_event!(Export with_types_in world);
        };
    };
    (event_ack, $handler:ty) => {
        const _: () = {
            use $crate::bindings::event_ack as world;
            struct Export;
            impl world::exports::parlance::chat::on_event_ack::Guest for Export {
                fn handle(
                    context: $crate::Context,
                    name: String,
                    arguments: String,
                    attachments: Vec<Vec<u8>>,
                ) -> Result<$crate::Acknowledgement, $crate::Rejection> {
                    $crate::install_panic_log();
                    let arguments = $crate::Arguments::new(arguments, attachments);
                    <$handler as $crate::EventAckHandler>::handle(&context, &name, arguments)
                }
            }
            world::export_on_event_ack!(Export with_types_in world);
        };
    };
    (answer, $handler:ty) => {
        const _: () = {
            use $crate::bindings::answer as world;
            struct Export;
            impl world::exports::parlance::chat::on_answer::Guest for Export {
                fn handle(
                    context: $crate::Context,
                    tag: String,
                    answer: Option<world::exports::parlance::chat::on_answer::Answer>,
                ) -> Result<(), $crate::Rejection> {
                    $crate::install_panic_log();
                    let answer = answer.map(|answer| $crate::Arguments::new(answer.arguments, answer.attachments));
                    <$handler as $crate::AnswerHandler>::handle(&context, &tag, answer)
                }
            }
            world::export_on_answer!(Export with_types_in world);
        };
    };
    (server_event, $handler:ty) => {
        const _: () = {
            use $crate::bindings::server_event as world;
            struct Export;
            impl world::exports::parlance::chat::on_server_event::Guest for Export {
                fn handle(received_at: u64, name: String, arguments: String) -> Result<Option<String>, $crate::Rejection> {
                    $crate::install_panic_log();
                    let arguments = $crate::Arguments::new(arguments, Vec::new());
                    $crate::reply(<$handler as $crate::ServerEventHandler>::handle(received_at, &name, arguments))
                }
            }
            world::export_on_server_event!(Export with_types_in world);
        };
    };
}
