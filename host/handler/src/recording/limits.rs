//! The limits that a recorded event was held to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::capability::{CallLimits, ClientLimits, EffectLimits};
use crate::sandbox::GuestLimits;

/// Declares [`Limits`]: the settings, by their names, that decide what a handler sees.
macro_rules! limits {
    (client { $($client:ident: $client_type:ty),+ } effects { $($effect:ident),+ } guest { $($guest:ident: $guest_type:ty),+ }) => {
        /// The settings that decide what a handler sees, each under its name in `[limits]` and `[sandbox]`.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "the fields are those of the settings")]
        pub struct Limits {
            $(pub $client: $client_type,)+
            $(pub $effect: usize,)+
            $(pub $guest: $guest_type,)+
            /// Microseconds.
            pub guest_time_us: u64,
            /// Microseconds.
            pub wall_time_us: u64,
        }

        impl Limits {
            /// The limits of a call.
            #[must_use]
            pub fn of(call: &CallLimits, guest: &GuestLimits) -> Self {
                let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
                Self {
                    $($client: call.client.$client,)+
                    $($effect: call.effects.$effect,)+
                    $($guest: guest.$guest,)+
                    guest_time_us: micros(guest.guest_time),
                    wall_time_us: micros(guest.wall_time),
                }
            }

            /// What the capabilities hold a replay to.
            pub(super) fn call(&self) -> CallLimits {
                CallLimits {
                    client: ClientLimits { $($client: self.$client,)+ ..ClientLimits::default() },
                    effects: EffectLimits { $($effect: self.$effect,)+ ..EffectLimits::default() },
                }
            }

            /// What the sandbox holds a replay to, within `most`.
            pub(super) fn guest(&self, most: &GuestLimits) -> GuestLimits {
                GuestLimits {
                    guest_time: Duration::from_micros(self.guest_time_us).min(most.guest_time),
                    wall_time: Duration::from_micros(self.wall_time_us).min(most.wall_time),
                    $($guest: self.$guest.min(most.$guest),)+
                    ..GuestLimits::default()
                }
            }
        }
    };
}

limits! {
    client {
        event_name: usize, content: usize, metadata: usize, client_id: usize, history_page_max: u32,
        presence_users: usize, rooms_per_connection: usize, connection_data: usize
    }
    effects { effects, output, log_bytes, emit }
    guest {
        memory: usize, host_calls: u32, transfer: usize, transfer_total: usize, http_requests: u32, http_bytes: usize
    }
}

impl Limits {
    /// The most that a recording from outside may ask of this machine: the largest values of the settings that cost
    /// time or memory, as far as a tenant usually gets them.
    #[must_use]
    pub fn most() -> GuestLimits {
        GuestLimits {
            guest_time: Duration::from_secs(10),
            wall_time: Duration::from_secs(60),
            memory: MEMORY_MAX,
            host_calls: 1_000_000,
            transfer: MEMORY_MAX,
            transfer_total: usize::MAX,
            http_requests: 1000,
            http_bytes: MEMORY_MAX,
            ..GuestLimits::default()
        }
    }
}

/// The largest memory of a replayed instance, in bytes.
const MEMORY_MAX: usize = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_read_back_as_written() {
        let (call, guest) = (CallLimits::default(), GuestLimits::default());
        let limits = Limits::of(&call, &guest);
        let text = serde_json::to_string(&limits).unwrap();
        let read: Limits = serde_json::from_str(&text).unwrap();
        assert_eq!((read.call(), read.guest(&Limits::most())), (call, guest));
    }
}
