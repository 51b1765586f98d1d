//! The record of a run: the history that is checked at the end, and a trace whose digest shows whether two runs were
//! the same.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use parking_lot::Mutex;
use parlance_history::{History, Record};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// The most violations that are reported. Further ones are mostly caused by these.
const MAX_VIOLATIONS: usize = 20;

#[derive(Clone)]
pub(crate) struct Log(Arc<Mutex<State>>);

struct State {
    began: Instant,
    history: History,
    digest: Sha256,
    print: bool,
    violations: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
}

impl Log {
    /// With `print` the trace is printed as it happens.
    pub(crate) fn new(print: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            began: Instant::now(),
            history: History::default(),
            digest: Sha256::new(),
            print,
            violations: Vec::new(),
            counts: BTreeMap::new(),
        })))
    }

    /// Notes something that an observer can see.
    pub(crate) fn note(&self, what: impl Display) {
        let mut state = self.0.lock();
        let line = format!("{:>9.3} {what}\n", state.began.elapsed().as_secs_f64());
        state.digest.update(&line);
        if state.print {
            print!("{line}");
        }
    }

    /// Notes a record of the history.
    pub(crate) fn push(&self, record: Record) {
        self.note(serde_json::to_string(&record).unwrap_or_default());
        self.0.lock().history.push(record);
    }

    /// Notes a violation.
    pub(crate) fn violation(&self, what: impl Display) {
        self.note(format_args!("VIOLATION {what}"));
        let mut state = self.0.lock();
        if state.violations.len() < MAX_VIOLATIONS {
            state.violations.push(what.to_string());
        }
    }

    pub(crate) fn count(&self, what: &'static str, times: u64) {
        *self.0.lock().counts.entry(what).or_default() += times;
    }

    /// Milliseconds since the beginning.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.0.lock().began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn check_history(&self) {
        let checked = self.0.lock().history.check();
        match checked {
            Ok(summary) => {
                self.count("messages sent", summary.ops);
                self.count("messages acknowledged", summary.acknowledged);
                self.count("messages delivered", summary.delivered);
                self.count("joins", summary.stays);
            }
            Err(violations) => violations.iter().for_each(|violation| self.violation(violation)),
        }
    }

    /// The digest, the violations, and the counts.
    pub(crate) fn end(&self) -> (String, Vec<String>, BTreeMap<String, u64>) {
        let state = self.0.lock();
        let digest = state.digest.clone().finalize();
        let digest = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let counts = state.counts.iter().map(|(what, n)| ((*what).to_owned(), *n)).collect();
        (digest, state.violations.clone(), counts)
    }
}
