//! Tables and times for the terminal.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use comfy_table::presets::NOTHING;

use crate::dispatch::now_ms;
use parlance_types::text::escape;

/// A table without lines, with columns as wide as their contents.
pub(super) struct Table(comfy_table::Table);

impl Table {
    pub(super) fn new(headings: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING).set_header(headings.to_vec());
        Self(table)
    }

    pub(super) fn row(&mut self, cells: &[&str]) {
        // Text from others must not move the cursor.
        let plain = cells.iter().map(|text| escape::line(text));
        self.0.add_row(plain.collect::<Vec<_>>());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.0.lines() {
            writeln!(f, "{}", line.trim())?;
        }
        Ok(())
    }
}

/// How long ago a moment was, in its two largest units. It is given in milliseconds since the Unix epoch.
pub(super) fn ago(at_ms: u64) -> String {
    format!("{} ago", largest_units(now_ms().saturating_sub(at_ms)))
}

/// How long it is until a moment, in its two largest units; `now` for one that has come. It is given in milliseconds since
/// the Unix epoch.
pub(super) fn until(at_ms: u64) -> String {
    match at_ms.saturating_sub(now_ms()) {
        0 => "now".to_owned(),
        left => format!("in {}", largest_units(left)),
    }
}

fn largest_units(ms: u64) -> String {
    let text = humantime::format_duration(Duration::from_secs(ms / 1000)).to_string();
    let largest: Vec<&str> = text.split(' ').take(2).collect();
    largest.join(" ")
}

/// A moment as UTC. It is given in milliseconds since the Unix epoch.
pub(super) fn moment(at_ms: u64) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_millis(at_ms)) {
        // The format ends with the year 9999; later moments stand for "never".
        Some(at) if at_ms < LAST_WRITTEN_MS => humantime::format_rfc3339_millis(at).to_string(),
        _ => "never".to_owned(),
    }
}

/// The year 10000, in milliseconds since the Unix epoch.
const LAST_WRITTEN_MS: u64 = 253_402_300_800_000;
