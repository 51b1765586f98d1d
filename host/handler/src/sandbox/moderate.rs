//! The guest's calls that act on other users, and post as bots.

use super::bindings::parlance::chat as wit;
use super::call::CallState;
use super::host::GuestResult;

fn optional(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::len)
}

impl wit::moderate::Host for CallState {
    fn kick(&mut self, room: String, user: String, reason: Option<String>) -> GuestResult<()> {
        let call = self.enter(room.len() + user.len() + optional(&reason))?;
        Ok(call.kick(&room, &user, reason.as_deref()).map_err(Into::into))
    }

    fn ban(&mut self, room: String, user: String, until_ms: u64, reason: Option<String>) -> GuestResult<()> {
        let call = self.enter(room.len() + user.len() + optional(&reason))?;
        Ok(call.ban(&room, &user, until_ms, reason.as_deref()).map_err(Into::into))
    }

    fn unban(&mut self, room: String, user: String) -> GuestResult<()> {
        let call = self.enter(room.len() + user.len())?;
        Ok(call.unban(&room, &user).map_err(Into::into))
    }

    async fn banned_until(&mut self, room: String, user: String) -> GuestResult<Option<u64>> {
        let call = self.enter_waiting(room.len() + user.len())?;
        Ok(call.banned_until(&room, &user).await.map_err(Into::into))
    }

    fn disconnect(&mut self, user: String, reason: Option<String>) -> GuestResult<()> {
        let call = self.enter(user.len() + optional(&reason))?;
        Ok(call.disconnect(&user, reason.as_deref()).map_err(Into::into))
    }

    fn post_as(&mut self, bot: String, room: String, content: String, metadata: Option<String>) -> GuestResult<String> {
        let call = self.enter(bot.len() + room.len() + content.len() + optional(&metadata))?;
        let posted = call.post_as(&bot, &room, content, metadata);
        Ok(posted.map(|id| id.to_string()).map_err(Into::into))
    }
}
