//! The shipped presence handler: a connection is online when it opens, and afterwards has the status that its client
//! sets.

use parlance_guest::presence::{self, Status};
use parlance_guest::{Change, Context, PresenceHandler, Rejection};

struct Show;

impl PresenceHandler for Show {
    fn handle(_: &Context, change: Change) -> Result<(), Rejection> {
        let status = match change {
            Change::Connected => Status::Online,
            Change::Disconnected => Status::Offline,
            Change::Set(status) => status,
        };
        Ok(presence::set(status)?)
    }
}

parlance_guest::export!(Show: presence);
