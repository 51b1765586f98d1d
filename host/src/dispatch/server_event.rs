//! Handles events that other servers of the fleet send (`serverSideEmit`).

use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::guest::silent;
use super::runs::Runs;
use super::session::Session;
use super::{Decision, lifecycle, submit};
use crate::tenant::RouteKey;
use parlance_handler::sandbox::{HandlerInput, Interface};
use parlance_hub::{ConnectionPhase, Undone};
use parlance_scheduler::Quantum;
use parlance_types::error::{Code, EventError};
use parlance_types::text::json::{DEPTH_MAX, exceeds_depth};
use parlance_types::text::without_lone_surrogates;

/// The answer of a node without one, in JSON.
const NO_ANSWER: &str = "null";

/// Runs the handler, waits until its effects are durable, and then answers the server that sent the event.
pub(super) async fn handle(
    session: &Arc<Session>,
    quantum: &Quantum,
    text: &str,
    reply: Option<oneshot::Sender<String>>,
) {
    let answer = match run(session, quantum, &without_lone_surrogates(text)).await {
        Ok(data) => data.unwrap_or_else(|| NO_ANSWER.to_owned()),
        Err(error) => {
            tracing::debug!(
                tenant = %session.tenant.id(), code = error.code.as_str(),
                "an event of another server failed: {}", error.message
            );
            let (code, retryable) = (error.code.as_str(), error.is_retryable());
            let error = serde_json::json!({ "code": code, "message": error.message, "retryable": retryable });
            serde_json::json!({ "ok": false, "error": error }).to_string()
        }
    };
    // The server that asked may have stopped waiting.
    let _ = reply.map(|reply| reply.send(answer));
}

async fn run(session: &Arc<Session>, quantum: &Quantum, text: &str) -> Result<Option<String>, EventError> {
    let (tenant, identity) = (&session.tenant, session.connection.identity.load_full());
    let key = RouteKey::User(identity.user().as_str());
    // A handler that cannot be loaded is an error, unlike one that does not exist.
    let handled = tenant.route(Interface::ServerEvent, key).is_some() || tenant.is_unavailable(Interface::ServerEvent);
    if !handled || tenant.is_suspended() {
        return Ok(None);
    }
    let (name, arguments) = read(text, session.tenant.settings().limits.call.client.event_name)?;
    let context = lifecycle::event_context(session, "server-event", ConnectionPhase::Connected, quantum);
    let input = HandlerInput::ServerEvent {
        name: &name,
        arguments: &arguments,
    };
    let mut runs = Runs::of(session, &context);
    loop {
        let handled = runs.run(input, None).await?;
        let data = handled.reply.clone().into_data();
        match submit(session, &context, Decision::by_handler(handled, silent), true).await {
            Ok(()) => return Ok(data),
            Err(Undone::ReadsChanged) => {}
            Err(Undone::Failed(error)) => return Err(error),
        }
    }
}

/// Parses an event into its name and the JSON array of its arguments.
fn read(text: &str, name_max: usize) -> Result<(String, String), EventError> {
    let invalid = |why: String| EventError::new(Code::Invalid, why);
    if exceeds_depth(text, DEPTH_MAX) {
        return Err(invalid(format!("the arguments must not nest deeper than {DEPTH_MAX}")));
    }
    let parts: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
    let (name, arguments) = parts
        .split_first()
        .ok_or_else(|| invalid("an event has a name".to_owned()))?;
    let name: String = serde_json::from_str(name.get()).map_err(|error| invalid(error.to_string()))?;
    if name.is_empty() || name.len() > name_max {
        return Err(invalid(format!("an event name has 1 to {name_max} bytes")));
    }
    let arguments: Vec<&str> = arguments.iter().map(|argument| argument.get()).collect();
    Ok((name, format!("[{}]", arguments.join(","))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_stands_before_the_arguments() {
        let read = |text| read(text, 8).map_err(|error| error.code);
        assert_eq!(read(r#"["n"]"#), Ok(("n".into(), "[]".into())));
        assert_eq!(
            read(r#"[ "a\"b", 1e400 , {"x":[]} ]"#),
            Ok(("a\"b".into(), r#"[1e400,{"x":[]}]"#.into()))
        );
        for bad in ["", "{}", "[]", "[1]", r#"[""]"#, r#"["too-long-a-name"]"#, r#"["n""#] {
            assert_eq!(read(bad), Err(Code::Invalid), "{bad}");
        }
        let deep = format!(r#"["n",{}{}]"#, "[".repeat(2000), "]".repeat(2000));
        assert_eq!(read(&deep), Err(Code::Invalid));
    }
}
