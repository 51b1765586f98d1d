//! Rewrites expectations in a file (`--update`). Only the text of what changes is replaced, so comments and layout stay.

use std::ops::Range;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use super::compare::Fix;
use super::parse::Document;
use super::tree::{Node, Part};
use super::write::{field, flow, lines};

/// Longest value that is written on one line, in characters.
const LINE_CHARS: usize = 100;

/// The document's text with the fixes.
///
/// # Errors
/// When a fix has no place, or the new text is not a scenario file any more, which is a mistake of this module.
pub(super) fn rewritten(document: &Document, fixes: &[Fix]) -> Result<String> {
    let mut text = document.text.clone();
    for fix in fixes {
        text = apply(&text, fix).with_context(|| format!("{} cannot be updated", fix.path))?;
    }
    Document::parse(&document.path, text.clone())
        .map_err(|problem| anyhow!("the update would break the file: {problem}"))?;
    Ok(text)
}

fn apply(text: &str, fix: &Fix) -> Result<String> {
    let tree = Node::of(text).context("the file is not YAML")?;
    if let Some(node) = tree.find(&fix.path) {
        return Ok(replace(text, node, &fix.value));
    }
    // The nearest mapping above that is there gets the key, with those between.
    let (mut path, mut value) = (fix.path.clone(), fix.value.clone());
    while let Some(last) = path.0.pop() {
        let Part::Key(key) = last else {
            bail!("a list has no such item")
        };
        match tree.find(&path) {
            Some(node) => return Ok(insert(text, node, &key, &value)),
            None => value = json!({key: value}),
        }
    }
    bail!("the file has no such place")
}

fn replace(text: &str, node: &Node, value: &Value) -> String {
    let old = text.get(node.range.clone()).unwrap_or_default();
    let short = flow(value);
    let is_short = short.chars().count() + node.column <= LINE_CHARS;
    let was_inline = old.is_empty() || old.starts_with(['{', '[']) || !old.contains('\n');
    let is_collection = value.as_array().is_some_and(|items| !items.is_empty())
        || value.as_object().is_some_and(|fields| !fields.is_empty());
    let is_inline = node.in_flow || !is_collection || (is_short && was_inline);
    if !node.has_key {
        let start = node.range.start;
        let written = if is_inline { vec![short] } else { lines(value) };
        return splice(text, node.range.clone(), &indented(&written, column(text, start)));
    }
    // The space between the key and its old value goes too, unless a comment is there.
    let before = text.get(..node.range.start).unwrap_or_default();
    let key_end = before.trim_end().len();
    let is_behind_key = before.trim_end().ends_with(':');
    let (start, written) = match (is_inline, is_behind_key) {
        (true, true) => (key_end, format!(" {short}")),
        (true, false) => (node.range.start, short),
        (false, true) => {
            let indent = " ".repeat(node.column + 2);
            let written: Vec<_> = lines(value).iter().map(|line| format!("\n{indent}{line}")).collect();
            (key_end, written.concat())
        }
        (false, false) => (
            node.range.start,
            indented(&lines(value), column(text, node.range.start)),
        ),
    };
    splice(text, start..node.range.end, &written)
}

fn insert(text: &str, node: &Node, key: &str, value: &Value) -> String {
    let old = text.get(node.range.clone()).unwrap_or_default();
    if old.trim_matches(['{', '}']).trim().is_empty() {
        return replace(text, node, &json!({key: value}));
    }
    if let Some(open) = old.strip_suffix('}').filter(|open| open.starts_with('{')) {
        let end = node.range.start + open.trim_end().len();
        let pair = flow(&json!({key: value}));
        let pair = pair.trim_start_matches('{').trim_end_matches('}');
        return splice(text, end..end, &format!(", {pair}"));
    }
    // Behind the last line of the mapping, whose comment stays there.
    let rest = text.get(node.range.end..).unwrap_or_default();
    let end = node.range.end + rest.find('\n').unwrap_or(rest.len());
    let indent = " ".repeat(column(text, node.range.start));
    let written: Vec<_> = field(key, value)
        .iter()
        .map(|line| format!("\n{indent}{line}"))
        .collect();
    splice(text, end..end, &written.concat())
}

/// Lines that begin in this column, of which the first one is there already.
fn indented(lines: &[String], column: usize) -> String {
    lines.join(&format!("\n{}", " ".repeat(column)))
}

/// The column of a place in the text.
fn column(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or_default();
    let line = before
        .rfind('\n')
        .map_or(before, |end| before.get(end + 1..).unwrap_or_default());
    line.chars().count()
}

fn splice(text: &str, range: Range<usize>, with: &str) -> String {
    let (before, after) = (text.get(..range.start), text.get(range.end..));
    format!("{}{with}{}", before.unwrap_or_default(), after.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::tree::NodePath;
    use super::*;

    const TEXT: &str = "\
# The file.
cases:
  - name: one
    events:
      - send-message: {roomId: general, content: hi}
        expect:
          # Why.
          reply: {ok: true}   # so
          received:
            bob:
              - new-message: {content: hi}
            # Nobody else.
          log: []
      - wait: 5s
        expect: {}
";

    fn path(parts: &str) -> NodePath {
        parts
            .split('/')
            .fold(NodePath::default(), |path, part| match part.parse() {
                Ok(at) => path.item(at),
                Err(_) => path.key(part),
            })
    }

    fn changed(fixes: &[(&str, Value)]) -> Vec<String> {
        let mut text = TEXT.to_owned();
        for (at, value) in fixes {
            let fix = Fix {
                path: path(&format!("cases/0/events/{at}")),
                value: value.clone(),
            };
            text = apply(&text, &fix).unwrap();
        }
        serde_saphyr::from_str::<Value>(&text).unwrap();
        let before: Vec<_> = TEXT.lines().collect();
        text.lines()
            .filter(|line| !before.contains(line))
            .map(|line| line.trim_start().to_owned())
            .collect()
    }

    #[test]
    fn only_what_changes_is_rewritten() {
        assert_eq!(
            changed(&[("0/expect/reply/ok", json!(false))]),
            ["reply: {ok: false}   # so"]
        );
        assert_eq!(
            changed(&[("0/expect/received/bob/0/new-message/content", json!("a: b"))]),
            ["- new-message: {content: \"a: b\"}"]
        );
        assert_eq!(changed(&[("0/expect/log", json!(["one", "two"]))]), ["log: [one, two]"]);
        assert_eq!(changed(&[("0/expect/received/bob", json!([]))]), ["bob: []"]);
    }

    #[test]
    fn long_values_become_lines() {
        let long = json!([{"poll": {"question": "q".repeat(80), "votes": {"a": 1}}}, {"x": 1}]);
        assert_eq!(
            changed(&[("0/expect/received/bob", long)]),
            [
                "- poll:",
                &format!("question: {}", "q".repeat(80)),
                "votes:",
                "a: 1",
                "- x: 1"
            ]
        );
    }

    #[test]
    fn what_is_not_there_is_added() {
        assert_eq!(
            changed(&[
                ("0/expect/received/carol", json!([])),
                ("0/expect/keys/poll/count", json!("1")),
                ("0/expect/reply/seq", json!(1)),
                ("1/expect/reply", json!(null)),
            ]),
            [
                "reply: {ok: true, seq: 1}   # so",
                "carol: []",
                "keys:",
                "poll:",
                "count: \"1\"",
                "expect: {reply: null}"
            ]
        );
    }
}
