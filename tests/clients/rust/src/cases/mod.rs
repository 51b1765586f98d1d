//! The cases, for the library that the crate's root names `socketio`. `--list` prints their names, a name runs one. A
//! printed line `do …` asks the test for an action.

pub mod payload;
pub mod user;

use std::env;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::library::{ACKNOWLEDGES, IN_ORDER};
use crate::socketio::TransportType::{self, Any, Polling, Websocket, WebsocketUpgrade};
use user::{Answer, Options, Told, User, draft, room};

const AUTHENTICATION_ERROR: &str = "\"Authentication error";
/// Below the server's limit for an event.
const LARGE: usize = 50 * 1024;
/// Longer than the server's ping interval and timeout together.
const LONGER_THAN_A_PING: Duration = Duration::from_secs(7);
const BYTES: [u8; 6] = [0, 1, 2, 255, 254, b'a'];
const TEXTS: [&str; 10] = [
    "plain",
    "てすと",
    "Я Б Г Д Ж Й",
    "Ä ä Ü ü ß",
    "👋🏽 emoji 👩‍👩‍👧",
    "a/b </script> \\ \" ' \t\n\r",
    "\u{1}\u{7f}\u{2028}\u{2029}",
    "{\"_placeholder\":true,\"num\":0}",
    "مرحبا",
    "null",
];
const NAMES: [&str; 9] = [
    "a/b",
    "</a>",
    "grüße",
    "消息",
    "👋",
    "say \"hi\"",
    "back\\slash",
    "new\nline",
    " space ",
];
const ALONE: [TransportType; 2] = [Websocket, Polling];

/// Few enough for one part of a body.
const IN_A_ROW: usize = 20;

type Case = (&'static str, fn());

/// Every library has these.
const CASES: [Case; 35] = [
    ("connects over WebSocket alone", || connects(Websocket)),
    ("connects over polling and upgrades to WebSocket", || {
        connects(WebsocketUpgrade)
    }),
    ("connects over what the library prefers", || connects(Any)),
    ("chats over polling alone", || connects(Polling)),
    ("is told why a wrong token is refused", || {
        refused(Some(json!({"token": "garbage"})), "/")
    }),
    ("is told why no token is refused", || refused(None, "/")),
    ("is told why a token of another namespace is refused", || {
        refused(
            Some(json!({"token": env::var("ANN_TOKEN").expect("ANN_TOKEN is set")})),
            "/acme",
        );
    }),
    ("sends a query that the handler sees", query),
    ("connects to a tenant's namespace", tenant),
    ("stays connected for longer than a ping's timeout", pings),
    ("joins a room and is acknowledged", joins),
    ("sends a message, which both users receive", sends),
    ("texts of many scripts come back as they were sent", texts),
    ("event names with escapes reach the handler", names_to_the_handler),
    ("event names with escapes reach the client", names_to_the_client),
    ("a large message goes there and back over WebSocket", || {
        large(Websocket)
    }),
    ("a large message goes there and back over polling", || large(Polling)),
    ("messages that are emitted in a row stay in order", in_order),
    (
        "a refused event without acknowledgement arrives as error-event",
        error_event,
    ),
    (
        "a refused event with acknowledgement is acknowledged with the error",
        error_acknowledged,
    ),
    ("bytes go there and back", bytes),
    ("bytes of every value go there and back over WebSocket", || {
        every_byte(Websocket)
    }),
    ("bytes of every value go there and back over polling", || {
        every_byte(Polling)
    }),
    ("bytes that want an acknowledgement do no harm", harmless),
    ("false, null and numbers go there and back", values),
    ("an acknowledgement has several arguments", several),
    ("an acknowledgement has no arguments", || {
        assert_eq!(User::connect("ann", Any).ask("echo", Vec::new()), json!([]));
    }),
    ("an acknowledgement has bytes", acknowledged_with_bytes),
    ("disconnects, and others are told", disconnects),
    ("is disconnected by an operator", by_an_operator),
    ("is told of a revoked token and disconnected", revoked),
    (
        "connects again over WebSocket after the server was killed and started again",
        || again("kill", Websocket),
    ),
    (
        "connects again over polling after the server was killed and started again",
        || again("kill", Polling),
    ),
    (
        "connects again over WebSocket after the server stopped in order and started again",
        || again("stop", Websocket),
    ),
    (
        "connects again over polling after the server stopped in order and started again",
        || again("stop", Polling),
    ),
];

/// A library that can acknowledge has this one, too.
const ANSWERS: Case = (
    "the server asks, and the client's acknowledgement arrives",
    answers_the_server,
);

pub fn main() {
    let wanted = env::args().nth(1).expect("usage: PROGRAM --list | NAME");
    let cases = CASES.into_iter().chain(ACKNOWLEDGES.then_some(ANSWERS));
    if wanted == "--list" {
        for (name, _) in cases {
            println!("{name}");
        }
        return;
    }
    let (_, run) = cases
        .into_iter()
        .find(|(name, _)| *name == wanted)
        .expect("a case with this name");
    run();
    println!("done");
}

fn connects(transport: TransportType) {
    let ann = User::connect("ann", transport);
    assert_eq!(ann.join()["lastSeq"], 0);
    ann.post("hello");
    assert_eq!(ann.message(), "hello");
}

fn refused(auth: Option<Value>, namespace: &str) {
    for transport in ALONE {
        let stranger = Options {
            auth: auth.clone(),
            namespace,
            query: "",
            transport,
            again: true,
        }
        .begin();
        let why = stranger.refused();
        assert!(why.contains(AUTHENTICATION_ERROR), "{why}");
    }
}

fn query() {
    let auth = Some(json!({"token": env::var("ANN_TOKEN").expect("ANN_TOKEN is set")}));
    let query = "?key1=value1&key2=%26%3D%20%F0%9F%91%8B";
    let ann = Options {
        auth,
        namespace: "/",
        query,
        transport: Any,
        again: true,
    }
    .begin();
    ann.until(|told| *told == Told::Connected);
    let handshake = ann.ask("getHandshake", Vec::new());
    assert_eq!(handshake[0]["query"]["key1"], "value1", "{handshake}");
    assert_eq!(handshake[0]["query"]["key2"], "&= 👋", "{handshake}");
}

fn tenant() {
    let (ann, member) = (User::connect("ann", Any), User::enter("acme", "/acme", Any));
    ann.join();
    member.join();
    member.post("in the tenant");
    assert_eq!(member.message(), "in the tenant");
    ann.post("outside");
    assert_eq!(ann.message(), "outside");
}

fn pings() {
    let users = ALONE.map(|transport| User::connect("ann", transport));
    thread::sleep(LONGER_THAN_A_PING);
    for user in users {
        user.join();
        while let Some(told) = user.next(Duration::ZERO) {
            assert!(
                !matches!(told, Told::Closed(_) | Told::Error(_) | Told::Connected),
                "{told:?}"
            );
        }
    }
}

fn joins() {
    let joined = User::connect("ann", Any).must("join-room", vec![json!(room()), json!({"last": 10})]);
    assert_eq!(joined["lastSeq"], 0);
    assert_eq!(joined["complete"], true);
    assert_eq!(joined["messages"], json!([]));
    assert_eq!(joined["data"]["memberCount"], 1);
}

fn sends() {
    let (ann, bob) = (User::connect("ann", Any), User::connect("bob", Polling));
    ann.join();
    bob.join();
    assert_eq!(ann.event("user-joined")[0]["username"], "bob");
    let posted = ann.post("hello");
    assert_eq!(posted["seq"], 1);
    for user in [ann, bob] {
        let message = user.event("new-message").remove(0);
        assert_eq!(message["id"], posted["id"]);
        assert_eq!(message["content"], "hello");
        assert_eq!(message["username"], "ann");
    }
}

fn texts() {
    for transport in ALONE {
        let ann = User::connect("ann", transport);
        ann.join();
        for text in TEXTS {
            assert_eq!(ann.ask("echo", vec![json!(text)]), json!([text]));
            ann.post(text);
            assert_eq!(ann.message(), text);
        }
    }
}

fn names_to_the_handler() {
    let ann = User::enter("names", "/names", Any);
    for name in NAMES {
        assert_eq!(ann.ask(name, vec![json!(1)]), json!([name]));
        ann.emit(name, json!(1));
        assert_eq!(ann.ask("several", vec![json!(1)]), json!(["one", 2, [3]]));
    }
}

fn names_to_the_client() {
    let ann = User::connect("ann", Any);
    for name in NAMES {
        println!("do emit {}", json!([name]));
        assert_eq!(ann.event(name), [json!(name)]);
    }
}

fn large(transport: TransportType) {
    let ann = User::connect("ann", transport);
    ann.join();
    let large = "é".repeat(LARGE / 2);
    ann.post(&large);
    assert_eq!(ann.message(), large);
    let bytes: Vec<u8> = (0..LARGE).map(|at| (at % 16) as u8).collect();
    ann.emit("message", bytes.clone());
    assert_eq!(ann.bytes("message-back"), bytes);
}

fn in_order() {
    for transport in ALONE {
        let ann = User::connect("ann", transport);
        ann.join();
        for at in 0..IN_A_ROW {
            ann.emit("send-message", draft(&format!("message {at}")));
        }
        let mut came: Vec<Value> = (0..IN_A_ROW).map(|_| ann.event("new-message").remove(0)).collect();
        if !IN_ORDER {
            came.sort_by_key(|message| message["seq"].as_u64());
        }
        for (at, message) in came.iter().enumerate() {
            assert_eq!(message["content"], format!("message {at}"));
        }
        ann.client.disconnect();
    }
}

fn error_event() {
    let ann = User::connect("ann", Any);
    ann.emit("send-message", json!({"roomId": room()}));
    let error = ann.event("error-event").remove(0);
    assert_eq!(error["event"], "send-message");
    assert_eq!(error["code"], "invalid");
}

fn error_acknowledged() {
    let answer = User::connect("ann", Any).ask("send-message", vec![draft("not joined")]);
    assert_eq!(answer[0]["ok"], false);
    let message = answer[0]["error"]["message"].as_str().expect("a message");
    assert!(message.starts_with("not joined yet"), "{message}");
}

fn bytes() {
    for transport in ALONE {
        let ann = User::connect("ann", transport);
        ann.emit("message", BYTES.to_vec());
        assert_eq!(ann.bytes("message-back"), BYTES);
    }
}

fn every_byte(transport: TransportType) {
    let bytes: Vec<u8> = (0..=255).collect();
    let ann = User::connect("ann", transport);
    ann.emit("message", bytes.clone());
    assert_eq!(ann.bytes("message-back"), bytes);
}

/// The library sends them as an acknowledgement that nobody asked for.
fn harmless() {
    for transport in ALONE {
        let ann = User::connect("ann", transport);
        ann.client
            .ask("echo", BYTES.to_vec().into(), Arc::new(|answer| panic!("{answer:?}")));
        ann.join();
    }
}

fn values() {
    let ann = User::connect("ann", Any);
    let sent = vec![
        json!(false),
        json!(null),
        json!(0),
        json!(-1.5),
        json!(1_u64 << 40),
        json!({}),
        json!([]),
        json!("bar"),
    ];
    ann.emit("message", sent.clone());
    assert_eq!(ann.event("message-back"), sent);
}

fn several() {
    let arguments = vec![json!(1), json!("2"), json!({"three": 3}), json!(false)];
    assert_eq!(
        User::connect("ann", Any).ask("echo", arguments.clone()),
        json!(arguments)
    );
}

/// The library hands over the first argument, then the attachment.
fn acknowledged_with_bytes() {
    for transport in ALONE {
        let ann = User::enter("names", "/names", transport);
        let answer = ann.parts("binary", vec![json!({})], 2);
        assert_eq!(answer, [Answer::Json(json!("bytes")), Answer::Bytes(vec![0, 1, 255])]);
    }
}

fn answers_the_server() {
    let ann = User::connect("ann", Any);
    ann.emit("ack", Vec::<Value>::new());
    // The library has an event without arguments as `message` with its name.
    ann.until(|told| *told == Told::Event("message".to_owned(), vec![json!("got it")]));
}

fn disconnects() {
    // The library's client with threads may take its own disconnect for a lost connection.
    let (ann, bob) = (User::connect("ann", Any), User::connect_once("bob", Any));
    ann.join();
    bob.join();
    bob.client.disconnect();
    let gone = |told: &Told| matches!(told, Told::Event(name, values) if name == "presence" && values[0]["status"] == "offline");
    assert!(matches!(ann.until(gone), Told::Event(_, values) if values[0]["username"] == "bob"));
}

fn by_an_operator() {
    for transport in ALONE {
        let bob = User::connect("bob", transport);
        println!("do disconnect bob");
        bob.closed();
    }
}

fn revoked() {
    let carol = User::connect("carol", Any);
    println!("do revoke carol");
    // A library that hands events over side by side may give up this one when the connection ends.
    if IN_ORDER {
        assert_eq!(carol.event("error-event")[0]["message"], "the token has been revoked");
    }
    carol.closed();
}

/// Loses the server and finds it again.
fn again(action: &str, transport: TransportType) {
    let ann = User::connect("ann", transport);
    ann.join();
    println!("do {action}");
    ann.until(|told| *told == Told::Connected);
    ann.must("join-room", vec![json!(room()), json!({"after": 0})]);
    ann.post("after");
    assert_eq!(ann.message(), "after");
}

/// What the client acknowledges an event of the server with, as the guest `conformance` expects it.
#[allow(dead_code, reason = "not every library can acknowledge")]
pub fn answer_of_the_client() -> Vec<Value> {
    vec![json!(5), json!({"test": true})]
}
