//! Who starts tasks and threads: each is critical, or something awaits, joins or aborts it.

use crate::source::{self, Source, Token};
use crate::{files, hold};

/// What starts a task or a thread, as tokens.
const STARTS: [&[&str]; 6] = [
    &["tokio", ":", ":", "spawn"],
    &["task", ":", ":", "spawn"],
    &["runtime", ".", "spawn"],
    &["spawn_blocking"],
    &["thread", ":", ":", "spawn"],
    &["thread", ":", ":", "Builder"],
];

/// The only files that may start one without an owner at the same place, and why that does no harm.
const NAMED: [(&str, &str); 15] = [
    ("host/types/src/critical.rs", "critical tasks start here"),
    (
        "host/hub/src/bus/redis/incoming_requests.rs",
        "it answers another server within a time limit, and holds one of a bounded number of permits",
    ),
    (
        "host/hub/src/connection.rs",
        "it ends with a client's question, whose time is limited, and holds the connection weakly",
    ),
    (
        "host/src/cli/dev.rs",
        "it builds handlers under development until the process ends",
    ),
    (
        "host/src/cli/oci/credentials.rs",
        "the command waits for it a limited time, and then ends with its process",
    ),
    (
        "host/src/dispatch/session.rs",
        "it ends typing for a session that it holds weakly",
    ),
    (
        "host/handler/src/sandbox/http/dns.rs",
        "a look-up cannot be aborted; it holds one of a bounded number of permits",
    ),
    (
        "host/handler/src/sandbox/ticker.rs",
        "the thread ends when its handle is dropped",
    ),
    (
        "host/handler/src/sandbox/block_on.rs",
        "the thread is scoped and joined",
    ),
    ("host/scheduler/src/fair.rs", "a group of tasks ends with its scheduler"),
    (
        "host/src/socket/listener.rs",
        "it serves a connection until the listener's token is cancelled",
    ),
    (
        "host/src/socket/client_sink.rs",
        "it empties a session's overflow and ends with the session, which shutdown closes",
    ),
    ("host/store/src/sqlite.rs", "`SqliteStore::close` joins the threads"),
    (
        "host/engineioxide/src/engine.rs",
        "it ends with its session, which shutdown closes or aborts",
    ),
    (
        "host/engineioxide/src/service.rs",
        "it carries a session's WebSocket and ends with it",
    ),
];

/// Whether the task is handed to an owner at once: a handle that aborts it when dropped, or whoever awaits it.
fn is_owned(tokens: &[Token], at: usize, length: usize) -> bool {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let owner = ["AbortOnDropHandle", ":", ":", "new", "("];
    let has_owner = at >= owner.len() && (0..owner.len()).all(|n| text(at - owner.len() + n) == owner[n]);
    // A path such as `tokio::task` may stand before the name.
    let path = tokens[..at]
        .iter()
        .rev()
        .take_while(|token| [":", "tokio", "task"].contains(&&*token.text))
        .count();
    let has_owner = has_owner || (path > 0 && is_owned(tokens, at - path, length + path));
    let mut depth = 0;
    for end in at + length..tokens.len() {
        match text(end) {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return has_owner || (text(end + 1) == "." && text(end + 2) == "await");
        }
    }
    has_owner
}

/// The lines at which the file starts a task or a thread that has no owner there.
fn unowned(source: &Source) -> Vec<usize> {
    let tokens = &source.product;
    let mut lines = Vec::new();
    for sequence in STARTS {
        for (at, window) in tokens.windows(sequence.len()).enumerate() {
            let is_start = window.iter().zip(sequence).all(|(token, text)| token.text == *text);
            if is_start && !is_owned(tokens, at, sequence.len()) {
                lines.push(window[0].line);
            }
        }
    }
    lines
}

#[test]
fn every_task_has_an_owner_or_a_reason() {
    let mut broken = Vec::new();
    for source in source::below(&[&source::HOST[..], &["host/engineioxide/src/", "host/testing/src/"]].concat()) {
        let lines = unowned(&source);
        if NAMED.iter().any(|(path, _)| *path == source.path) {
            if lines.is_empty() {
                broken.push(format!("{} starts nothing without an owner: strike it", source.path));
            }
            continue;
        }
        broken.extend(lines.iter().map(|line| format!("{}:{line}", source.path)));
    }
    for (path, _) in NAMED {
        if !files::all().iter().any(|file| file.path == path) {
            broken.push(format!("there is no {path}: strike it"));
        }
    }
    hold(
        "A task is critical, or in a `TaskTracker`, a `JoinSet` or an `AbortOnDropHandle`, or awaited at once.",
        &broken,
    );
}
