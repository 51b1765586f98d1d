//! The guest's calls of the host: translates WIT types to the methods of [`Call`] and back.
//!
//! Every function begins with [`CallState::enter`], which counts the call and its bytes; [`CallState::count_returned`]
//! counts the bytes of the result. A refusal is a WIT `fault`; an `Err` stops the guest.

use super::bindings::parlance::chat as wit;
use super::call::CallState;
use super::meter::StopReason;
use super::revise;
use crate::capability::{
    AudienceRequest, Call, DraftRequest, Fault, Level, Parts, PresenceState, RequestOptions, RequestedChange, Status,
};
use parlance_store::Message;

/// The result of a host function that cannot refuse. `Err` stops the guest.
type HostResult<T> = wasmtime::Result<T>;
/// The result of a host function that may refuse: the guest sees the inner result.
pub(super) type GuestResult<T> = HostResult<Result<T, wit::types::Fault>>;

impl CallState {
    /// Counts a call that passes `bytes` bytes to the host.
    pub(super) fn enter(&mut self, bytes: usize) -> HostResult<&mut Call> {
        self.meter.host_call()?;
        self.meter.count_transfer(bytes)?;
        let call = self.call.as_mut().ok_or(StopReason::NoEvent)?;
        if let Some(wasi) = &self.wasi {
            // Lines that the guest has printed come before those that it logs now.
            wasi.log(call);
        }
        Ok(call)
    }

    /// [`enter`](Self::enter) for a call that may wait, for the store or the hub.
    pub(super) fn enter_waiting(&mut self, bytes: usize) -> HostResult<&mut Call> {
        self.enter(bytes)?;
        self.meter.waits_for_host = true;
        self.call.as_mut().ok_or_else(|| StopReason::NoEvent.into())
    }

    /// Counts bytes that are returned to the guest.
    pub(super) fn count_returned(&mut self, bytes: usize) -> HostResult<()> {
        Ok(self.meter.count_transfer(bytes)?)
    }
}

/// Estimated bytes of a message besides its content and metadata.
const MESSAGE_BYTES: usize = 256;

fn message_bytes(message: &Message) -> usize {
    MESSAGE_BYTES + message.content.len() + message.metadata.as_ref().map_or(0, String::len)
}

fn total_bytes(texts: &[String]) -> usize {
    texts.iter().map(String::len).sum()
}

impl wit::types::Host for CallState {}

impl wit::messages::Host for CallState {
    fn post(&mut self, draft: wit::messages::Draft) -> GuestResult<String> {
        let wit::messages::Draft {
            room,
            content,
            metadata,
            client_id,
        } = draft;
        let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let bytes = room.len() + content.len() + optional(&metadata) + optional(&client_id);
        let posted = self.enter(bytes)?.post(DraftRequest {
            room,
            content,
            metadata,
            client_id,
        });
        Ok(posted.map(|id| id.to_string()).map_err(Into::into))
    }

    async fn get(&mut self, id: String) -> GuestResult<wit::types::Message> {
        let found = self.enter_waiting(id.len())?.message(&id).await;
        self.count_returned(found.as_ref().map_or(0, message_bytes))?;
        Ok(found.map(Into::into).map_err(Into::into))
    }

    async fn history(
        &mut self,
        room: String,
        before: Option<u64>,
        limit: u32,
    ) -> GuestResult<Vec<wit::types::Message>> {
        let page = self.enter_waiting(room.len())?.history(&room, before, limit).await;
        self.count_returned(page.iter().flatten().map(message_bytes).sum())?;
        Ok(page
            .map(|messages| messages.into_iter().map(Into::into).collect())
            .map_err(Into::into))
    }

    async fn mark_read(&mut self, id: String) -> GuestResult<()> {
        Ok(self.enter_waiting(id.len())?.mark_read(&id).await.map_err(Into::into))
    }
}

impl wit::revise::Host for CallState {
    async fn edit(&mut self, id: String, content: String, metadata: Option<String>) -> GuestResult<()> {
        let bytes = id.len() + content.len() + metadata.as_ref().map_or(0, String::len);
        let change = RequestedChange::Edit { content, metadata };
        Ok(self.enter_waiting(bytes)?.revise(&id, change).await.map_err(Into::into))
    }

    async fn append(&mut self, id: String, fragment: String, done: bool) -> GuestResult<()> {
        let call = self.enter_waiting(id.len() + fragment.len())?;
        Ok(call.append_text(&id, fragment, done).await.map_err(Into::into))
    }

    async fn delete(&mut self, id: String) -> GuestResult<()> {
        let call = self.enter_waiting(id.len())?;
        Ok(call.revise(&id, RequestedChange::Delete).await.map_err(Into::into))
    }

    async fn mark(&mut self, id: String, kind: String, value: String, on: bool) -> GuestResult<()> {
        let call = self.enter_waiting(id.len() + kind.len() + value.len())?;
        let change = RequestedChange::Mark { kind, value, on };
        Ok(call.revise(&id, change).await.map_err(Into::into))
    }

    async fn get(&mut self, id: String) -> GuestResult<wit::revise::Revision> {
        let found = self.enter_waiting(id.len())?.revision(&id).await;
        self.count_returned(found.as_ref().map_or(0, revise::bytes))?;
        Ok(found.map(Into::into).map_err(Into::into))
    }
}

impl wit::kv::Host for CallState {
    async fn get(&mut self, key: String) -> GuestResult<Option<Vec<u8>>> {
        let value = self.enter_waiting(key.len())?.kv_get(key).await;
        self.count_returned(value.iter().flatten().map(Vec::len).sum())?;
        Ok(value.map_err(Into::into))
    }

    async fn get_many(&mut self, keys: Vec<String>) -> GuestResult<Vec<Option<Vec<u8>>>> {
        // As many calls as single reads would be.
        for _ in keys.iter().skip(1) {
            self.meter.host_call()?;
        }
        let values = self.enter_waiting(total_bytes(&keys))?.kv_get_many(keys).await;
        self.count_returned(values.iter().flatten().flatten().map(Vec::len).sum())?;
        Ok(values.map_err(Into::into))
    }

    async fn scan(&mut self, prefix: String, after: Option<String>, limit: u32) -> GuestResult<Vec<wit::kv::Entry>> {
        let bytes = prefix.len() + after.as_ref().map_or(0, String::len);
        let page = self
            .enter_waiting(bytes)?
            .kv_scan(&prefix, after.as_deref(), limit)
            .await;
        let entries = page.iter().flatten();
        self.count_returned(entries.map(|(key, value)| key.len() + value.len()).sum())?;
        let entry = |(key, value)| wit::kv::Entry { key, value };
        Ok(page
            .map(|page| page.into_iter().map(entry).collect())
            .map_err(Into::into))
    }

    async fn swap(
        &mut self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> GuestResult<bool> {
        let bytes = key.len() + expected.as_ref().map_or(0, Vec::len) + value.len();
        let call = self.enter_waiting(bytes)?;
        let swapped = call.kv_swap(key, expected.as_deref(), value, ttl_ms).await;
        Ok(swapped.map_err(Into::into))
    }

    async fn set_if_absent(&mut self, key: String, value: Vec<u8>, ttl_ms: Option<u64>) -> GuestResult<bool> {
        self.swap(key, None, value, ttl_ms).await
    }

    fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: Option<u64>) -> GuestResult<()> {
        let bytes = key.len() + value.len();
        Ok(self.enter(bytes)?.kv_set(key, value, ttl_ms).map_err(Into::into))
    }

    fn delete(&mut self, key: String) -> GuestResult<()> {
        Ok(self.enter(key.len())?.kv_delete(key).map_err(Into::into))
    }

    async fn increment(&mut self, key: String, by: i64) -> GuestResult<i64> {
        let counted = self.enter_waiting(key.len())?.kv_increment(key, by).await;
        Ok(counted.map_err(Into::into))
    }
}

impl wit::timers::Host for CallState {
    fn set(&mut self, name: String, due_ms: u64, every_ms: Option<u64>, payload: String) -> GuestResult<()> {
        let call = self.enter(name.len() + payload.len())?;
        Ok(call.set_timer(name, due_ms, every_ms, payload).map_err(Into::into))
    }

    fn cancel(&mut self, name: String) -> GuestResult<()> {
        Ok(self.enter(name.len())?.cancel_timer(name).map_err(Into::into))
    }
}

impl wit::requests::Host for CallState {
    fn send(&mut self, request: wit::requests::Request, options: wit::requests::Options) -> GuestResult<String> {
        let wit::requests::Request {
            method,
            url,
            headers,
            body,
        } = request;
        let header_bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let bytes = method.len() + url.len() + header_bytes + body.len() + options.tag.len();
        let options = RequestOptions {
            tag: options.tag,
            parts: match options.parts {
                wit::requests::Parts::Whole => Parts::Whole,
                wit::requests::Parts::Lines => Parts::Lines,
                wit::requests::Parts::ServerSentEvents => Parts::ServerSentEvents,
            },
            timeout_ms: options.timeout_ms,
            attempts: options.attempts,
        };
        let call = self.enter(bytes)?;
        Ok(call
            .send_request(&method, &url, headers, body, options)
            .map_err(Into::into))
    }

    fn cancel(&mut self, id: String) -> GuestResult<()> {
        Ok(self.enter(id.len())?.cancel_request(id).map_err(Into::into))
    }
}

impl From<wit::broadcast::Audience> for AudienceRequest {
    fn from(to: wit::broadcast::Audience) -> Self {
        match to {
            wit::broadcast::Audience::Room(room) => Self::Room(room),
            wit::broadcast::Audience::OthersInRoom(room) => Self::OthersInRoom(room),
            wit::broadcast::Audience::User(user) => Self::User(user),
            wit::broadcast::Audience::Sender => Self::Sender,
        }
    }
}

impl wit::broadcast::Host for CallState {
    fn emit(
        &mut self,
        to: wit::broadcast::Audience,
        event: String,
        arguments: String,
        attachments: Vec<Vec<u8>>,
    ) -> GuestResult<()> {
        let bytes = event.len() + arguments.len() + attachments.iter().map(Vec::len).sum::<usize>();
        Ok(self
            .enter(bytes)?
            .emit(to.into(), &event, &arguments, attachments)
            .map_err(Into::into))
    }

    fn ask(
        &mut self,
        to: wit::broadcast::Audience,
        event: String,
        arguments: String,
        attachments: Vec<Vec<u8>>,
        tag: String,
        time_ms: u32,
    ) -> GuestResult<()> {
        let bytes = event.len() + arguments.len() + attachments.iter().map(Vec::len).sum::<usize>() + tag.len();
        Ok(self
            .enter(bytes)?
            .ask(to.into(), &event, &arguments, attachments, tag, time_ms)
            .map_err(Into::into))
    }
}

impl wit::rooms::Host for CallState {
    async fn join(&mut self, room: String) -> GuestResult<()> {
        Ok(self.enter_waiting(room.len())?.join(&room).await.map_err(Into::into))
    }

    fn leave(&mut self, room: String) -> GuestResult<()> {
        Ok(self.enter(room.len())?.leave(&room).map_err(Into::into))
    }

    fn set_data(&mut self, data: String) -> GuestResult<()> {
        Ok(self.enter(data.len())?.set_data(&data).map_err(Into::into))
    }

    fn joined(&mut self, room: String) -> HostResult<bool> {
        Ok(self.enter(room.len())?.query_joined(&room))
    }

    async fn members(&mut self, room: String, limit: u32) -> GuestResult<Vec<String>> {
        let members = self.enter_waiting(room.len())?.members(&room, limit).await;
        let members = members.map(|users| users.iter().map(ToString::to_string).collect::<Vec<_>>());
        self.count_returned(members.as_deref().map_or(0, total_bytes))?;
        Ok(members.map_err(Into::into))
    }

    async fn member_count(&mut self, room: String) -> GuestResult<u32> {
        let count = self.enter_waiting(room.len())?.member_count(&room).await;
        Ok(count.map_err(Into::into))
    }
}

impl wit::presence::Host for CallState {
    async fn get(&mut self, users: Vec<String>) -> GuestResult<Vec<wit::presence::State>> {
        // The result has the same user ids.
        let bytes = total_bytes(&users);
        let states = self.enter_waiting(bytes)?.presence(&users).await;
        self.count_returned(bytes)?;
        Ok(states
            .map(|states| states.into_iter().map(Into::into).collect())
            .map_err(Into::into))
    }

    fn set(&mut self, status: wit::presence::Status) -> GuestResult<()> {
        Ok(self.enter(0)?.set_presence(status.into()).map_err(Into::into))
    }
}

impl wit::identity::Host for CallState {
    fn username(&mut self) -> HostResult<String> {
        let name = self.enter(0)?.username().to_owned();
        self.count_returned(name.len())?;
        Ok(name)
    }

    fn claims(&mut self) -> HostResult<String> {
        let claims = self.enter(0)?.claims().to_owned();
        self.count_returned(claims.len())?;
        Ok(claims)
    }

    fn handshake(&mut self) -> HostResult<wit::identity::HandshakeData> {
        let handshake = self.enter(0)?.handshake();
        let bytes = handshake.bytes();
        let handshake = wit::identity::HandshakeData {
            auth: handshake.auth.clone().into(),
            query: handshake.query.clone(),
            address: handshake.address.map(|address| address.to_string()),
            transport: handshake.transport.to_owned(),
            headers: handshake.headers.clone(),
        };
        self.count_returned(bytes)?;
        Ok(handshake)
    }
}

impl wit::settings::Host for CallState {
    fn get(&mut self, key: String) -> HostResult<Option<String>> {
        let value = self.enter(key.len())?.setting(&key).map(str::to_owned);
        self.count_returned(value.as_ref().map_or(0, String::len))?;
        Ok(value)
    }
}

impl wit::ambient::Host for CallState {
    fn now_ms(&mut self) -> HostResult<u64> {
        Ok(self.enter(0)?.now_ms())
    }

    fn random_u64(&mut self) -> HostResult<u64> {
        Ok(self.enter(0)?.random_u64())
    }
}

impl wit::refusal::Host for CallState {
    fn retry_after(&mut self, ms: u64) -> HostResult<()> {
        self.enter(0)?.set_retry_after(ms);
        Ok(())
    }
}

impl wit::log::Host for CallState {
    fn write(&mut self, level: wit::log::Level, message: String) -> HostResult<()> {
        let level = match level {
            wit::log::Level::Trace => Level::Trace,
            wit::log::Level::Debug => Level::Debug,
            wit::log::Level::Info => Level::Info,
            wit::log::Level::Warn => Level::Warn,
            wit::log::Level::Error => Level::Error,
        };
        self.enter(message.len())?.log(level, &message);
        Ok(())
    }
}

impl From<Fault> for wit::types::Fault {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Denied => Self::Denied,
            Fault::NotFound => Self::NotFound,
            Fault::Invalid(why) => Self::Invalid(why),
            Fault::TooLarge => Self::TooLarge,
            Fault::QuotaExceeded => Self::QuotaExceeded,
            Fault::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl From<Message> for wit::types::Message {
    fn from(message: Message) -> Self {
        Self {
            id: message.id.to_string(),
            room: message.room.to_string(),
            seq: message.seq,
            sender: message.sender.to_string(),
            content: message.content,
            metadata: message.metadata,
            sent_at: message.sent_at,
        }
    }
}

impl From<wit::presence::Status> for Status {
    fn from(status: wit::presence::Status) -> Self {
        match status {
            wit::presence::Status::Online => Self::Online,
            wit::presence::Status::Away => Self::Away,
            wit::presence::Status::Offline => Self::Offline,
        }
    }
}

impl From<Status> for wit::presence::Status {
    fn from(status: Status) -> Self {
        match status {
            Status::Online => Self::Online,
            Status::Away => Self::Away,
            Status::Offline => Self::Offline,
        }
    }
}

impl From<PresenceState> for wit::presence::State {
    fn from(state: PresenceState) -> Self {
        Self {
            user: state.user.to_string(),
            status: state.status.into(),
            connections: state.connections,
            since: state.since,
        }
    }
}
