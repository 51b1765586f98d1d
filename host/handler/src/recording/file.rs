//! The file format: NDJSON, one JSON object a line.
//!
//! The first line is the [`Header`]. A line with the key `context` describes what the events after it refer to by its
//! number; each other line is an event. A reader ignores keys that it does not know. `host/recordings.md` documents it.

use std::collections::HashMap;
use std::io::{self, BufRead, Read as _, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::{Context, Event};

/// The version of the format.
pub const VERSION: u32 = 1;
/// Most bytes of a line. An event is recorded only if it takes fewer.
pub const LINE_MAX: usize = 16 * 1024 * 1024;
/// Most contexts of a file, and most bytes of all of them, which a reader keeps in memory.
const CONTEXTS_MAX: usize = 10_000;
const CONTEXT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The first line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The version of the format: [`VERSION`].
    pub parlance_recording: u32,
    /// The tenant whose events these are.
    pub tenant: String,
    /// Whether message text is in it as it was. It is masked otherwise.
    pub with_content: bool,
    /// The release of the server that recorded it.
    pub server: String,
}

/// A line that describes a context.
#[derive(Serialize, Deserialize)]
struct ContextLine<C> {
    /// Its number.
    context: u64,
    #[serde(flatten)]
    body: C,
}

/// A line with an event.
#[derive(Serialize, Deserialize)]
struct EventLine<E> {
    /// The event's number in its recording.
    event: u64,
    /// The number of its context.
    #[serde(rename = "in")]
    context: u64,
    #[serde(flatten)]
    body: E,
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("the recording cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It does not begin as a recording does.
    #[error("this is not a recording: its first line must be an object with \"parlanceRecording\"")]
    NotARecording,
    /// It was written in another version of the format.
    #[error("the recording has version {0} of the format; this release reads version {VERSION}")]
    Version(u32),
    /// A line is too long.
    #[error("line {0} has more than {LINE_MAX} bytes")]
    LineTooLong(usize),
    /// A line is not what the format says.
    #[error("line {line}: {why}")]
    Line {
        /// The line's number, from 1.
        line: usize,
        /// The rule of the format that the line breaks.
        why: String,
    },
}

/// An event as it was read.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its number in the recording.
    pub number: u64,
    /// The context that the event names: the handler, its version and its settings, which several events share.
    pub context: Arc<Context>,
    /// The event.
    pub event: Event,
}

/// A line for the header, with its line break.
///
/// # Errors
/// Never for these types; `serde_json` reports errors in general.
pub fn header_line(header: &Header) -> serde_json::Result<Vec<u8>> {
    line(header)
}

/// A line for a context, with its line break.
///
/// # Errors
/// As [`header_line`].
pub fn context_line(number: u64, context: &Context) -> serde_json::Result<Vec<u8>> {
    line(&ContextLine {
        context: number,
        body: context,
    })
}

/// A line for an event, with its line break.
///
/// # Errors
/// As [`header_line`].
pub fn event_line(number: u64, context: u64, event: &Event) -> serde_json::Result<Vec<u8>> {
    line(&EventLine {
        event: number,
        context,
        body: event,
    })
}

/// The event of a line that [`event_line`] has made, with its context.
///
/// # Errors
/// When the line is not an event.
pub fn event_from_line(line: &[u8], context: Arc<Context>) -> serde_json::Result<Entry> {
    let EventLine { event, body, .. } = serde_json::from_slice::<EventLine<Event>>(line)?;
    Ok(Entry {
        number: event,
        context,
        event: body,
    })
}

fn line<T: Serialize>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    Ok(text)
}

/// Writes a recording from entries, each context before its first event.
pub struct Writer<W> {
    to: W,
    contexts: Vec<Arc<Context>>,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(mut to: W, header: &Header) -> io::Result<Self> {
        to.write_all(&header_line(header)?)?;
        Ok(Self {
            to,
            contexts: Vec::new(),
        })
    }

    /// Writes an event.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let known = self.contexts.iter().position(|known| *known == entry.context);
        let at = match known {
            Some(at) => at,
            None => {
                self.contexts.push(entry.context.clone());
                let at = self.contexts.len().saturating_sub(1);
                self.to.write_all(&context_line(at as u64 + 1, &entry.context)?)?;
                at
            }
        };
        self.to
            .write_all(&event_line(entry.number, at as u64 + 1, &entry.event)?)
    }
}

/// Reads a recording entry by entry, in memory bounded by the format's limits.
pub struct Reader<R> {
    from: R,
    header: Header,
    contexts: HashMap<u64, Arc<Context>>,
    context_bytes: usize,
    line: usize,
    buffer: Vec<u8>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When this is not a recording of this version of the format.
    pub fn open(from: R) -> Result<Self, FileError> {
        let mut reader = Self {
            from,
            header: Header {
                parlance_recording: VERSION,
                tenant: String::new(),
                with_content: false,
                server: String::new(),
            },
            contexts: HashMap::new(),
            context_bytes: 0,
            line: 0,
            buffer: Vec::new(),
        };
        if !reader.next_line()? {
            return Err(FileError::NotARecording);
        }
        /// The version alone, since another version may have other keys.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Versioned {
            parlance_recording: u32,
        }
        let version = serde_json::from_slice::<Versioned>(&reader.buffer);
        let version = version.map_err(|_| FileError::NotARecording)?.parlance_recording;
        if version != VERSION {
            return Err(FileError::Version(version));
        }
        reader.header = serde_json::from_slice(&reader.buffer).map_err(|error| reader.wrong(&error))?;
        Ok(reader)
    }

    /// The first line.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// When the file is not what the format says.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, FileError> {
        while self.next_line()? {
            if self.buffer.trim_ascii().is_empty() {
                continue;
            }
            /// What tells a context from an event.
            #[derive(Deserialize)]
            struct Kind {
                #[serde(default)]
                event: Option<u64>,
            }
            let kind: Kind = self.parsed()?;
            if kind.event.is_none() {
                self.add_context()?;
                continue;
            }
            let EventLine { event, context, body } = self.parsed::<EventLine<Event>>()?;
            let Some(context) = self.contexts.get(&context) else {
                return Err(self.wrong(&format!("there is no context {context} before it")));
            };
            return Ok(Some(Entry {
                number: event,
                context: context.clone(),
                event: body,
            }));
        }
        Ok(None)
    }

    fn add_context(&mut self) -> Result<(), FileError> {
        let ContextLine { context, body } = self.parsed::<ContextLine<Context>>()?;
        self.context_bytes = self.context_bytes.saturating_add(self.buffer.len());
        if self.contexts.len() >= CONTEXTS_MAX || self.context_bytes > CONTEXT_BYTES_MAX {
            return Err(self.wrong(&format!(
                "more than {CONTEXTS_MAX} contexts, or {CONTEXT_BYTES_MAX} bytes of them"
            )));
        }
        self.contexts.insert(context, Arc::new(body));
        Ok(())
    }

    fn parsed<T: for<'t> Deserialize<'t>>(&self) -> Result<T, FileError> {
        serde_json::from_slice(&self.buffer).map_err(|error| self.wrong(&error))
    }

    fn wrong(&self, why: &dyn std::fmt::Display) -> FileError {
        FileError::Line {
            line: self.line,
            why: why.to_string(),
        }
    }

    /// Reads a line into the buffer; `false` at the end.
    fn next_line(&mut self) -> Result<bool, FileError> {
        self.buffer.clear();
        self.line = self.line.saturating_add(1);
        let most = (LINE_MAX as u64).saturating_add(1);
        let read = (&mut self.from).take(most).read_until(b'\n', &mut self.buffer)?;
        if read > LINE_MAX {
            return Err(FileError::LineTooLong(self.line));
        }
        Ok(read > 0)
    }
}
