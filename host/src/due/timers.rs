//! Runs the timers of a handler one after another, in the order in which they are due. A timer that cannot be handled now,
//! say because the tenant's budgets are used up, holds up the later ones of its handler and nobody else's.

use super::{DueKeys, LOOK_EVERY};
use crate::dispatch::{Fired, Session, WITHOUT_HANDLER_RETRY, now_ms};
use parlance_store::DueSpace;

/// Timers of one handler that are read at a time.
const AT_A_TIME: u32 = 64;

/// Handles the timers of one handler, one after another, until none is due, one is to be tried later, or the tenant is
/// another node's.
pub(super) async fn fire_all(due_keys: &DueKeys, space: &DueSpace) {
    let wait = loop {
        // The store's outage is reported by who looks.
        let Ok(due) = due_keys.schedule.due_keys(space, now_ms(), AT_A_TIME).await else {
            break LOOK_EVERY;
        };
        if due.is_empty() {
            return;
        }
        // A tenant that this node does not serve was deleted, or is not known here yet.
        let tenant = due_keys.control.served_by_name(&space.tenant).await;
        if let Some(tenant) = &tenant
            && !due_keys.is_own(tenant).await
        {
            return;
        }
        let Some(session) = tenant.and_then(|tenant| Session::without_client(tenant, due_keys.services.clone())) else {
            break WITHOUT_HANDLER_RETRY;
        };
        let mut later = None;
        for due in due {
            match session.fire(due).await {
                Some(Fired::Ended) => {}
                Some(Fired::Later(after)) => {
                    later = Some(after);
                    break;
                }
                None => return,
            }
        }
        if let Some(after) = later {
            break after;
        }
    };
    // Without the session, which would keep a tenant that is being deleted.
    tokio::time::sleep(wait).await;
}
