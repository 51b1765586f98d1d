//! What clippy does not see: what is compiled for another target than its own, and what it has no lint for.

use crate::{hold, source};

#[test]
fn nothing_panics_on_purpose() {
    let macros = [
        "panic",
        "todo",
        "unimplemented",
        "unreachable",
        "assert",
        "assert_eq",
        "assert_ne",
    ];
    let methods = ["unwrap", "expect", "unwrap_unchecked"];
    let mut broken = Vec::new();
    for source in source::below(&[&source::HOST[..], &["guest-handlers/"]].concat()) {
        let mut found = |text: String, sequence: &[&str]| {
            let lines = source::places(&source.product, sequence);
            broken.extend(lines.iter().map(|line| format!("{}:{line}: {text}", source.path)));
        };
        for name in macros {
            found(format!("{name}!"), &[name, "!"]);
        }
        for name in methods {
            found(format!(".{name}()"), &[".", name, "("]);
        }
    }
    hold("What can fail says so in its type.", &broken);
}

#[test]
fn a_lint_is_switched_off_with_a_reason() {
    let (mut broken, mut seen) = (Vec::new(), 0);
    for source in source::below(&["host/", "guest-handlers/", "tests/", "examples/"]) {
        for (at, token) in source.tokens.iter().enumerate() {
            let inside = || source.tokens[at + 2..].iter().take_while(|token| token.text != ")");
            let opens = source.tokens.get(at + 1).is_some_and(|next| next.text == "(");
            // `#[allow(`, `#![allow(`, and inside `cfg_attr(…, allow(`.
            let attribute = at > 0 && ["[", ","].contains(&source.tokens[at - 1].text.as_str());
            if attribute && opens && ["allow", "expect"].contains(&token.text.as_str()) {
                seen += 1;
                if !inside().any(|token| token.text == "reason") {
                    broken.push(format!("{}:{}", source.path, token.line));
                }
            }
        }
    }
    assert!(
        seen > 0,
        "no lint is switched off anywhere: the test looks in the wrong place"
    );
    hold("A lint that is switched off has its reason beside it.", &broken);
}
