//! Automatic rollback: finds the versions that fail too often, and takes them out of service
//! ([`super::local_rollback`]).
//!
//! What counts are failures that the version is to blame for: traps and exceeded time limits. Its refusals do not
//! count, nor does what the host could not do. Each node counts its own events; in a fleet the first node that has seen
//! enough decides for all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Control;
use super::desired::Stored;
use super::validation::HandlerValidator;
use crate::config::Deploy;
use parlance_handler::sandbox::Handler;

/// How often the counts are checked.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// The recent counts of every version in service.
#[derive(Default)]
pub(super) struct RollbackMonitor {
    windows: BTreeMap<(String, String, u64), FailureWindow>,
}

/// The counts of one version since it came into service, as far as the window of the rule reaches back.
struct FailureWindow {
    handler: Arc<Handler>,
    /// Its counts when it came into service.
    counts_at_activation: (u64, u64),
    samples: VecDeque<(Instant, u64, u64)>,
    /// Whether the log says already that it fails too often and stays.
    logged: bool,
}

/// A version in service.
pub(super) struct VersionInService {
    key: (String, String, u64),
    handler: Arc<Handler>,
    counts_at_activation: (u64, u64),
    /// Why it cannot be rolled back, if it cannot.
    blocked: Option<String>,
}

/// A version that fails too often.
pub(super) struct FailingVersion {
    key: (String, String, u64),
    why: String,
    /// Why it stays in service all the same, if it does.
    pub(super) blocked: Option<String>,
}

impl FailureWindow {
    /// Takes a sample, and gives the events and failures within the last `length`.
    fn sample(&mut self, now: Instant, length: Duration) -> (u64, u64) {
        let (handled, failed) = self.handler.stats.counts();
        self.samples.push_back((now, handled, failed));
        while self
            .samples
            .get(1)
            .is_some_and(|(at, ..)| now.duration_since(*at) >= length)
        {
            self.samples.pop_front();
        }
        let (_, handled_then, failed_then) = self.samples.front().copied().unwrap_or((now, handled, failed));
        (handled.saturating_sub(handled_then), failed.saturating_sub(failed_then))
    }
}

impl RollbackMonitor {
    /// The versions in service that fail too often. One that cannot be rolled back is given once, and again only after
    /// it was healthy.
    pub(super) fn check(
        &mut self,
        rule: &Deploy,
        versions: Vec<VersionInService>,
        now: Instant,
    ) -> Vec<FailingVersion> {
        self.windows.retain(|key, window| {
            versions.iter().any(|version| {
                // With other counts at its activation it is another version, or one that was out of service in between.
                version.key == *key
                    && version.counts_at_activation == window.counts_at_activation
                    && Arc::ptr_eq(&version.handler, &window.handler)
            })
        });
        let mut failing = Vec::new();
        for version in versions {
            let VersionInService {
                key,
                handler,
                counts_at_activation,
                blocked,
            } = version;
            let window = self.windows.entry(key.clone()).or_insert_with(|| FailureWindow {
                // Its events before the first check count too.
                samples: VecDeque::from([(now, counts_at_activation.0, counts_at_activation.1)]),
                counts_at_activation,
                handler,
                logged: false,
            });
            let (handled, failed) = window.sample(now, rule.window);
            let verdict = verdict(rule, handled, failed);
            let logged = std::mem::replace(&mut window.logged, verdict.is_some() && blocked.is_some());
            if let Some(why) = verdict.filter(|_| !(logged && window.logged)) {
                failing.push(FailingVersion { key, why, blocked });
            }
        }
        failing
    }
}

/// Why a version must be rolled back, if it must.
fn verdict(rule: &Deploy, handled: u64, failed: u64) -> Option<String> {
    let share_reached = failed * 100 >= handled * rule.failure_percent as u64;
    (failed >= rule.failures as u64 && share_reached).then(|| {
        let window = humantime::format_duration(rule.window);
        format!("{failed} of its {handled} events within {window} ended with a trap or ran out of time")
    })
}

impl Control {
    /// Rolls back every version that fails too often. Does not wait for the store.
    pub(super) async fn check_versions(&self, monitor: &mut RollbackMonitor) {
        let versions = self.versions_in_service().await;
        for FailingVersion { key, why, blocked } in monitor.check(&self.deps.deploy, versions, Instant::now()) {
            let (tenant, name, version) = key;
            if let Some(blocked) = blocked {
                tracing::error!(
                    tenant,
                    handler = name,
                    version,
                    "the version should be rolled back, but stays: {why}; {blocked}"
                );
                continue;
            }
            match self.roll_back_failing(&tenant, &name, version, &why).await {
                Ok(now_active) => tracing::error!(
                    tenant,
                    handler = name,
                    version,
                    now_active,
                    "the version was rolled back automatically: {why}"
                ),
                // A decision came in between. The next check sees its result.
                Err(error) => tracing::warn!(
                    tenant,
                    handler = name,
                    version,
                    "the version should be rolled back: {error}"
                ),
            }
        }
    }

    pub(super) async fn versions_in_service(&self) -> Vec<VersionInService> {
        let state = self.state.lock().await;
        let mut versions = Vec::new();
        for (tenant, actual) in &state.tenants {
            for (name, Stored { document, .. }) in state.desired.handlers(tenant) {
                let validator = HandlerValidator {
                    handler: name,
                    desired: &state.desired,
                    actual,
                };
                let Some(actual_handler) = actual.handlers.get(name) else {
                    continue;
                };
                for (number, counts_at_activation) in &actual_handler.counts_at_activation {
                    let Some(handler) = actual_handler.loaded.get(number) else {
                        continue;
                    };
                    let is_canary = document.canary.is_some_and(|canary| canary.version == *number);
                    versions.push(VersionInService {
                        key: (tenant.clone(), name.clone(), *number),
                        handler: handler.clone(),
                        counts_at_activation: *counts_at_activation,
                        blocked: validator.rollback_target(document).err().filter(|_| !is_canary),
                    });
                }
            }
        }
        versions
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
