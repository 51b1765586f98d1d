//! Runs the program as tests in other languages do.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

const GOOD: &str = r#"{"kind":"joined","client":"ann","tenant":"acme","user":"u1","room":"lobby","last":1,"after":0,"messages":[{"seq":1,"content":"old"}]}
{"kind":"joined","client":"bob","tenant":"acme","user":"u2","room":"lobby","last":1,"messages":[],"exactly":false}
{"kind":"invoke","client":"old","tenant":"acme","user":"u3","op":7,"room":"lobby","content":"old"}
{"kind":"unknown","client":"old","op":7}
{"kind":"invoke","client":"ann","tenant":"acme","user":"u1","op":1,"room":"lobby","content":"hello"}
{"kind":"delivered","client":"ann","room":"lobby","seq":2,"content":"hello"}
{"kind":"delivered","client":"bob","room":"lobby","seq":1,"content":"old"}
{"kind":"left","client":"bob","room":"lobby"}
{"kind":"ok","client":"ann","op":1,"seq":2}
{"kind":"invoke","client":"ann","tenant":"acme","user":"u1","op":2,"room":"lobby","content":"no"}
{"kind":"failed","client":"ann","op":2}
{"kind":"presence","client":"ann","user":"u2","status":"offline"}
{"kind":"truth-presence","client":"ann","user":"u2","status":"offline"}
{"kind":"stored","tenant":"acme","room":"lobby","messages":[{"seq":1,"content":"old","user":"u3"}]}
{"kind":"stored","tenant":"acme","room":"lobby","messages":[{"seq":2,"content":"hello","user":"u1"}]}
"#;

fn run(args: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_parlance-history"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may end without reading its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    (
        status.code(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

#[test]
fn a_good_history_gives_a_summary() {
    // The order of the keys depends on the features that other crates of the build switch on.
    let parsed = |(code, out, errors): (Option<i32>, String, String)| {
        (code, serde_json::from_str::<serde_json::Value>(&out).unwrap(), errors)
    };
    let summary = serde_json::json!({"acknowledged": 1, "delivered": 2, "ops": 3, "stays": 2, "unknown": 1});
    let good = (Some(0), summary, String::new());
    assert_eq!(parsed(run(&[], GOOD)), good);
    let file = format!("{}/good.ndjson", env!("CARGO_TARGET_TMPDIR"));
    fs::write(&file, GOOD).unwrap();
    assert_eq!(parsed(run(&[&file], "")), good);
}

#[test]
fn violations_are_told_one_a_line() {
    let bad = GOOD.replace("\"op\":1,\"seq\":2", "\"op\":1,\"seq\":3").replace(
        "\"status\":\"offline\"}\n{\"kind\":\"t",
        "\"status\":\"away\"}\n{\"kind\":\"t",
    );
    let told = "\"hello\" was acknowledged to \"ann\" as 3 of room \"lobby\", and is stored as 2\n\
                \"ann\" was last told \"away\" of user \"u2\", who is \"offline\"\n";
    assert_eq!(run(&[], &bad), (Some(1), String::new(), told.to_owned()));
}

#[test]
fn what_cannot_be_read_is_named_by_its_line() {
    for (from, to, word) in [
        ("\"kind\":\"failed\"", "\"kind\":\"fail\"", "unknown variant `fail`"),
        ("\"op\":2}", "\"op\":2,\"seq\":3}", "unknown field `seq`"),
        ("\"op\":2}", "}", ""),
    ] {
        let bad = GOOD.replace(from, to);
        let (code, out, error) = run(&[], &bad);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{error}");
        assert!(
            error.starts_with("parlance-history: line 11: ") && error.contains(word),
            "{error}"
        );
    }
    let (code, _, error) = run(&["nowhere"], "");
    assert_eq!(code, Some(2));
    assert!(error.starts_with("parlance-history: nowhere: "), "{error}");
}

#[test]
fn help_is_given() {
    let (code, out, _) = run(&["--help"], "");
    assert_eq!(code, Some(0));
    assert!(out.contains("Usage: parlance-history"), "{out}");
    for wrong in [&["--all"][..], &["a", "b"]] {
        let (code, _, error) = run(wrong, "");
        assert_eq!(code, Some(2));
        assert!(error.contains("Usage: parlance-history"), "{error}");
    }
}
