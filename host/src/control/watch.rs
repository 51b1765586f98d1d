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
}

/// A version in service.
struct Subject {
    key: (String, String, u64),
    handler: Arc<Handler>,
    since: (u64, u64),
    /// There is something to go back to from it.
    judged: bool,
}

impl Window {
    /// Events and failures within the last `length`.
    fn look(&mut self, now: Instant, length: Duration) -> (u64, u64) {
        let (handled, failed) = self.handler.record.counts();
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
    /// Looks at every version in service, and gives those that have to go back, with the reason.
    fn look(&mut self, rule: &Deploy, subjects: Vec<Subject>, now: Instant) -> Vec<((String, String, u64), String)> {
        self.windows.retain(|key, window| {
            subjects.iter().any(|subject| {
                // Otherwise it is another version, or the same that has been out of service.
                subject.key == *key && subject.since == window.since && Arc::ptr_eq(&subject.handler, &window.handler)
            })
        });
        let mut back = Vec::new();
        for subject in subjects {
            let Subject {
                key,
                handler,
                since,
                judged,
            } = subject;
            let window = self.windows.entry(key.clone()).or_insert_with(|| Window {
                // What it did before the first look counts too.
                looks: VecDeque::from([(now, since.0, since.1)]),
                since,
                handler,
            });
            let (handled, failed) = window.look(now, rule.window);
            if let Some(why) = verdict(rule, handled, failed).filter(|_| judged) {
                back.push((key, why));
            }
        }
        back
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
    /// Looks at every version in service that there is something to go back from.
    pub(super) async fn look(self: &Arc<Self>, watch: &mut Watch) {
        let subjects = self.subjects().await;
        for ((tenant, name, version), why) in watch.look(&self.parts.deploy, subjects, Instant::now()) {
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

    async fn subjects(&self) -> Vec<Subject> {
        let state = self.state.lock().await;
        let mut subjects = Vec::new();
        for (tenant, live) in &state.tenants {
            for (name, Stored { document, .. }) in state.known.handlers(tenant) {
                let Some(running) = live.running.get(name) else {
                    continue;
                };
                for (number, since) in &running.since {
                    let Some(handler) = running.loaded.get(number) else {
                        continue;
                    };
                    let is_canary = document.canary.is_some_and(|canary| canary.version == *number);
                    // With nobody to take over, every event would fail instead of some.
                    let has_next = !document.before.is_empty() || live.has_base_for(handler);
                    subjects.push(Subject {
                        key: (tenant.clone(), name.clone(), *number),
                        handler: handler.clone(),
                        since: *since,
                        judged: is_canary || has_next,
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
