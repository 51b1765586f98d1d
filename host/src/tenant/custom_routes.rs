//! Maps the names of custom events to routes, for the events that handlers claim by patterns.

use std::collections::HashMap;

use super::routes::Route;
use parlance_handler::capability::EventPattern;

/// The routes of the claimed custom events. A look-up allocates nothing.
#[derive(Clone, Default)]
pub(super) struct CustomRoutes {
    names: HashMap<Box<str>, Route>,
    prefixes: HashMap<Box<str>, Route>,
    /// The lengths of the prefixes in bytes, longest first, each once.
    lengths: Vec<usize>,
}

impl CustomRoutes {
    /// Replaces the route of a pattern.
    pub(super) fn set(&mut self, pattern: EventPattern, route: Route) {
        match pattern {
            EventPattern::Name(name) => {
                self.names.insert(name, route);
            }
            EventPattern::Prefix(prefix) => {
                if let Err(at) = self.lengths.binary_search_by(|length| prefix.len().cmp(length)) {
                    self.lengths.insert(at, prefix.len());
                }
                self.prefixes.insert(prefix, route);
            }
        }
    }

    /// The route of an event: that of its name, or of the longest prefix that its name begins with.
    pub(super) fn get(&self, name: &str) -> Option<&Route> {
        self.names.get(name).or_else(|| self.longest_prefix(name))
    }

    /// The route of the most specific pattern that covers this one.
    pub(super) fn covering(&self, pattern: &EventPattern) -> Option<&Route> {
        match pattern {
            EventPattern::Name(name) => self.get(name),
            EventPattern::Prefix(prefix) => self.longest_prefix(prefix),
        }
    }

    fn longest_prefix(&self, name: &str) -> Option<&Route> {
        let prefixes = self.lengths.iter().filter_map(|length| name.get(..*length));
        prefixes.filter_map(|prefix| self.prefixes.get(prefix)).next()
    }

    /// All routes with their patterns, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (EventPattern, &Route)> + Clone {
        let names = self.names.iter();
        let prefixes = self.prefixes.iter();
        names
            .map(|(name, route)| (EventPattern::Name(name.clone()), route))
            .chain(prefixes.map(|(prefix, route)| (EventPattern::Prefix(prefix.clone()), route)))
    }

    /// All routes.
    pub(super) fn routes(&self) -> impl Iterator<Item = &Route> + Clone {
        self.names.values().chain(self.prefixes.values())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;
    use crate::tenant::Canary;

    /// A route that is told from others by this number.
    fn numbered(number: usize) -> Route {
        Route {
            unavailable: number > 0,
            ..Route::default()
        }
    }

    proptest! {
        /// Names and prefixes with `é`, whose second byte is no beginning of a character.
        #[test]
        fn an_event_gets_the_route_of_its_most_specific_pattern(
            texts in btree_set("[aé]{1,4}\\*?", 0..12), name in "[aé]{1,5}", at in 0..12_usize,
        ) {
            let patterns: Vec<EventPattern> = texts.iter().map(|text| text.parse().unwrap()).collect();
            let chosen = patterns.get(at);
            let mut routes = CustomRoutes::default();
            for pattern in &patterns {
                routes.set(pattern.clone(), numbered(usize::from(Some(pattern) == chosen)));
            }
            let specific = |pattern: &&EventPattern| (matches!(pattern, EventPattern::Name(_)), pattern.text().len());
            let expected = patterns.iter().filter(|pattern| pattern.matches(&name)).max_by_key(specific);
            let found = routes.get(&name);
            prop_assert_eq!(found.is_some(), expected.is_some());
            prop_assert_eq!(found.is_some_and(|route| route.unavailable), expected.is_some() && expected == chosen);
            prop_assert_eq!(routes.iter().count(), patterns.len());
        }
    }

    #[test]
    fn a_pattern_is_covered_by_the_longest_prefix_of_its_own() {
        let mut routes = CustomRoutes::default();
        routes.set("poll-*".parse().unwrap(), numbered(0));
        routes.set("poll-create".parse().unwrap(), numbered(1));
        let covering = |text: &str| routes.covering(&text.parse().unwrap()).map(|route| route.unavailable);
        assert_eq!(covering("poll-create"), Some(true));
        assert_eq!(covering("poll-create*"), Some(false), "the name is narrower");
        assert_eq!(covering("poll*"), None, "the prefix is wider");
        let canaries: &[Canary] = &routes.get("poll-x").unwrap().canaries;
        assert!(canaries.is_empty());
    }
}
