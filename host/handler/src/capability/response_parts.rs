//! Cuts the body of an answer into parts: lines, or the events of a `text/event-stream` (the HTML standard, section 9.2).

use super::outbound::{ResponsePart, ServerSentEvent};

/// A part of an answer has more bytes than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartTooLarge;

/// Cuts a body that comes in pieces.
#[derive(Debug, Clone)]
pub struct PartCutter {
    /// Present for server-sent events.
    events: Option<EventBuilder>,
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// Whether the last byte was a carriage return that has ended a line, so that a line feed after it does not end one.
    after_return: bool,
    most: usize,
}

/// The event whose end has not come yet.
#[derive(Debug, Clone, Default)]
struct EventBuilder {
    is_first_line: bool,
    event: String,
    /// Each line of data with a line feed after it.
    data: String,
    id: Option<String>,
}

impl PartCutter {
    /// For a body of lines of at most `most` bytes.
    #[must_use]
    pub fn lines(most: usize) -> Self {
        Self {
            events: None,
            line: Vec::new(),
            after_return: false,
            most,
        }
    }

    /// For a body of server-sent events of at most `most` bytes. `last_id` is the id that the service has given last, if the
    /// body goes on from there.
    #[must_use]
    pub fn events(most: usize, last_id: Option<String>) -> Self {
        let builder = EventBuilder {
            is_first_line: true,
            id: last_id,
            ..EventBuilder::default()
        };
        Self {
            events: Some(builder),
            ..Self::lines(most)
        }
    }

    /// Takes a piece of the body, and adds the parts that end in it.
    ///
    /// # Errors
    /// When a part is too large.
    pub fn push(&mut self, piece: &[u8], parts: &mut Vec<ResponsePart>) -> Result<(), PartTooLarge> {
        for byte in piece {
            let ends_line = match byte {
                b'\n' => !std::mem::take(&mut self.after_return),
                b'\r' if self.events.is_some() => {
                    self.after_return = true;
                    true
                }
                byte => {
                    self.after_return = false;
                    self.line.push(*byte);
                    if self.line.len() > self.most {
                        return Err(PartTooLarge);
                    }
                    continue;
                }
            };
            if ends_line {
                self.end_line(parts)?;
            }
        }
        Ok(())
    }

    /// The body has ended. A last line without a line feed is a line; an event without an empty line is none.
    pub fn finish(mut self, parts: &mut Vec<ResponsePart>) {
        if self.events.is_none() && !self.line.is_empty() {
            // The line was within its limit when it came.
            let _ = self.end_line(parts);
        }
    }

    fn end_line(&mut self, parts: &mut Vec<ResponsePart>) -> Result<(), PartTooLarge> {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        match &mut self.events {
            None => {
                let text = text.strip_suffix('\r').unwrap_or(&text);
                parts.push(ResponsePart::Line(text.to_owned()));
            }
            Some(builder) => {
                parts.extend(builder.line(&text).map(ResponsePart::Event));
                if builder.bytes() > self.most {
                    return Err(PartTooLarge);
                }
            }
        }
        Ok(())
    }
}

impl EventBuilder {
    fn bytes(&self) -> usize {
        self.event.len() + self.data.len() + self.id.as_ref().map_or(0, String::len)
    }

    /// Takes a line. An empty one ends an event that has data.
    fn line(&mut self, line: &str) -> Option<ServerSentEvent> {
        let line = if std::mem::take(&mut self.is_first_line) {
            line.strip_prefix('\u{feff}').unwrap_or(line)
        } else {
            line
        };
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            let mut data = std::mem::take(&mut self.data);
            data.pop()?;
            return Some(ServerSentEvent {
                event: if event.is_empty() { "message".to_owned() } else { event },
                data,
                id: self.id.clone(),
            });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()).filter(|id| !id.is_empty()),
            // A comment (an empty field), `retry`, or what only later versions know.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(mut cutter: PartCutter, pieces: &[&[u8]]) -> Vec<ResponsePart> {
        let mut parts = Vec::new();
        for piece in pieces {
            cutter.push(piece, &mut parts).unwrap();
        }
        cutter.finish(&mut parts);
        parts
    }

    fn lines(parts: &[&str]) -> Vec<ResponsePart> {
        parts
            .iter()
            .map(|line| ResponsePart::Line((*line).to_owned()))
            .collect()
    }

    fn event(event: &str, data: &str, id: Option<&str>) -> ResponsePart {
        ResponsePart::Event(ServerSentEvent {
            event: event.to_owned(),
            data: data.to_owned(),
            id: id.map(str::to_owned),
        })
    }

    #[test]
    fn a_body_is_cut_into_lines() {
        let cutter = PartCutter::lines(100);
        assert_eq!(
            cut(cutter.clone(), &[b"a\r\n\nb", b"c\nd"]),
            lines(&["a", "", "bc", "d"])
        );
        assert_eq!(cut(cutter.clone(), &[b"a\n"]), lines(&["a"]));
        assert_eq!(cut(cutter.clone(), &[]), lines(&[]));
        assert_eq!(
            cut(cutter, &[b"a\rb\n"]),
            lines(&["a\rb"]),
            "only a line feed ends a line"
        );
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        let cutter = PartCutter::events(100, None);
        let body = "\u{feff}data: one\ndata:two\n\nevent: x\r\nid: 7\rdata\r\n\r\n: comment\nretry: 5\n\ndata: y\nid\n\ndata: lost";
        let expected = [
            event("message", "one\ntwo", None),
            event("x", "", Some("7")),
            event("message", "y", None),
        ];
        assert_eq!(cut(cutter.clone(), &[body.as_bytes()]), expected);
        let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
        assert_eq!(cut(cutter, &bytes), expected);
        let resumed = PartCutter::events(100, Some("6".to_owned()));
        assert_eq!(cut(resumed, &[b"data: z\n\n"]), [event("message", "z", Some("6"))]);
    }

    #[test]
    fn a_part_is_bounded() {
        let refused = |mut cutter: PartCutter, piece: &[u8]| cutter.push(piece, &mut Vec::new()) == Err(PartTooLarge);
        assert!(!refused(PartCutter::lines(4), b"1234\n1234\n"));
        assert!(refused(PartCutter::lines(4), b"12345"));
        assert!(refused(
            PartCutter::events(8, None),
            b"data:1\ndata:2\ndata:3\ndata:4\ndata:5\n"
        ));
    }

    proptest! {
        #[test]
        fn where_a_body_is_split_makes_no_difference(
            body in "([a-c:\r\n ]|data: |id: |event: ){0,60}",
            splits in proptest::collection::vec(0_usize..200, 0..5),
        ) {
            let body = body.as_bytes();
            let mut ends: Vec<usize> = splits.into_iter().map(|split| split.min(body.len())).collect();
            ends.extend([0, body.len()]);
            ends.sort_unstable();
            let pieces: Vec<&[u8]> = ends.windows(2).map(|ends| &body[ends[0]..ends[1]]).collect();
            for cutter in [PartCutter::lines(1000), PartCutter::events(1000, None)] {
                prop_assert_eq!(cut(cutter.clone(), &pieces), cut(cutter, &[body]));
            }
        }
    }
}
