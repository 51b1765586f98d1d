//! A component that sends HTTP requests: which are allowed, and their limits. The test runs the web server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use parlance_handler::capability::HandlerInfo;
use parlance_handler::sandbox::Sandbox;
use parlance_testing::{EngineLimits, Event, Grants, GuestLimits, LoadError, Outcome, TestHost};
use serde_json::{Value, json};

use crate::built::web;
use crate::calls::run_with;

/// A web server whose path selects the response. It records the request lines.
struct Web {
    authority: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Web {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                thread::spawn(move || answer(stream, &kept));
            }
        });
        Self { authority, seen }
    }

    /// A host whose grant covers this server.
    fn host(&self) -> TestHost {
        granted(&format!("http://{}", self.authority))
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().clone()
    }
}

/// A client that disconnects is not an error of the server.
fn answer(mut stream: TcpStream, seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut request, mut length) = (String::new(), 0);
    reader.read_line(&mut request).ok()?;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let path = request.split(' ').nth(1)?.to_owned();
    seen.lock().push(format!("{} {length}", request.trim()));
    let (path, number) = path.split_once('?').unwrap_or((&path, "0"));
    let number: usize = number.parse().ok()?;
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n";
    match path {
        "/bytes" => write!(stream, "{head}content-length: {number}\r\n\r\n{}", "y".repeat(number)).ok()?,
        "/headers" => write!(
            stream,
            "{head}content-length: 0\r\nx-long: {}\r\n\r\n",
            "y".repeat(number)
        )
        .ok()?,
        "/unannounced" => write!(stream, "{head}\r\n{}", "y".repeat(number)).ok()?,
        "/redirect" => write!(
            stream,
            "HTTP/1.1 302 Found\r\nlocation: /bytes?1\r\ncontent-length: 0\r\n\r\n"
        )
        .ok()?,
        "/silent" => thread::sleep(Duration::from_secs(3600)),
        "/stalls" => {
            write!(stream, "{head}content-length: 10\r\n\r\nyyy").ok()?;
            thread::sleep(Duration::from_secs(3600));
        }
        "/endless" => {
            write!(stream, "{head}\r\n").ok()?;
            while stream.write_all(&[b'y'; 1024]).is_ok() {}
        }
        _ => write!(
            stream,
            "{head}content-length: {}\r\n\r\nhello {length}",
            6 + length.to_string().len()
        )
        .ok()?,
    }
    Some(())
}

fn granted(pattern: &str) -> TestHost {
    let grants = Grants {
        http: vec![pattern.parse().unwrap()],
        ..Grants::default()
    };
    TestHost::granted(&web(), grants).unwrap()
}

fn fetch(host: &mut TestHost, actions: &Value) -> Outcome {
    host.dispatch(Event::custom("fetch", &json!([actions])))
}

/// The responses that the handler returned.
fn answers(outcome: &Outcome) -> Vec<Value> {
    outcome.assert_ok().reply.as_array().unwrap().clone()
}

fn one(host: &mut TestHost, authority: &str, path: &str) -> Value {
    answers(&fetch(host, &json!([{"authority": authority, "path": path}]))).remove(0)
}

#[test]
fn without_a_grant_it_is_not_loaded() {
    let error = TestHost::from_bytes(&web()).err().unwrap();
    assert!(matches!(error.downcast_ref(), Some(LoadError::NotGranted)), "{error:#}");
    assert!(
        error.to_string().contains("grants.http"),
        "the error names the grant: {error}"
    );
}

#[test]
fn with_a_grant_requests_succeed() {
    let web = Web::start();
    let mut host = web.host();
    let answer = one(&mut host, &web.authority, "/bytes?1000");
    assert_eq!(
        (&answer["status"], &answer["length"]),
        (&json!(200), &json!(1000)),
        "{answer}"
    );
    let posted = fetch(
        &mut host,
        &json!([{"authority": web.authority, "path": "/", "body": 10_000}]),
    );
    assert_eq!(answers(&posted)[0]["text"], "hello 10000");
    assert_eq!(web.seen(), ["GET /bytes?1000 HTTP/1.1 0", "POST / HTTP/1.1 10000"]);
}

#[test]
fn requests_without_a_grant_are_denied() {
    let (web, other) = (Web::start(), Web::start());
    let mut host = web.host();
    let port = web.authority.rsplit(':').next().unwrap();
    let others = [
        other.authority.clone(),
        format!("localhost:{port}"),
        format!("127.0.0.2:{port}"),
        format!("[::1]:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("user@{}", web.authority),
        "169.254.169.254".to_owned(),
    ];
    for authority in others {
        let answer = one(&mut host, &authority, "/");
        assert_eq!(answer["error"], "HttpRequestDenied", "{authority}: {answer}");
    }
    let tls = fetch(&mut host, &json!([{"authority": web.authority, "tls": true}]));
    assert_eq!(answers(&tls)[0]["error"], "HttpRequestDenied", "the grant is for http");
    assert_eq!((web.seen().len(), other.seen().len()), (0, 0));
}

#[test]
fn denied_requests_count_and_are_logged() {
    let web = Web::start();
    let mut host = web.host();
    let long = format!("{}.example", "x".repeat(5000));
    let mut actions = vec![json!({"authority": long}); 8];
    actions.push(json!({"authority": web.authority, "path": "/"}));
    let outcome = fetch(&mut host, &Value::from(actions));
    let answers = answers(&outcome);
    assert_eq!(answers[7]["error"], "HttpRequestDenied");
    assert_eq!(
        answers[8]["error"], "ConnectionLimitReached",
        "refused ones are counted"
    );
    assert!(web.seen().is_empty());
    assert_eq!(outcome.logs.len(), 8, "{:?}", outcome.logs);
    for line in &outcome.logs {
        assert!(
            line.text.contains("no grant covers it") && line.text.len() < 253 + 100,
            "{line:?}"
        );
    }
}

#[tokio::test]
async fn grants_change_without_loading_the_component_again() {
    let web = Web::start();
    let limits = EngineLimits {
        instances: 4,
        ..EngineLimits::default()
    };
    let sandbox = Arc::new(Sandbox::new(limits, &GuestLimits::default()).unwrap());
    let info = |patterns: &[String]| {
        let http = patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
        Arc::new(HandlerInfo {
            name: "web".into(),
            grants: Arc::new(Grants {
                http,
                ..Grants::default()
            }),
            ..HandlerInfo::default()
        })
    };
    let grant = [format!("http://{}", web.authority)];
    let first = sandbox
        .load(info(&grant), &self::web(), &GuestLimits::default())
        .unwrap();
    let without = first.with_info(info(&[]));
    let again = without.with_info(info(&grant));
    // This is the state after a restart without the grant.
    let restarted = sandbox.load_deployed(info(&[]), &self::web()).unwrap();
    let restored = restarted.with_info(info(&grant));
    let arguments = json!([[{"authority": web.authority, "path": "/"}]]).to_string();
    let denied = "HttpRequestDenied";
    for (handler, error) in [
        (first, ""),
        (without, denied),
        (again, ""),
        (restarted, denied),
        (restored, ""),
    ] {
        let outcome = run_with(&Arc::new(handler), "fetch", &arguments, &GuestLimits::default()).await;
        let answers: Value = serde_json::from_str(&outcome.result.unwrap().into_data().unwrap()).unwrap();
        assert_eq!(answers[0]["error"], error, "{answers}");
    }
    assert_eq!(web.seen().len(), 3);
}

#[test]
fn a_granted_name_with_a_private_address_is_refused() {
    let web = Web::start();
    let port = web.authority.rsplit(':').next().unwrap();
    let mut host = granted(&format!("http://localhost:{port}"));
    let answer = one(&mut host, &format!("localhost:{port}"), "/");
    assert_eq!(answer["error"], "DestinationIpProhibited", "{answer}");
    assert!(web.seen().is_empty());
}

#[test]
fn a_redirect_is_the_guests_to_follow() {
    let web = Web::start();
    let answer = one(&mut web.host(), &web.authority, "/redirect");
    assert_eq!(answer["status"], 302);
    assert_eq!(web.seen().len(), 1);
}

#[test]
fn an_untrusted_certificate_is_refused() {
    let web = Web::start();
    let mut host = granted(&format!("https://{}", web.authority));
    let answer = fetch(&mut host, &json!([{"authority": web.authority, "tls": true}]));
    let answer = &answers(&answer)[0];
    assert!(
        answer["error"]
            .as_str()
            .is_some_and(|error| !error.is_empty() && error != "HttpRequestDenied"),
        "{answer}"
    );
    assert!(
        web.seen().iter().all(|line| !line.contains("HTTP/1.1")),
        "no request in the clear"
    );
}

#[test]
fn connect_and_trace_are_refused() {
    let web = Web::start();
    let mut host = web.host();
    for method in ["CONNECT", "TRACE"] {
        let outcome = fetch(&mut host, &json!([{"authority": web.authority, "method": method}]));
        assert_eq!(answers(&outcome)[0]["error"], "HttpRequestMethodInvalid", "{method}");
    }
    assert!(web.seen().is_empty());
}

#[test]
fn the_number_of_requests_is_limited() {
    let web = Web::start();
    let mut host = web.host();
    let action = json!({"authority": web.authority, "path": "/bytes?1"});
    for _ in 0..2 {
        let answers = answers(&fetch(&mut host, &Value::from(vec![action.clone(); 9])));
        let errors: Vec<_> = answers.iter().map(|answer| answer["error"].as_str().unwrap()).collect();
        assert_eq!(errors[..8], [""; 8]);
        assert_eq!(errors[8], "ConnectionLimitReached");
    }
    assert_eq!(web.seen().len(), 16, "the next event begins afresh");
}

/// Bytes of the headers of a response whose length has five digits: `connection: close` and `content-length: 10000`.
const HEADERS: usize = 10 + 5 + 14 + 5;

#[test]
fn the_headers_of_a_response_count_too() {
    let web = Web::start();
    let mut host = web.host().guest_limits(GuestLimits {
        http_bytes: 10_000,
        ..GuestLimits::default()
    });
    assert_eq!(one(&mut host, &web.authority, "/headers?9000")["error"], "");
    let over = one(&mut host, &web.authority, "/headers?10000");
    assert_eq!(over["error"], "HttpResponseHeaderSectionSize", "{over}");
    let twice = json!([
        {"authority": web.authority, "path": "/headers?6000"},
        {"authority": web.authority, "path": "/headers?6000"},
    ]);
    let errors = answers(&fetch(&mut host, &twice))
        .into_iter()
        .filter(|answer| answer["error"] != "");
    assert_eq!(errors.count(), 1, "all of an event's count together");
}

#[test]
fn oversized_request_headers_return_an_error() {
    let web = Web::start();
    let mut host = web.host();
    let sends = |bytes: usize| json!([{"authority": web.authority, "path": "/bytes?1", "header": bytes}]);
    assert_eq!(answers(&fetch(&mut host, &sends(15_000)))[0]["error"], "");
    let refused = answers(&fetch(&mut host, &sends(17_000))).remove(0);
    assert!(refused["error"].as_str().unwrap().contains("Forbidden"), "{refused}");
    assert_eq!(web.seen().len(), 1);
}

#[test]
fn the_bytes_of_requests_and_responses_are_limited() {
    let web = Web::start();
    let mut host = web.host().guest_limits(GuestLimits {
        http_bytes: 10_000 + HEADERS,
        ..GuestLimits::default()
    });
    assert_eq!(one(&mut host, &web.authority, "/bytes?10000")["length"], 10_000);
    let over = one(&mut host, &web.authority, "/bytes?10001");
    assert_eq!(over["error"], "HttpResponseBodySize", "it is announced: {over}");
    let over = one(&mut host, &web.authority, "/unannounced?10034");
    assert_eq!(over["error"], "cut", "{over}");
    let over = one(&mut host, &web.authority, "/endless");
    assert!(
        over["error"] == "cut" && over["length"].as_u64().unwrap() <= 10_034,
        "{over}"
    );
    let over = fetch(
        &mut host,
        &json!([{"authority": web.authority, "path": "/", "body": 10_035}]),
    );
    assert_eq!(answers(&over)[0]["error"], "HttpRequestBodySize");
    // Both directions of all requests count together.
    let both = json!([
        {"authority": web.authority, "path": "/", "body": 6000},
        {"authority": web.authority, "path": "/", "body": 6000},
    ]);
    let errors: Vec<_> = answers(&fetch(&mut host, &both))
        .iter()
        .map(|answer| answer["error"].clone())
        .collect();
    assert!(errors.contains(&json!("HttpRequestBodySize")), "{errors:?}");
}

#[test]
fn a_server_that_does_not_answer_fails_only_the_event() {
    let web = Web::start();
    let mut host = web.host().guest_limits(GuestLimits {
        wall_time: Duration::from_millis(200),
        ..GuestLimits::default()
    });
    for path in ["/silent", "/stalls"] {
        let outcome = fetch(&mut host, &json!([{"authority": web.authority, "path": path}]));
        // Either the request times out first, which the guest reports, or the event.
        let timed_out = outcome.trap.is_some()
            || outcome.reply.to_string().contains("Timeout")
            || outcome.reply.to_string().contains("cut");
        assert!(timed_out, "{path}: {outcome}");
    }
    let abandoned = fetch(
        &mut host,
        &json!([{"authority": web.authority, "path": "/silent", "abandon": true}]),
    );
    abandoned.assert_ok();
    assert_eq!(one(&mut host, &web.authority, "/bytes?1")["length"], 1);
}
