//! Turns what a component writes to its standard output and error into lines of the handler's log.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::capability::{Call, Level};

/// Most bytes of both streams that wait to be logged. The log's own limit is `sandbox.log_bytes`; this one is for
/// output while there is no event to log for.
const PENDING_BYTES_MAX: usize = 64 * 1024;
/// Bytes that a line counts besides its text, so that empty lines are not free.
const LINE_BYTES: usize = 16;
/// Most bytes of a line. A longer one is split.
const LINE_MAX: usize = 4096;
/// Bytes that a stream accepts at a time.
const CHUNK: usize = 16 * 1024;

/// Output that is not in the log yet.
#[derive(Debug, Default)]
struct PendingLines {
    lines: Vec<(Level, String)>,
    /// The unfinished line of standard output.
    output: Vec<u8>,
    error: Vec<u8>,
    bytes: usize,
    cut: bool,
}

impl PendingLines {
    fn write(&mut self, level: Level, bytes: &[u8]) {
        let left = PENDING_BYTES_MAX.saturating_sub(self.bytes);
        self.cut |= bytes.len() > left;
        let bytes = bytes.get(..left).unwrap_or(bytes);
        self.bytes = self.bytes.saturating_add(bytes.len());
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line(level).extend_from_slice(part);
            if part.ends_with(b"\n") || self.line(level).len() >= LINE_MAX {
                self.end_line(level);
            }
        }
    }

    fn line(&mut self, level: Level) -> &mut Vec<u8> {
        match level {
            Level::Info => &mut self.output,
            _ => &mut self.error,
        }
    }

    fn end_line(&mut self, level: Level) {
        let line = mem::take(self.line(level));
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        self.bytes = self.bytes.saturating_add(LINE_BYTES);
        self.lines.push((level, String::from_utf8_lossy(text).into_owned()));
    }
}

/// The standard output and error of an instance.
#[derive(Debug, Default)]
pub(super) struct Stdio {
    pending: Arc<Mutex<PendingLines>>,
}

impl Stdio {
    /// Standard output, which is logged as `info`.
    pub(super) fn output(&self) -> LogStream {
        LogStream {
            level: Level::Info,
            pending: self.pending.clone(),
        }
    }

    /// Standard error, which is logged as `warn`.
    pub(super) fn error(&self) -> LogStream {
        LogStream {
            level: Level::Warn,
            pending: self.pending.clone(),
        }
    }

    /// Logs the complete lines. To be called before anything else is logged, so that the order is kept.
    pub(super) fn log(&self, call: &mut Call) {
        let mut pending = self.pending.lock();
        let lines = mem::take(&mut pending.lines);
        pending.bytes = pending.output.len().saturating_add(pending.error.len());
        let cut = mem::take(&mut pending.cut);
        drop(pending);
        for (level, text) in lines {
            call.log(level, &text);
        }
        if cut {
            call.logs.mark_cut();
        }
    }

    /// Logs everything, unfinished lines included.
    pub(super) fn log_all(&self, call: &mut Call) {
        {
            let mut pending = self.pending.lock();
            for level in [Level::Info, Level::Warn] {
                if !pending.line(level).is_empty() {
                    pending.end_line(level);
                }
            }
        }
        self.log(call);
    }
}

/// One of the streams. Clones write to the same one.
#[derive(Debug, Clone)]
pub(super) struct LogStream {
    level: Level,
    pending: Arc<Mutex<PendingLines>>,
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    // Only WASI 0.3 calls this, which is not linked.
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.pending.lock().write(self.level, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    /// Always accepts output. Text beyond the limit is left out of the log, since the program would wait forever
    /// otherwise.
    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pending: &PendingLines) -> Vec<(Level, &str)> {
        pending
            .lines
            .iter()
            .map(|(level, text)| (*level, text.as_str()))
            .collect()
    }

    #[test]
    fn each_stream_is_split_into_lines() {
        let mut pending = PendingLines::default();
        pending.write(Level::Info, b"one\r\ntw");
        pending.write(Level::Warn, b"odd\n");
        pending.write(Level::Info, b"o\n\nthr");
        let expected = [
            (Level::Info, "one"),
            (Level::Warn, "odd"),
            (Level::Info, "two"),
            (Level::Info, ""),
        ];
        assert_eq!(texts(&pending), expected);
        assert_eq!(pending.output, b"thr");
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut pending = PendingLines::default();
        for _ in 0..100 {
            pending.write(Level::Info, &[b'x'; CHUNK]);
            pending.write(Level::Warn, &[b'\n'; CHUNK]);
        }
        assert!(pending.cut);
        let kept: usize = pending.lines.iter().map(|(_, text)| text.len()).sum();
        assert!(kept + pending.output.len() + pending.error.len() <= PENDING_BYTES_MAX);
        assert!(pending.lines.len() <= CHUNK + PENDING_BYTES_MAX / LINE_BYTES);
        assert!(pending.lines.iter().all(|(_, text)| text.len() <= CHUNK));
    }
}
