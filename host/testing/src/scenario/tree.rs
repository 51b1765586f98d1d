//! Where the nodes of a YAML document are, by path.

use std::fmt;
use std::ops::Range;

use serde_saphyr::granit_parser::{Event, Parser, Span, StructureStyle};

/// A step of a path: a key of a mapping, or a place in a sequence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Key(String),
    Item(usize),
}

/// The path of a node from the top of the document.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodePath(pub(super) Vec<Part>);

impl NodePath {
    #[must_use]
    pub(super) fn key(&self, key: &str) -> Self {
        self.with(Part::Key(key.to_owned()))
    }

    #[must_use]
    pub(super) fn item(&self, at: usize) -> Self {
        self.with(Part::Item(at))
    }

    fn with(&self, part: Part) -> Self {
        let mut parts = self.0.clone();
        parts.push(part);
        Self(parts)
    }

    /// The path without its first `count` steps, for a message.
    pub(super) fn shown_after(&self, count: usize) -> String {
        Self(self.0.iter().skip(count).cloned().collect()).to_string()
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.iter().enumerate() {
            match part {
                Part::Key(key) if at == 0 => write!(f, "{key}")?,
                Part::Key(key) => write!(f, ".{key}")?,
                Part::Item(item) => write!(f, "[{item}]")?,
            }
        }
        Ok(())
    }
}

/// A node of the document.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    /// Its line, counted from 1.
    pub(super) line: usize,
    /// The bytes of its text, without what follows it.
    pub(super) range: Range<usize>,
    /// The column from which a block in its place is indented: that of its key, or of the item itself.
    pub(super) column: usize,
    /// Whether it is the value of a key, so that a block in its place begins on a new line.
    pub(super) has_key: bool,
    /// Whether it is inside brackets or braces.
    pub(super) in_flow: bool,
    children: Children,
}

#[derive(Debug, Clone, Default)]
enum Children {
    #[default]
    None,
    Items(Vec<Node>),
    Keys(Vec<(String, Node)>),
}

impl Node {
    /// Reads the first document of a text. `None` if it is not YAML, which the deserializer reports.
    pub(super) fn of(text: &str) -> Option<Self> {
        let events = Parser::new_from_str(text).collect::<Result<Vec<_>, _>>().ok()?;
        let mut events = events.into_iter().filter(|(event, _)| event.is_node() || is_end(event));
        let (event, span) = events.next()?;
        read(&mut events, event, span, Context::default())
    }

    fn child(&self, part: &Part) -> Option<&Self> {
        match (&self.children, part) {
            (Children::Items(items), Part::Item(at)) => items.get(*at),
            (Children::Keys(keys), Part::Key(key)) => keys.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The node at the path, if there is one.
    pub(super) fn find(&self, path: &NodePath) -> Option<&Self> {
        path.0.iter().try_fold(self, |node, part| node.child(part))
    }

    /// The line of the node at the path, or of the nearest one above it.
    pub(super) fn line_of(&self, path: &NodePath) -> usize {
        let mut node = self;
        for part in &path.0 {
            match node.child(part) {
                Some(child) => node = child,
                None => break,
            }
        }
        node.line
    }
}

fn is_end(event: &Event<'_>) -> bool {
    matches!(event, Event::SequenceEnd | Event::MappingEnd)
}

#[derive(Clone, Copy, Default)]
struct Context {
    column: usize,
    has_key: bool,
    in_flow: bool,
}

fn read<'a>(
    events: &mut impl Iterator<Item = (Event<'a>, Span)>,
    event: Event<'a>,
    span: Span,
    context: Context,
) -> Option<Node> {
    let range = span.byte_range()?;
    let mut node = Node {
        line: span.start.line(),
        range,
        column: context.column,
        has_key: context.has_key,
        in_flow: context.in_flow,
        children: Children::None,
    };
    let style = match &event {
        Event::SequenceStart(style, ..) | Event::MappingStart(style, ..) => *style,
        _ => return Some(node),
    };
    let in_flow = context.in_flow || style == StructureStyle::Flow;
    let mut end = node.range.end;
    let (mut items, mut keys) = (Vec::new(), Vec::new());
    loop {
        let (next, span) = events.next()?;
        if is_end(&next) {
            // A block ends with its last child; the end that the parser reports includes what follows.
            if style == StructureStyle::Flow {
                end = span.byte_range()?.end;
            }
            break;
        }
        let column = span.start.col();
        let child = if let Event::MappingStart(..) = &event {
            let key = read(events, next.clone(), span, Context::default())?;
            let (value, span) = events.next()?;
            let value = read(
                events,
                value,
                span,
                Context {
                    column,
                    has_key: true,
                    in_flow,
                },
            )?;
            let key_end = key.range.end;
            let value = value.at_least(key_end + 1);
            let name = next.scalar().map(|(text, _)| text.to_owned());
            end = end.max(value.range.end);
            if keys.is_empty() && style == StructureStyle::Block {
                (node.line, node.range.start) = (key.line, key.range.start);
            }
            keys.push((name?, value));
            continue;
        } else {
            read(
                events,
                next,
                span,
                Context {
                    column,
                    has_key: false,
                    in_flow,
                },
            )?
        };
        end = end.max(child.range.end);
        items.push(child);
    }
    node.range.end = end;
    node.children = match event {
        Event::MappingStart(..) => Children::Keys(keys),
        _ => Children::Items(items),
    };
    Some(node)
}

impl Node {
    /// A value that is left out has no place of its own, and stands behind its key's colon.
    fn at_least(mut self, start: usize) -> Self {
        if self.range.is_empty() {
            self.range = start..start;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# A file.
cases:
  - name: one   # the first
    events:
      - by: bob
        expect:
          reply: {ok: true, list: [1, 'two']}
          log:
            - warn: hey

            # A comment.
            - there
          empty:
  - name: \"two\"
";

    fn at(path: &[&str]) -> (usize, &'static str, usize) {
        let path = path.iter().fold(NodePath::default(), |path, part| match part.parse() {
            Ok(at) => path.item(at),
            Err(_) => path.key(part),
        });
        let node = Node::of(TEXT).unwrap();
        let node = node.find(&path).unwrap();
        (node.line, &TEXT[node.range.clone()], node.column)
    }

    #[test]
    fn each_node_has_its_line_its_text_and_its_column() {
        assert_eq!(at(&["cases", "0", "name"]), (3, "one", 4));
        assert_eq!(at(&["cases", "1", "name"]), (14, "\"two\"", 4));
        let expect = ["cases", "0", "events", "0", "expect"];
        let inside = |more: &[&'static str]| at(&[&expect, more].concat());
        assert_eq!(inside(&["reply"]), (7, "{ok: true, list: [1, 'two']}", 10));
        assert_eq!(inside(&["reply", "list", "1"]), (7, "'two'", 38));
        assert_eq!(inside(&["log", "0", "warn"]), (9, "hey", 14));
        assert_eq!(inside(&["log", "1"]), (12, "there", 14));
        let (line, text, column) = inside(&["log"]);
        assert!(text.starts_with("- warn: hey") && text.ends_with("- there"), "{text}");
        assert_eq!((line, column), (9, 10));
        assert_eq!(inside(&["empty"]).1, "");
    }

    #[test]
    fn what_is_not_there_has_the_line_of_what_is_above_it() {
        let node = Node::of(TEXT).unwrap();
        let path = NodePath::default().key("cases").item(0).key("name").key("more");
        assert_eq!((node.find(&path).is_none(), node.line_of(&path)), (true, 3));
    }
}
