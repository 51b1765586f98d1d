//! The library's client with futures, which a runtime of its own drives.

use std::sync::Arc;

use tokio::runtime::Runtime;

use crate::cases::payload::{answer, notice, told};
use crate::cases::user::{Answer, Options, Told, patience};
use crate::library;
use crate::socketio::asynchronous::{self, ClientBuilder};
use crate::socketio::{Event, Payload};

pub struct Client {
    runtime: Runtime,
    client: asynchronous::Client,
}

impl Client {
    /// Opens the transport; `tell` gets all that the library hands over.
    pub fn begin(options: Options, tell: Arc<dyn Fn(Told) + Send + Sync>) -> Self {
        let (connected, closed, error, event) = (tell.clone(), tell.clone(), tell.clone(), tell);
        let mut builder = ClientBuilder::new(options.url())
            .namespace(options.namespace)
            .transport_type(options.transport)
            .reconnect(options.again)
            .reconnect_delay(50, 500)
            .on(Event::Connect, move |_, _| {
                connected(Told::Connected);
                Box::pin(async {})
            })
            .on(Event::Close, move |payload, _| {
                closed(Told::Closed(notice(&payload)));
                Box::pin(async {})
            })
            .on(Event::Error, move |payload, _| {
                error(Told::Error(notice(&payload)));
                Box::pin(async {})
            })
            .on_any(move |name, payload, client| {
                event(told(&name, &payload));
                Box::pin(async move { library::acknowledge(&client, &payload).await })
            });
        if let Some(auth) = options.auth {
            builder = builder.auth(auth);
        }
        let runtime = Runtime::new().expect("a runtime");
        let client = runtime.block_on(builder.connect()).expect("the transport opens");
        Self { runtime, client }
    }

    pub fn emit(&self, event: &str, payload: Payload) {
        self.runtime
            .block_on(self.client.emit(event, payload))
            .expect("the event is sent");
    }

    pub fn ask(&self, event: &str, payload: Payload, tell: Arc<dyn Fn(Answer) + Send + Sync>) {
        let answered = move |payload: Payload, _| -> futures_util::future::BoxFuture<'static, ()> {
            tell(answer(&payload));
            Box::pin(async {})
        };
        let sent = self.client.emit_with_ack(event, payload, patience(), answered);
        self.runtime.block_on(sent).expect("the event is sent");
    }

    pub fn disconnect(&self) {
        self.runtime.block_on(self.client.disconnect()).expect("a disconnect");
    }
}
