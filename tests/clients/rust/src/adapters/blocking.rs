//! The library's client with threads.

use std::sync::Arc;

use crate::cases::payload::{answer, notice, told};
use crate::cases::user::{Answer, Options, Told, patience};
use crate::library;
use crate::socketio::{ClientBuilder, Event, Payload, client};

pub struct Client(client::Client);

impl Client {
    /// Opens the transport; `tell` gets all that the library hands over.
    pub fn begin(options: Options, tell: Arc<dyn Fn(Told) + Send + Sync>) -> Self {
        let (connected, closed, error, event) = (tell.clone(), tell.clone(), tell.clone(), tell);
        let mut builder = ClientBuilder::new(options.url())
            .namespace(options.namespace)
            .transport_type(options.transport)
            .reconnect(options.again)
            .reconnect_delay(50, 500)
            .on(Event::Connect, move |_, _| connected(Told::Connected))
            .on(Event::Close, move |payload, _| closed(Told::Closed(notice(&payload))))
            .on(Event::Error, move |payload, _| error(Told::Error(notice(&payload))))
            .on_any(move |name, payload, client| {
                library::acknowledge(&client, &payload);
                event(told(&name, &payload));
            });
        if let Some(auth) = options.auth {
            builder = builder.auth(auth);
        }
        Self(builder.connect().expect("the transport opens"))
    }

    pub fn emit(&self, event: &str, payload: Payload) {
        self.0.emit(event, payload).expect("the event is sent");
    }

    pub fn ask(&self, event: &str, payload: Payload, tell: Arc<dyn Fn(Answer) + Send + Sync>) {
        let answered = move |payload: Payload, _| tell(answer(&payload));
        self.0
            .emit_with_ack(event, payload, patience(), answered)
            .expect("the event is sent");
    }

    pub fn disconnect(&self) {
        self.0.disconnect().expect("a disconnect");
    }
}
