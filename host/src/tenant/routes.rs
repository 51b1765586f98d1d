//! Maps each interface of the contract, and each claimed custom event, to the handler version that handles it.

use std::hash::Hasher as _;
use std::sync::Arc;

use siphasher::sip::SipHasher13;

use super::custom_routes::CustomRoutes;
use parlance_handler::capability::EventPattern;
use parlance_handler::sandbox::{Handler, Interface};

/// The handler versions of one interface, or of the custom events of one pattern.
#[derive(Clone, Default)]
pub struct Route {
    /// The version that handles all events but the canaries' shares.
    pub stable: Option<Arc<Handler>>,
    /// The versions on trial, each in a share of the rooms; the first one that has an event's room handles it. There is
    /// more than one where a handler tries a pattern whose events still go to a handler that has a canary itself.
    pub canaries: Vec<Canary>,
    /// Set when the version that should handle the events cannot be loaded. No other handler stands in for it.
    pub unavailable: bool,
}

/// A handler version on trial.
#[derive(Clone)]
pub struct Canary {
    /// The version.
    pub handler: Arc<Handler>,
    /// The share of the rooms in percent, from 1 to 99.
    pub percent: u8,
}

/// What the choice between a canary and the stable version depends on: the event's room, or its user if it names none.
/// Every node makes the same choice, so all events of a room go to one version.
#[derive(Debug, Clone, Copy)]
pub enum RouteKey<'a> {
    /// The event's room.
    Room(&'a str),
    /// The user of an event that names no room.
    User(&'a str),
}

impl Route {
    /// The version that handles an event with this key.
    #[must_use]
    pub fn get(&self, key: RouteKey<'_>) -> Option<&Arc<Handler>> {
        let on_trial = |canary: &&Canary| share(&canary.handler.info().name, key) < canary.percent;
        let canary = self.canaries.iter().find(on_trial);
        canary.map(|canary| &canary.handler).or(self.stable.as_ref())
    }
}

/// Maps a key evenly to 0 to 99. Keys below a canary's percentage belong to the canary.
///
/// It must not change between releases, because that would move rooms between versions during a rolling upgrade. It
/// depends on the handler's name so that not every handler's canary begins with the same rooms.
fn share(handler: &str, key: RouteKey<'_>) -> u8 {
    let mut hasher = SipHasher13::new();
    hasher.write(handler.as_bytes());
    let (kind, name) = match key {
        RouteKey::Room(room) => (0, room),
        RouteKey::User(user) => (1, user),
    };
    // No name contains either byte, so different keys never hash the same bytes.
    hasher.write(&[0xff, kind]);
    hasher.write(name.as_bytes());
    u8::try_from(hasher.finish() % 100).unwrap_or(0)
}

/// The routes of all events. They are replaced as a whole, so that an event sees either the old or the new ones.
#[derive(Clone, Default)]
pub struct Routes {
    routes: [Route; Interface::ALL.len()],
    /// The custom events that are claimed by patterns. All others follow [`Interface::Event`].
    custom: CustomRoutes,
}

impl Routes {
    /// Routes all events of the interface to the handler.
    #[must_use]
    pub fn with(mut self, interface: Interface, handler: Arc<Handler>) -> Self {
        self.set(
            interface,
            Route {
                stable: Some(handler),
                ..Route::default()
            },
        );
        self
    }

    /// Replaces the route of an interface.
    pub fn set(&mut self, interface: Interface, route: Route) {
        if let Some(slot) = self.routes.get_mut(interface as usize) {
            *slot = route;
        }
    }

    /// The route of an interface.
    #[must_use]
    pub fn route(&self, interface: Interface) -> Option<&Route> {
        self.routes.get(interface as usize)
    }

    /// Replaces the route of a pattern of custom events. Where several patterns select an event, the most specific one
    /// counts.
    pub fn set_pattern(&mut self, pattern: EventPattern, route: Route) {
        self.custom.set(pattern, route);
    }

    /// Forgets the routes of all patterns.
    pub fn clear_patterns(&mut self) {
        self.custom = CustomRoutes::default();
    }

    /// The route of the custom event with this name.
    #[must_use]
    pub fn custom_event(&self, name: &str) -> Option<&Route> {
        self.custom.get(name).or_else(|| self.route(Interface::Event))
    }

    /// The route of the most specific pattern that covers this one, if there is any.
    #[must_use]
    pub fn covering(&self, pattern: &EventPattern) -> Option<&Route> {
        self.custom.covering(pattern)
    }

    /// The patterns of custom events with their routes, in no particular order.
    pub fn patterns(&self) -> impl Iterator<Item = (EventPattern, &Route)> {
        self.custom.iter()
    }

    /// The stable version of the interface.
    #[must_use]
    pub fn get(&self, interface: Interface) -> Option<&Arc<Handler>> {
        self.route(interface)?.stable.as_ref()
    }

    /// The version of the named handler that serves this key, if it exports the interface.
    ///
    /// The handler may be the canary for some keys only. Where no route leads to it for this key, any version of it
    /// will do.
    #[must_use]
    pub fn named_handler(&self, name: &str, interface: Interface, key: RouteKey<'_>) -> Option<&Arc<Handler>> {
        self.version_of(name, key, |handler| handler.handles(interface))
    }

    /// The version of the named handler that serves this key, whatever it exports.
    #[must_use]
    pub fn handler_named(&self, name: &str, key: RouteKey<'_>) -> Option<&Arc<Handler>> {
        self.version_of(name, key, |_| true)
    }

    fn version_of(&self, name: &str, key: RouteKey<'_>, fits: impl Fn(&Handler) -> bool) -> Option<&Arc<Handler>> {
        let answers = |handler: &&Arc<Handler>| &*handler.info().name == name && fits(handler);
        let routes = self.routes.iter().chain(self.custom.routes());
        let here = routes.clone().find_map(|route| route.get(key).filter(answers));
        let stable = || routes.clone().filter_map(|route| route.stable.as_ref()).find(answers);
        // The handler's first version may be on trial.
        let on_trial = || routes.clone().flat_map(|route| &route.canaries);
        here.or_else(stable)
            .or_else(|| on_trial().map(|canary| &canary.handler).find(&answers))
    }

    /// All handlers that a route leads to, canaries too, some of them several times.
    pub fn handlers(&self) -> impl Iterator<Item = &Arc<Handler>> {
        let routes = self.routes.iter().chain(self.custom.routes());
        routes.flat_map(|route| {
            let canaries = route.canaries.iter().map(|canary| &canary.handler);
            route.stable.iter().chain(canaries)
        })
    }

    /// All interfaces with a stable version, and that version. [`Interface::Event`] comes again for each pattern that
    /// a version claims.
    pub fn iter(&self) -> impl Iterator<Item = (Interface, &Arc<Handler>)> {
        let interfaces = Interface::ALL
            .into_iter()
            .filter_map(|interface| Some((interface, self.get(interface)?)));
        let custom = self.custom.routes().filter_map(|route| route.stable.as_ref());
        let custom = custom.filter(|handler| !handler.info().event_patterns.is_empty());
        interfaces.chain(custom.map(|handler| (Interface::Event, handler)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_never_change() {
        let rooms: Vec<String> = (0..10_000).map(|n| format!("room-{n}")).collect();
        let below = |percent: u8| {
            let chosen = rooms.iter().filter(|room| share("h", RouteKey::Room(room)) < percent);
            chosen.count()
        };
        assert!((800..1200).contains(&below(10)), "{}", below(10));
        assert!((4700..5300).contains(&below(50)), "{}", below(50));
        // A change of these values would move rooms between versions while two releases serve one fleet.
        let first: Vec<u8> = rooms
            .iter()
            .take(5)
            .map(|room| share("h", RouteKey::Room(room)))
            .collect();
        assert_eq!(first, [95, 31, 40, 81, 76]);
        assert_ne!(share("h", RouteKey::Room("x")), share("h", RouteKey::User("x")));
    }
}
