//! Versions that fail too often go back by themselves.
//!
//! What is counted is what the version is to blame for: traps and time that ran out, not its refusals and not what the
//! host could not do. Only events on this node count; in a fleet the first node that has seen enough decides for all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Control;
use super::known::Stored;
use super::siblings::Siblings;
use crate::config::Deploy;
use crate::sandbox::Handler;

/// How often the counts are looked at.
pub(super) const LOOK: Duration = Duration::from_millis(200);

/// What was counted when, for every version in service.
#[derive(Default)]
pub(super) struct Watch {
    windows: BTreeMap<(String, String, u64), Window>,
}

/// Counts of one version since it came into service, the oldest of them as old as the window is long.
struct Window {
    handler: Arc<Handler>,
    /// What it had counted when it came into service.
    since: (u64, u64),
    looks: VecDeque<(Instant, u64, u64)>,
    /// It fails too often and stays: the log has been told.
    told: bool,
}

/// A version in service.
pub(super) struct Subject {
    key: (String, String, u64),
    handler: Arc<Handler>,
    since: (u64, u64),
    /// Why there is nothing to go back to from it, when there is not.
    stuck: Option<String>,
}

/// A version that fails too often.
pub(super) struct Failing {
    key: (String, String, u64),
    why: String,
    /// Why it stays in service all the same, when it does.
    pub(super) stuck: Option<String>,
}

impl Window {
    /// Events and failures within the last `length`.
    fn look(&mut self, now: Instant, length: Duration) -> (u64, u64) {
        let (handled, failed) = self.handler.stats.counts();
        self.looks.push_back((now, handled, failed));
        while self
            .looks
            .get(1)
            .is_some_and(|(at, ..)| now.duration_since(*at) >= length)
        {
            self.looks.pop_front();
        }
        let (_, handled_then, failed_then) = self.looks.front().copied().unwrap_or((now, handled, failed));
        (handled.saturating_sub(handled_then), failed.saturating_sub(failed_then))
    }
}

impl Watch {
    /// Looks at every version in service, and gives those that have to go back; one that should and cannot is given
    /// once, until it is healthy again.
    pub(super) fn look(&mut self, rule: &Deploy, subjects: Vec<Subject>, now: Instant) -> Vec<Failing> {
        self.windows.retain(|key, window| {
            subjects.iter().any(|subject| {
                // Otherwise it is another version, or the same that has been out of service.
                subject.key == *key && subject.since == window.since && Arc::ptr_eq(&subject.handler, &window.handler)
            })
        });
        let mut failing = Vec::new();
        for subject in subjects {
            let Subject {
                key,
                handler,
                since,
                stuck,
            } = subject;
            let window = self.windows.entry(key.clone()).or_insert_with(|| Window {
                // What it did before the first look counts too.
                looks: VecDeque::from([(now, since.0, since.1)]),
                since,
                handler,
                told: false,
            });
            let (handled, failed) = window.look(now, rule.window);
            let verdict = verdict(rule, handled, failed);
            let told = std::mem::replace(&mut window.told, verdict.is_some() && stuck.is_some());
            if let Some(why) = verdict.filter(|_| !(told && window.told)) {
                failing.push(Failing { key, why, stuck });
            }
        }
        failing
    }
}

/// Why a version has to go back, when it has to.
fn verdict(rule: &Deploy, handled: u64, failed: u64) -> Option<String> {
    let share_reached = failed * 100 >= handled * rule.failure_percent as u64;
    (failed >= rule.failures as u64 && share_reached).then(|| {
        let window = humantime::format_duration(rule.window);
        format!("{failed} of its {handled} events within {window} ended with a trap or ran out of time")
    })
}

impl Control {
    /// Looks at every version in service.
    pub(super) async fn look(self: &Arc<Self>, watch: &mut Watch) {
        let subjects = self.subjects().await;
        for Failing { key, why, stuck } in watch.look(&self.parts.deploy, subjects, Instant::now()) {
            let (tenant, name, version) = key;
            if let Some(stuck) = stuck {
                tracing::error!(
                    tenant,
                    handler = name,
                    version,
                    "the version should go back and stays: {why}; {stuck}"
                );
                continue;
            }
            match self.fail(&tenant, &name, version, &why).await {
                Ok(view) => tracing::error!(
                    tenant,
                    handler = name,
                    version,
                    now_active = view.active,
                    "the version went back by itself: {why}"
                ),
                // Another node was first, or the next look tries again.
                Err(error) => tracing::warn!(tenant, handler = name, version, "the version should go back: {error}"),
            }
        }
    }

    pub(super) async fn subjects(&self) -> Vec<Subject> {
        let state = self.state.lock().await;
        let mut subjects = Vec::new();
        for (tenant, live) in &state.tenants {
            for (name, Stored { document, .. }) in state.known.handlers(tenant) {
                let siblings = Siblings {
                    handler: name,
                    known: &state.known,
                    live,
                };
                let Some(running) = live.running.get(name) else {
                    continue;
                };
                for (number, since) in &running.since {
                    let Some(handler) = running.loaded.get(number) else {
                        continue;
                    };
                    let is_canary = document.canary.is_some_and(|canary| canary.version == *number);
                    subjects.push(Subject {
                        key: (tenant.clone(), name.clone(), *number),
                        handler: handler.clone(),
                        since: *since,
                        stuck: siblings.way_back(document).err().filter(|_| !is_canary),
                    });
                }
            }
        }
        subjects
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Deploy {
        Deploy {
            failure_percent: 2,
            failures: 5,
            window: Duration::from_secs(10),
        }
    }

    #[test]
    fn the_share_and_the_number_both_have_to_be_reached() {
        assert_eq!(verdict(&rule(), 4, 4), None, "too few to judge");
        assert!(verdict(&rule(), 5, 5).is_some());
        assert!(verdict(&rule(), 250, 5).is_some(), "exactly the share");
        assert_eq!(verdict(&rule(), 251, 5), None, "just below the share");
        assert_eq!(verdict(&rule(), 1_000_000, 0), None);
    }
}
