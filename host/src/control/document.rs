//! The documents in the catalog. They are read by every node of a fleet, also by one of another release: fields are
//! added with a default and never change their meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::capability::Isolation;

use super::view::{CanaryView, HandlerView, VersionView};
use crate::sandbox::Handler;

/// A tenant that is kept in the store.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct TenantDocument {
    /// As it was sent, with the keys of `[tenants.NAME]`.
    pub(super) configuration: serde_json::Value,
    #[serde(default)]
    pub(super) suspended: bool,
}

/// A version of a handler.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
}

/// A version on trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CanaryDocument {
    pub(super) version: u64,
    pub(super) percent: u8,
}

/// A deployed handler.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct HandlerDocument {
    /// Oldest first.
    pub(super) versions: Vec<VersionDocument>,
    #[serde(default)]
    pub(super) active: Option<u64>,
    #[serde(default)]
    pub(super) canary: Option<CanaryDocument>,
    /// Versions that were active before, the last one last.
    #[serde(default)]
    pub(super) before: Vec<u64>,
    /// Numbers that were given out so far; none is given twice.
    #[serde(default)]
    pub(super) last: u64,
}

impl HandlerDocument {
    pub(super) fn version(&self, number: u64) -> Option<&VersionDocument> {
        self.versions.iter().find(|version| version.version == number)
    }

    /// The versions that handle events now.
    pub(super) fn in_service(&self) -> impl Iterator<Item = &VersionDocument> {
        let canary = self.canary.map(|canary| canary.version);
        self.versions
            .iter()
            .filter(move |version| Some(version.version) == self.active || Some(version.version) == canary)
    }

    /// Puts a version into service for everything.
    pub(super) fn activate(&mut self, version: u64) {
        if let Some(active) = self.active.replace(version).filter(|active| *active != version) {
            self.before.push(active);
        }
        if self.canary.is_some_and(|canary| canary.version == version) {
            self.canary = None;
        }
    }

    /// Where going back leads: without a canary, to the version that was active before; `None` when there is none,
    /// and the configured handler takes over.
    pub(super) fn go_back(&mut self) {
        if self.canary.take().is_none() {
            self.go_back_from_active();
        }
    }

    /// The same for the active version, whether or not there is a canary.
    pub(super) fn go_back_from_active(&mut self) {
        self.active = self.before.pop();
    }

    /// Forgets the oldest versions that are not needed, down to `keep`. Gives the hashes that nothing names any more.
    pub(super) fn prune(&mut self, keep: usize) -> Vec<String> {
        let mut gone = Vec::new();
        while self.versions.len() > keep {
            let canary = self.canary.map(|canary| canary.version);
            let last_before = self.before.last().copied();
            let needed = |number| Some(number) == self.active || Some(number) == canary || Some(number) == last_before;
            let Some(at) = self.versions.iter().position(|version| !needed(version.version)) else {
                break;
            };
            gone.push(self.versions.remove(at));
        }
        self.before
            .retain(|number| self.versions.iter().any(|version| version.version == *number));
        let used = |hash: &String| self.versions.iter().any(|version| version.sha256 == *hash);
        gone.into_iter()
            .map(|version| version.sha256)
            .filter(|hash| !used(hash))
            .collect()
    }

    /// `loaded` gives the versions that are loaded on this node.
    pub(super) fn view<'a>(
        &self,
        name: &str,
        revision: u64,
        loaded: impl Fn(u64) -> Option<&'a Handler>,
    ) -> HandlerView {
        let state = |version: &VersionDocument| match () {
            () if Some(version.version) == self.active => "active",
            () if self.canary.is_some_and(|canary| canary.version == version.version) => "canary",
            () if version.failed.is_some() => "failed",
            () => "kept",
        };
        let versions = self.versions.iter().rev().map(|version| {
            let (events_handled, events_failed) =
                loaded(version.version).map_or((0, 0), |handler| handler.record.counts());
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
                events_handled,
                events_failed,
                settings: version.settings.clone(),
                isolation: version.isolation.name().to_owned(),
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
        handler.go_back();
        assert_eq!((handler.active, handler.canary), (Some(2), None));
        handler.go_back();
        assert_eq!(handler.active, Some(1));
        handler.go_back();
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
    fn pruning_keeps_what_is_needed_and_names_what_nothing_uses() {
        let mut handler = with_versions(&[1, 2, 3, 4, 5]);
        handler.activate(1);
        handler.activate(5);
        let gone = handler.prune(2);
        let left: Vec<u64> = handler.versions.iter().map(|version| version.version).collect();
        assert_eq!(left, [1, 5], "the active one and the one to go back to");
        // 1 and 4 have the same bytes, and so have 2 and 5.
        assert_eq!(gone, ["hash-0"]);
    }
}
