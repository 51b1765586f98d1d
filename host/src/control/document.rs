//! The documents in the catalog. Every node of a fleet reads them, also one of another release: a new field has a
//! default, and no field changes its meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use parlance_handler::capability::{EventPattern, Isolation, IsolationLevel};

use super::actual::ActualHandler;
use super::api::{CanaryView, HandlerView, VersionView};
use parlance_handler::sandbox::Interface;

/// A tenant of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TenantDocument {
    /// The configuration as it was sent, with the keys of `[tenants.NAME]`.
    pub(super) configuration: serde_json::Value,
    #[serde(default)]
    pub(super) suspended: bool,
    /// Set when the tenant was deleted with its data. The document is removed when all of the data is. It says
    /// `suspended` too, for nodes of a release that does not know this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) purging: Option<Purging>,
}

/// The process that removes the data of a deleted tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Purging {
    /// The process's id.
    pub(super) by: String,
    /// When it last renewed its lease, in milliseconds since the Unix epoch.
    pub(super) at: u64,
    /// When the tenant was deleted, in milliseconds since the Unix epoch.
    pub(super) since: u64,
}

/// A version of a handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VersionDocument {
    pub(super) version: u64,
    pub(super) sha256: String,
    pub(super) size: u64,
    pub(super) events: Vec<String>,
    pub(super) deployed_at: u64,
    pub(super) deployed_by: String,
    #[serde(default)]
    pub(super) note: Option<String>,
    #[serde(default)]
    pub(super) failed: Option<String>,
    #[serde(default)]
    pub(super) settings: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) isolation: Isolation,
    #[serde(default)]
    pub(super) isolation_level: IsolationLevel,
    /// The custom events that it claims; empty for all that no other handler claims.
    #[serde(default)]
    pub(super) event_patterns: Vec<EventPattern>,
}

impl VersionDocument {
    /// Whether it handles every custom event that no other handler claims.
    pub(super) fn handles_unclaimed_events(&self) -> bool {
        self.event_patterns.is_empty() && self.handles(Interface::Event)
    }

    /// Whether it handles events of the interface.
    pub(super) fn handles(&self, interface: Interface) -> bool {
        self.events.iter().any(|event| event == interface.name())
    }
}

/// The canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CanaryDocument {
    pub(super) version: u64,
    pub(super) percent: u8,
}

/// A deployed handler. A removed one has no versions; its document stays for the sake of `last`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HandlerDocument {
    /// Oldest first.
    pub(super) versions: Vec<VersionDocument>,
    #[serde(default)]
    pub(super) active: Option<u64>,
    #[serde(default)]
    pub(super) canary: Option<CanaryDocument>,
    /// The versions that were active before, each once, the latest one last.
    #[serde(default)]
    pub(super) before: Vec<u64>,
    /// The highest version number so far; no number is given twice.
    #[serde(default)]
    pub(super) last: u64,
}

impl HandlerDocument {
    /// The document of the same handler once it is removed.
    pub(super) fn removed(&self) -> Self {
        Self {
            last: self.last,
            ..Self::default()
        }
    }

    /// Whether the handler was removed.
    pub(super) fn is_removed(&self) -> bool {
        self.versions.is_empty()
    }

    pub(super) fn version(&self, number: u64) -> Option<&VersionDocument> {
        self.versions.iter().find(|version| version.version == number)
    }

    /// The versions that handle events: the active one and the canary.
    pub(super) fn in_service(&self) -> impl Iterator<Item = &VersionDocument> {
        let canary = self.canary.map(|canary| canary.version);
        self.versions
            .iter()
            .filter(move |version| Some(version.version) == self.active || Some(version.version) == canary)
    }

    /// Makes a version the active one.
    pub(super) fn activate(&mut self, version: u64) {
        if let Some(active) = self.active.replace(version).filter(|active| *active != version) {
            self.before.retain(|number| *number != active);
            self.before.push(active);
        }
        if self.canary.is_some_and(|canary| canary.version == version) {
            self.canary = None;
        }
    }

    /// Drops the canary; without one, goes back to the version that was active before and was not rolled back itself,
    /// or to the configured handler when there is none.
    pub(super) fn roll_back(&mut self) {
        if self.canary.take().is_some() {
            return;
        }
        self.active = None;
        while let Some(number) = self.before.pop() {
            if !self.was_rolled_back(number) {
                self.active = Some(number);
                break;
            }
        }
    }

    /// Whether the server has rolled the version back.
    pub(super) fn was_rolled_back(&self, number: u64) -> bool {
        self.version(number).is_some_and(|version| version.failed.is_some())
    }

    /// Goes back from the active version to an earlier one, or to none, and forgets those between. The canary stays.
    pub(super) fn roll_back_to(&mut self, version: Option<u64>) {
        let at = self.before.iter().rposition(|number| Some(*number) == version);
        self.before.truncate(at.unwrap_or(0));
        self.active = version;
    }

    /// Drops the oldest versions until `keep` are left. Versions in service stay, and the one to go back to.
    pub(super) fn prune(&mut self, keep: usize) {
        while self.versions.len() > keep {
            let canary = self.canary.map(|canary| canary.version);
            let last_before = self.before.last().copied();
            let needed = |number| Some(number) == self.active || Some(number) == canary || Some(number) == last_before;
            let Some(at) = self.versions.iter().position(|version| !needed(version.version)) else {
                break;
            };
            self.versions.remove(at);
        }
        self.before
            .retain(|number| self.versions.iter().any(|version| version.version == *number));
    }

    /// The handler as the admin API shows it. `actual_handler` is its state on this node.
    pub(super) fn view(&self, name: &str, revision: u64, actual_handler: Option<&ActualHandler>) -> HandlerView {
        let problem = |number: u64| actual_handler.and_then(|actual_handler| actual_handler.failed.get(&number));
        let in_service = |number| Some(number) == self.active || self.canary.is_some_and(|own| own.version == number);
        let state = |version: &VersionDocument| match () {
            () if in_service(version.version) && problem(version.version).is_some() => "unavailable",
            () if Some(version.version) == self.active => "active",
            () if self.canary.is_some_and(|canary| canary.version == version.version) => "canary",
            () if version.failed.is_some() => "failed",
            () => "kept",
        };
        let versions = self.versions.iter().rev().map(|version| {
            let loaded = actual_handler.and_then(|actual_handler| actual_handler.loaded.get(&version.version));
            let (events_handled, events_failed) = loaded.map_or((0, 0), |handler| handler.stats.counts());
            VersionView {
                version: version.version,
                sha256: version.sha256.clone(),
                size: version.size,
                events: version.events.clone(),
                deployed_at: version.deployed_at,
                deployed_by: version.deployed_by.clone(),
                note: version.note.clone(),
                failed: version.failed.clone(),
                state: state(version).to_owned(),
                problem: problem(version.version).cloned(),
                events_handled,
                events_failed,
                settings: version.settings.clone(),
                isolation: version.isolation.name().to_owned(),
                isolation_level: version.isolation_level.name().to_owned(),
                event_patterns: version.event_patterns.iter().map(EventPattern::to_string).collect(),
            }
        });
        HandlerView {
            name: name.to_owned(),
            active: self.active,
            canary: self.canary.map(|canary| CanaryView {
                version: canary.version,
                percent: canary.percent,
            }),
            versions: versions.collect(),
            revision,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_versions(numbers: &[u64]) -> HandlerDocument {
        let version = |number: &u64| VersionDocument {
            version: *number,
            sha256: format!("hash-{}", number % 3),
            size: 1,
            events: vec![],
            deployed_at: 0,
            deployed_by: String::new(),
            note: None,
            failed: None,
            settings: BTreeMap::new(),
            isolation: Isolation::Fresh,
            isolation_level: IsolationLevel::Serializable,
            event_patterns: vec![],
        };
        HandlerDocument {
            versions: numbers.iter().map(version).collect(),
            ..HandlerDocument::default()
        }
    }

    #[test]
    fn going_back_drops_the_canary_first_and_then_returns_to_what_was_before() {
        let mut handler = with_versions(&[1, 2, 3]);
        handler.activate(1);
        handler.activate(2);
        handler.canary = Some(CanaryDocument {
            version: 3,
            percent: 10,
        });
        handler.roll_back();
        assert_eq!((handler.active, handler.canary), (Some(2), None));
        handler.roll_back();
        assert_eq!(handler.active, Some(1));
        handler.roll_back();
        assert_eq!(handler.active, None, "what is configured takes over");
    }

    #[test]
    fn promoting_a_canary_remembers_what_was_active() {
        let mut handler = with_versions(&[1, 2]);
        handler.activate(1);
        handler.canary = Some(CanaryDocument {
            version: 2,
            percent: 10,
        });
        handler.activate(2);
        assert_eq!((handler.active, handler.canary), (Some(2), None));
        assert_eq!(handler.before, [1]);
    }

    #[test]
    fn versions_that_take_turns_are_remembered_once_each() {
        let mut handler = with_versions(&[1, 2, 3]);
        handler.activate(3);
        for _ in 0..100 {
            handler.activate(1);
            handler.activate(2);
        }
        assert_eq!(handler.before, [3, 2, 1]);
        handler.roll_back();
        assert_eq!(handler.active, Some(1), "what was active before");
    }

    #[test]
    fn what_is_skipped_on_the_way_back_is_forgotten() {
        let mut handler = with_versions(&[1, 2, 3]);
        (1..=3).for_each(|version| handler.activate(version));
        handler.roll_back_to(Some(1));
        assert_eq!((handler.active, handler.before.len()), (Some(1), 0));
        (2..=3).for_each(|version| handler.activate(version));
        handler.roll_back_to(None);
        assert_eq!((handler.active, handler.before.len()), (None, 0));
    }

    #[test]
    fn going_back_skips_versions_that_were_abandoned() {
        let mut handler = with_versions(&[1, 2, 3]);
        (1..=3).for_each(|version| handler.activate(version));
        handler.versions[1].failed = Some("it failed too often".to_owned());
        handler.roll_back();
        assert_eq!(handler.active, Some(1));
        handler.activate(2);
        handler.roll_back();
        assert_eq!(
            handler.active,
            Some(1),
            "what an operator has chosen again is left again"
        );
    }

    #[test]
    fn pruning_keeps_what_is_needed() {
        let mut handler = with_versions(&[1, 2, 3, 4, 5]);
        handler.activate(1);
        handler.activate(5);
        handler.prune(2);
        let left: Vec<u64> = handler.versions.iter().map(|version| version.version).collect();
        assert_eq!(left, [1, 5], "the active one and the one to go back to");
    }

    #[test]
    fn of_a_removed_handler_only_the_last_number_is_left() {
        let mut handler = with_versions(&[1, 2]);
        handler.last = 2;
        handler.activate(2);
        assert!(!handler.is_removed());
        let left = handler.removed();
        assert!(left.is_removed());
        assert_eq!((left.last, left.active), (2, None));
    }
}
