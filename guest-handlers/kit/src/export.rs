//! Exports a handler's traits from the component.

/// Exports a type as the component's handler for the named interfaces: `message`, `typing`, `receipt`, `revise`,
/// `presence`, `connect`, `room`, `event`, `event_ack`, `answer`, `server_event`, `timer`, `response`. The type must
/// implement the trait of each.
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

/// For each interface: its module in `bindings`, its name, the macro that exports it, its function, and how that calls
/// the handler's trait.
#[doc(hidden)]
#[macro_export]
// rustfmt indents it differently each time.
#[rustfmt::skip]
macro_rules! __export {
    (message, $handler:ty) => {
        $crate::__export_as!(message, on_message, export_on_message,
            (context: $crate::Context, message: $crate::Incoming) -> Result<Option<String>, $crate::Rejection>,
            $crate::reply(<$handler as $crate::MessageHandler>::handle(&context, message)));
    };
    (typing, $handler:ty) => {
        $crate::__export_as!(typing, on_typing, export_on_typing,
            (context: $crate::Context, room: String, typing: bool) -> Result<(), $crate::Rejection>,
            <$handler as $crate::TypingHandler>::handle(&context, room, typing));
    };
    (receipt, $handler:ty) => {
        $crate::__export_as!(receipt, on_receipt, export_on_receipt,
            (context: $crate::Context, message: String) -> Result<(), $crate::Rejection>,
            <$handler as $crate::ReceiptHandler>::handle(&context, message));
    };
    (presence, $handler:ty) => {
        $crate::__export_as!(presence, on_presence, export_on_presence,
            (context: $crate::Context, change: $crate::Change) -> Result<(), $crate::Rejection>,
            <$handler as $crate::PresenceHandler>::handle(&context, change));
    };
    (connect, $handler:ty) => {
        $crate::__export_as!(connect, on_connect, export_on_connect,
            (context: $crate::Context) -> Result<Vec<String>, $crate::Rejection>,
            <$handler as $crate::ConnectHandler>::handle(&context));
    };
    (room, $handler:ty) => {
        $crate::__export_as!(room, on_room, export_on_room,
            (context: $crate::Context, request: $crate::Request) -> Result<Option<String>, $crate::Rejection>,
            $crate::reply(<$handler as $crate::RoomHandler>::handle(&context, request)));
    };
    (event, $handler:ty) => {
        $crate::__export_as!(event, on_event, export_on_event,
            (context: $crate::Context, name: String, arguments: String, attachments: Vec<Vec<u8>>)
                -> Result<Option<String>, $crate::Rejection>,
            $crate::reply(<$handler as $crate::EventHandler>::handle(
                &context, &name, $crate::Arguments::new(arguments, attachments))));
    };
    (event_ack, $handler:ty) => {
        $crate::__export_as!(event_ack, on_event_ack, export_on_event_ack,
            (context: $crate::Context, name: String, arguments: String, attachments: Vec<Vec<u8>>)
                -> Result<$crate::Acknowledgement, $crate::Rejection>,
            <$handler as $crate::EventAckHandler>::handle(
                &context, &name, $crate::Arguments::new(arguments, attachments)));
    };
    (answer, $handler:ty) => {
        $crate::__export_as!(answer, on_answer, export_on_answer,
            (context: $crate::Context, tag: String,
                answer: Option<$crate::bindings::answer::exports::parlance::chat::on_answer::Answer>)
                -> Result<(), $crate::Rejection>,
            <$handler as $crate::AnswerHandler>::handle(
                &context, &tag, answer.map(|answer| $crate::Arguments::new(answer.arguments, answer.attachments))));
    };
    (timer, $handler:ty) => {
        $crate::__export_as!(timer, on_timer, export_on_timer,
            (name: String, due_ms: u64, payload: String) -> Result<(), $crate::Rejection>,
            <$handler as $crate::TimerHandler>::handle(&name, due_ms, $crate::Payload::new(payload)));
    };
    (response, $handler:ty) => {
        $crate::__export_as!(response, on_response, export_on_response,
            (id: String, tag: String, number: u32, part: $crate::ResponsePart) -> Result<(), $crate::Rejection>,
            <$handler as $crate::ResponseHandler>::handle(&id, &tag, number, part));
    };
    (revise, $handler:ty) => {
        $crate::__export_as!(revise, on_revise, export_on_revise,
            (context: $crate::Context, message: String, change: $crate::MessageChange)
                -> Result<Option<String>, $crate::Rejection>,
            $crate::reply(<$handler as $crate::ReviseHandler>::handle(&context, &message, change)));
    };
    (server_event, $handler:ty) => {
        $crate::__export_as!(server_event, on_server_event, export_on_server_event,
            (received_at: u64, name: String, arguments: String) -> Result<Option<String>, $crate::Rejection>,
            $crate::reply(<$handler as $crate::ServerEventHandler>::handle(
                received_at, &name, $crate::Arguments::new(arguments, Vec::new()))));
    };
}

#[doc(hidden)]
#[macro_export]
#[rustfmt::skip]
macro_rules! __export_as {
    ($module:ident, $interface:ident, $export:ident, ($($argument:ident: $kind:ty),*) -> $result:ty, $call:expr) => {
        const _: () = {
            use $crate::bindings::$module as world;
            struct Export;
            impl world::exports::parlance::chat::$interface::Guest for Export {
                fn handle($($argument: $kind),*) -> $result {
                    $crate::install_panic_log();
                    $call
                }
            }
            world::$export!(Export with_types_in world);
        };
    };
}
