//! Several components of one tenant, and the custom events that each claims.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use parlance_handler::capability::{EventPattern, HandlerInfo};

use super::TestHost;
use crate::handlers::{TestHandler, load};

impl TestHost {
    /// Adds another component of the tenant, with its name. It handles events that those before it do not handle.
    ///
    /// # Errors
    /// When the bytes are not a handler.
    pub fn and(mut self, name: &str, bytes: &[u8], settings: BTreeMap<String, String>) -> Result<Self> {
        let info = Arc::new(HandlerInfo {
            name: name.into(),
            settings,
            ..HandlerInfo::default()
        });
        self.others.push(TestHandler {
            handler: load(&self.sandbox, info.clone(), bytes)?,
            info,
            routes: None,
        });
        Ok(self)
    }

    /// Has the component that was added last claim custom events, by their names or, with `*` at the end, by the beginning
    /// of their names, as `events` of the configuration does. The others get those that nobody claims.
    ///
    /// # Errors
    /// When a text is not a pattern.
    pub fn claiming(mut self, events: &[&str]) -> Result<Self> {
        let name_max = self.call_limits.client.event_name;
        let patterns = EventPattern::read_list(events.iter().copied(), name_max);
        let patterns = patterns.map_err(|problem| anyhow!("the list of events {problem}"))?;
        match self.others.last_mut() {
            Some(last) => {
                last.info = Arc::new(HandlerInfo {
                    event_patterns: patterns,
                    ..HandlerInfo::clone(&last.info)
                });
            }
            None => self.event_patterns = patterns,
        }
        Ok(self)
    }
}
