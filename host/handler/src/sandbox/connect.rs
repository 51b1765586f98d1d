//! What `on-connect` returns.

use super::call::CallState;
use crate::capability::Fault;

/// Puts a connection that opens into the rooms that its handler has returned.
pub(super) async fn join_rooms(state: &mut CallState, rooms: &[String]) -> wasmtime::Result<()> {
    let Some(call) = &mut state.call else {
        return Ok(());
    };
    for room in rooms {
        match call.join(room).await {
            // A ban keeps the user out of the room, and is no reason to refuse the connection.
            Ok(()) | Err(Fault::Denied) => {}
            Err(fault) => wasmtime::bail!("on-connect returned the room {room:?}, which cannot be joined: {fault}"),
        }
    }
    Ok(())
}
