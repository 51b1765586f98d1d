//! What a tenant's clients and handlers are held to in what they send and ask for.

use std::time::Duration;

use parlance_types::settings::{Count, GIB, KIB, MIB, Size, Time, millis, secs, settings};

settings! {
    /// The limits of one client: its cost, and the packets that reach a handler.
    pub struct ClientLimits of each tenant in "limits" {
        /// Bytes of one packet from a client.
        packet: usize = 64 * KIB, Size(KIB, 8 * MIB);
        /// Bytes of an event's name.
        event_name: usize = 128, Count(16, 1024);
        /// Bytes of a room's id.
        room_id: usize = 128, Count(1, 128);
        /// Bytes of a message's content.
        content: usize = 16 * KIB, Size(1, MIB);
        /// Bytes of a message's metadata, as JSON.
        metadata: usize = 4 * KIB, Size(2, MIB);
        /// Bytes of the id that a client gives a message.
        client_id: usize = 128, Count(1, 1024);
        /// How deep JSON from a client may nest.
        json_depth: usize = 64, Count(4, 120);
        /// Messages on a page of history when the client does not say.
        history_page: u32 = 50, Count(1, 1000);
        /// Messages on a page of history at most.
        history_page_max: u32 = 200, Count(1, 1000);
        /// Events of one connection that wait for their turn; a further one is refused.
        queue_events: usize = 2048, Count(1, 65_536);
        /// Events of one connection in a second, on average; a further one is refused with the time to wait.
        events_per_second: usize = 200, Count(1, 1_000_000);
        /// Events that one connection may send at once.
        event_burst: usize = 1000, Count(1, 1_000_000);
        /// Bytes of the events of one connection in a second, on average.
        bytes_per_second: usize = MIB, Size(KIB, GIB);
        /// Bytes of events that one connection may send at once.
        byte_burst: usize = 8 * MIB, Size(KIB, GIB);
        /// Bytes of the events of one connection that wait for their turn.
        queue_bytes: usize = 4 * MIB, Size(KIB, GIB);
        /// User ids in one `get-presence`.
        presence_users: usize = 200, Count(1, 10_000);
        /// How long a user counts as typing without saying so again: clients renew it every few seconds. After that the
        /// host lets `on-typing` know that it has ended.
        typing_timeout: Duration = secs(10), Time(secs(1), secs(600));
        /// How long a user whose last connection went is still shown as before, so that a quick reconnect shows nothing;
        /// "0s" for not at all.
        presence_grace: Duration = secs(3), Time(millis(0), secs(60));
        /// Rooms that one connection is in.
        rooms_per_connection: usize = 256, Count(1, 65_536);
        /// Bytes of the JSON object that handlers keep with one connection (`rooms.set-data`).
        connection_data: usize = 4 * KIB, Size(2, MIB);
    }
}

settings! {
    /// The limits of the effects of one event.
    pub struct EffectLimits of each tenant in "sandbox" {
        /// How often an event runs again when a key that it had read was changed before its writes were committed. After
        /// that it fails with `conflict`.
        reruns: u32 = 5, Count(0, 100);
        /// Bytes of the keys' values that an event reads and its commit reads again. In a range each key counts as 128 more,
        /// also one that has expired.
        checked: usize = 8 * MIB, Size(64 * KIB, GIB);
        /// Effects: messages, writes, emits and the like.
        effects: usize = 256, Count(1, 10_000);
        /// Bytes of all effects and the reply.
        output: usize = 256 * KIB, Size(KIB, 64 * MIB);
        /// Bytes of log text; what is longer is cut.
        log_bytes: usize = 8 * KIB, Size(0, MIB);
        /// Bytes of one event that the handler emits, attachments included.
        emit: usize = 128 * KIB, Size(KIB, 16 * MIB);
    }
}

/// What the capabilities hold an event to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CallLimits {
    /// What the client that sent it is held to.
    pub client: ClientLimits,
    /// What its handler is held to.
    pub effects: EffectLimits,
}
