//! What `on-connect` returns.

use super::bindings::parlance::chat::types::Rejection;
use super::call::CallState;
use crate::capability::Fault;

/// Puts a connection that opens into the rooms that its handler has returned, before whatever else the handler does.
///
/// # Errors
/// A room that cannot be joined refuses the connection, for the user would miss what it is for.
pub(super) async fn join_rooms(state: &mut CallState, rooms: &[String]) -> Result<(), Rejection> {
    let Some(call) = &mut state.call else {
        return Ok(());
    };
    let asked = call.effects.len();
    for room in rooms {
        let refused = match call.join(room).await {
            // A ban keeps the user out of the room, and is no reason to refuse the connection.
            Ok(()) | Err(Fault::Denied) => continue,
            Err(Fault::Unavailable(why)) => Rejection::Unavailable(why),
            Err(fault) => Rejection::Invalid(format!("on-connect returned a room that cannot be joined: {fault}")),
        };
        return Err(refused);
    }
    call.effects.put_first(asked);
    Ok(())
}
