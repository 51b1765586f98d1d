//! A tenant in memory in which one case happens.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use parlance_handler::capability::{CallLimits, Effect, RandomSource as _, Status};
use parlance_handler::sandbox::{GuestLimits, Interface};
use parlance_store::{Draft, End, KvKey, Range, ReadSet, Reader as _, StorageQuota, Write, WriteSet, Writer as _};
use parlance_types::id::{MessageId, RoomId, UserId};
use parlance_types::settings::suggestion;
use serde_json::{Map, Value, json};

use super::compare::{Names, interpolate, interpolated};
use super::environment::{Environment, SHIPPED, capability};
use super::file::{Before, Case, Fault, Instant, MessageSpec, PresenceName, ScenarioFile, Step, StoreFault, UserSpec};
use super::handlers::handlers;
use super::http::answers;
use super::limits::Limits;
use super::parse::named_arguments;
use super::{bytes, effects};
use crate::event::Event;
use crate::faults::{Faults, HttpAnswer, HttpFault, SentRequest};
use crate::handlers::TestHandler;
use crate::host::START_MS;
use crate::outcome::Outcome;
use crate::requests::select;
use crate::server::{EventSetup, TestServer};
use crate::user::{Received, User};

/// The user who causes an event without `by`.
const DEFAULT_USER: &str = "alice";

/// A tenant in memory.
pub(super) struct World {
    server: TestServer,
    handlers: Vec<TestHandler>,
    /// Whether the file counts on shipped handlers, and they are not here.
    lacks_shipped: bool,
    limits: Limits,
    /// The limits of events without a fault, as they were read.
    read_limits: (GuestLimits, Arc<CallLimits>, StorageQuota),
    http: BTreeMap<String, Result<HttpAnswer, HttpFault>>,
    now_ms: u64,
    /// The ids of messages that have a name.
    pub(super) names: Names,
}

/// What came of an event.
pub(super) struct StepOutcome {
    /// The outcome; `None` when time passed.
    pub(super) outcome: Option<Outcome>,
    /// What each connected client received.
    pub(super) received: BTreeMap<String, Vec<Value>>,
    /// The HTTP requests that the handler sent.
    pub(super) requests: Vec<SentRequest>,
}

impl World {
    /// Loads the handlers and puts everything there that is there before the events. Called inside the runtime.
    pub(super) async fn new(environment: &Environment, base: &Path, file: &ScenarioFile, case: &Case) -> Result<Self> {
        let server = TestServer::new()?;
        let limits = file.limits.with(&case.limits);
        let mut world = Self {
            server,
            handlers: handlers(environment, base, file, case)?,
            lacks_shipped: file.shipped && !environment.has_shipped(),
            read_limits: read(&limits)?,
            limits,
            http: BTreeMap::new(),
            now_ms: START_MS,
            names: Names::new(),
        };
        for before in [&file.before, &case.before] {
            if let Some(now) = &before.now {
                world.now_ms = millis(now)?;
            }
            world.http.extend(answers(&before.http)?);
        }
        let opened = opened(&case.events);
        for before in [&file.before, &case.before] {
            world.prepare(before, &opened).await?;
        }
        for before in [&file.before, &case.before] {
            world.server.random.give(before.random.iter().copied());
        }
        Ok(world)
    }

    async fn prepare(&mut self, before: &Before, opened: &BTreeSet<&str>) -> Result<()> {
        let setup = self.setup(&Fault::default())?;
        for (id, spec) in &before.users {
            let user = user(id, spec);
            self.server.set_profile(user.clone());
            if !opened.contains(id.as_str()) {
                self.server.connect(&user, &setup, true).await?;
            }
        }
        for (room, members) in &before.rooms {
            for member in members {
                let joins = vec![Effect::Join(RoomId::new(room)?)];
                self.server.apply_effects(member, &setup, joins).await?;
            }
        }
        for message in &before.messages {
            self.post(message, &setup).await?;
        }
        for (handler, keys) in &before.keys {
            self.check_handler(handler)?;
            for (key, value) in keys {
                self.set_key(handler, &interpolate(key, &self.names), value).await?;
            }
        }
        for user in self.server.users() {
            drop(self.received(&user));
        }
        Ok(())
    }

    async fn post(&mut self, message: &MessageSpec, setup: &EventSetup) -> Result<()> {
        let random = (u128::from(self.server.random.next_u64()) << 64) | u128::from(self.server.random.next_u64());
        let id = MessageId::from_time(self.now_ms, random);
        let draft = Draft {
            id,
            room: RoomId::new(&message.room_id)?,
            sender: UserId::new(&message.by)?,
            username: message.by.as_str().into(),
            content: message.content.clone(),
            metadata: message.metadata.as_ref().map(Value::to_string),
            sent_at: self.now_ms,
            client: None,
            reject_repeated: false,
        };
        let effects = vec![Effect::Write(Arc::new(Write::Append(draft)))];
        self.server.apply_effects(&message.by, setup, effects).await?;
        if let Some(name) = &message.name {
            self.names.insert(name.clone(), id.to_string());
        }
        Ok(())
    }

    async fn set_key(&self, handler: &str, key: &str, value: &Value) -> Result<()> {
        let write = Write::KvSet {
            key: kv_key(handler, key),
            value: bytes::stored(value).map_err(|message| anyhow!(message))?,
            expires_at: None,
        };
        let write_set = WriteSet {
            tenant: self.server.tenant().clone(),
            reads: ReadSet::default(),
            writes: vec![Arc::new(write)],
            quota: StorageQuota::UNLIMITED,
        };
        self.server.store.commit(vec![write_set]).await?;
        Ok(())
    }

    /// Checks that a handler has keys.
    pub(super) fn check_handler(&self, name: &str) -> Result<()> {
        let known: Vec<&str> = self.handlers.iter().map(|handler| &*handler.info.name).collect();
        if known.contains(&name) {
            return Ok(());
        }
        bail!("no handler has the name `{name}`; {}", suggestion(name, &known))
    }

    /// Fails if a shipped handler would take such events in a server, and is not here.
    fn check_shipped(&self, interface: Interface) -> Result<()> {
        let is_taken = self.handlers.iter().any(|handler| handler.takes(interface));
        if self.lacks_shipped && !is_taken && SHIPPED.iter().any(|(_, shipped)| *shipped == interface) {
            bail!(
                "no handler of this file takes events of {}. The shipped handler that takes such events comes with the server: \
                 run the file with `parlance test`, or write `shipped: false` if no handler is to take them",
                interface.export()
            );
        }
        Ok(())
    }

    fn setup(&self, fault: &Fault) -> Result<EventSetup> {
        let (guest_limits, call_limits, quota) = if fault.limits == Limits::default() {
            self.read_limits.clone()
        } else {
            read(&self.limits.with(&fault.limits))?
        };
        let mut http = self.http.clone();
        http.extend(answers(&fault.http)?);
        Ok(EventSetup {
            handlers: self.handlers.clone(),
            now_ms: self.now_ms,
            guest_limits,
            call_limits,
            quota,
            faults: Arc::new(Faults {
                denied: fault.deny.iter().map(|name| capability(*name)).collect(),
                http,
                meanwhile: fault
                    .meanwhile
                    .iter()
                    .map(|keys| meanwhile(keys, &self.names))
                    .collect::<Result<_>>()?,
                is_offline: true,
            }),
        })
    }

    /// Lets an event happen, with its faults or without them.
    pub(super) async fn step(&mut self, step: &Step, has_faults: bool) -> Result<StepOutcome> {
        let none = Fault::default();
        let fault = step.fault.as_ref().filter(|_| has_faults).unwrap_or(&none);
        let setup = self.setup(fault)?;
        if let Some(wait) = &step.wait {
            let passed = humantime::parse_duration(wait).context("the time that passes")?;
            let start = self.now_ms;
            self.now_ms = start.saturating_add(millis_of(passed));
            let at = |now_ms| {
                Ok(EventSetup {
                    now_ms,
                    ..setup.clone()
                })
            };
            self.set_store_fault(fault.store);
            let fired = self.server.fire_timers(self.now_ms, at, start).await;
            self.set_store_fault(None);
            // A scenario compares the outcome of the last timer, and what clients received because of all of them.
            return Ok(self.outcome(fired?.into_iter().next_back()));
        }
        if let Some(response) = &step.response {
            let (selector, response) = response.read(&self.names)?;
            let pending = match select(self.server.pending_requests().await?, &selector) {
                Ok(pending) => pending,
                // Without the faults an earlier event may have answered it.
                Err(_) if !has_faults => return Ok(self.outcome(None)),
                Err(error) => return Err(error),
            };
            self.set_store_fault(fault.store);
            let handled = self.server.respond(&setup, pending, &response).await;
            self.set_store_fault(None);
            return Ok(self.outcome(handled?.into_iter().next_back()));
        }
        let event = self.event(step)?;
        self.check_shipped(event.input.interface())?;
        self.set_store_fault(fault.store);
        let outcome = self.server.dispatch(&setup, &event).await;
        self.set_store_fault(None);
        let outcome = outcome?;
        if let Some(name) = &step.name {
            let posted = outcome.reply.pointer("/message/id").and_then(Value::as_str);
            let id = posted
                .map(str::to_owned)
                .or_else(|| outcome.posts().next().map(|draft| draft.id.to_string()));
            let id = id.with_context(|| format!("the event posts no message that could have the name `{name}`"))?;
            self.names.insert(name.clone(), id);
        }
        Ok(self.outcome(Some(outcome)))
    }

    /// Makes the store fail in this way until the next call.
    fn set_store_fault(&self, fault: Option<StoreFault>) {
        let store = &self.server.store;
        store.set_down(fault == Some(StoreFault::Away));
        store.set_commits_fail(fault == Some(StoreFault::AwayAtCommit));
    }

    /// What handlers find wrong that check themselves, with their names.
    pub(super) async fn broken_invariants(&self) -> Result<Vec<(Arc<str>, String)>> {
        self.server.broken_invariants(&self.setup(&Fault::default())?).await
    }

    fn outcome(&self, outcome: Option<Outcome>) -> StepOutcome {
        let users = self.server.users().into_iter();
        StepOutcome {
            outcome,
            received: users.map(|user| (user.clone(), self.received(&user))).collect(),
            requests: self.server.http.take(),
        }
    }

    /// What the user's client received since the last look, as `{EVENT: arguments}`.
    fn received(&self, user: &str) -> Vec<Value> {
        let client = self.server.connected(user);
        let events = client.map(|client| client.inbox.events()).unwrap_or_default();
        events.iter().map(received_shown).collect()
    }

    fn event(&self, step: &Step) -> Result<Event> {
        let by = step.by.as_deref().unwrap_or(DEFAULT_USER);
        let event = if let Some(message) = &step.send_message {
            let mut event = Event::message(&message.room_id, &message.content);
            if let Some(metadata) = &message.metadata {
                event = event.metadata(&interpolated(metadata, &self.names));
            }
            match &message.client_id {
                Some(id) => event.client_id(id),
                None => event,
            }
        } else if let Some(typing) = &step.typing {
            Event::typing(&typing.room_id, typing.is_typing)
        } else if let Some(id) = &step.read_message {
            Event::read(interpolate(id, &self.names))
        } else if let Some(edit) = &step.edit_message {
            let event = Event::edit(interpolate(&edit.message_id, &self.names), &edit.content);
            match &edit.metadata {
                Some(metadata) => event.metadata(&interpolated(metadata, &self.names)),
                None => event,
            }
        } else if let Some(delete) = &step.delete_message {
            Event::delete(interpolate(&delete.message_id, &self.names))
        } else if let Some(mark) = &step.mark_message {
            let id = interpolate(&mark.message_id, &self.names);
            Event::mark(id, &mark.kind, &mark.value, mark.on.unwrap_or(true))
        } else if let Some(join) = &step.join_room {
            let event = Event::join(&join.room_id);
            let event = join.after.iter().fold(event, |event, seq| event.after(*seq));
            join.last.iter().fold(event, |event, count| event.last(*count))
        } else if let Some(room) = &step.leave_room {
            Event::leave(room)
        } else if let Some(presence) = &step.set_presence {
            Event::set_presence(match presence {
                PresenceName::Online => Status::Online,
                PresenceName::Away => Status::Away,
            })
        } else if let Some(user) = &step.connect {
            return Ok(Event::connect().by(user));
        } else if let Some(user) = &step.disconnect {
            return Ok(Event::disconnect().by(user));
        } else if let Some(event) = &step.event {
            self.custom(event, Event::custom)?
        } else if let Some(event) = &step.server_event {
            let (name, arguments) = self.arguments(event);
            Event::server(name, &arguments)
        } else if let Some(answer) = &step.answer {
            self.custom(answer, Event::answer)?
        } else if let Some(tag) = &step.no_answer {
            Event::no_answer(tag)
        } else {
            bail!("the event is of no kind")
        };
        Ok(event.by(by))
    }

    fn arguments(&self, event: &Map<String, Value>) -> (String, Value) {
        let (name, arguments) = named_arguments(event);
        (name, interpolated(&Value::Array(arguments), &self.names))
    }

    fn custom(&self, event: &Map<String, Value>, make: fn(String, &Value) -> Event) -> Result<Event> {
        let (name, arguments) = self.arguments(event);
        let mut attachments = Vec::new();
        let arguments = bytes::take_out(&arguments, &mut attachments).map_err(|message| anyhow!(message))?;
        let event = make(name, &arguments);
        Ok(attachments.into_iter().fold(event, Event::attachment))
    }

    /// All messages of a room, oldest first, as clients get them.
    pub(super) async fn messages(&self, room: &str) -> Result<Vec<Value>> {
        let all = Range {
            after: 0,
            before: None,
            limit: u32::MAX,
            from: End::Oldest,
        };
        let (store, tenant) = (&self.server.store, self.server.tenant());
        let page = store.history(tenant, &RoomId::new(room)?, all).await?;
        let shown = page.messages.iter().map(|message| {
            let mut shown = json!({
                "id": message.id.to_string(),
                "seq": message.seq,
                "userId": message.sender.as_str(),
                "username": &*message.username,
                "content": message.content,
                "sentAt": message.sent_at,
            });
            if let (Some(fields), Some(metadata)) = (shown.as_object_mut(), &message.metadata) {
                fields.insert("metadata".to_owned(), effects::json_or_text(metadata));
            }
            shown
        });
        Ok(shown.collect())
    }

    /// The value at a handler's key.
    pub(super) async fn key(&self, handler: &str, key: &str) -> Result<Option<Value>> {
        self.check_handler(handler)?;
        let (store, tenant) = (&self.server.store, self.server.tenant());
        let value = store.kv_get(tenant, &kv_key(handler, key), self.now_ms).await?;
        Ok(value.map(|value| bytes::shown(&value)))
    }

    /// The ids of the users in a room, sorted.
    pub(super) async fn members(&self, room: &str) -> Result<Vec<String>> {
        let members = self.server.members(room).await?;
        let mut members: Vec<_> = members.iter().map(ToString::to_string).collect();
        members.sort();
        Ok(members)
    }

    /// A user's presence, as that user sees it.
    pub(super) async fn presence(&self, user: &str) -> Result<&'static str> {
        Ok(effects::status_name(self.server.presence(user, user).await?.status))
    }
}

/// The users whose first event is that they connect.
fn opened(events: &[Step]) -> BTreeSet<&str> {
    let (mut seen, mut opened) = (BTreeSet::new(), BTreeSet::new());
    for step in events
        .iter()
        .filter(|step| step.wait.is_none() && step.response.is_none())
    {
        let by = step
            .disconnect
            .as_deref()
            .or(step.by.as_deref())
            .unwrap_or(DEFAULT_USER);
        let user = step.connect.as_deref().unwrap_or(by);
        if seen.insert(user) && step.connect.is_some() {
            opened.insert(user);
        }
    }
    opened
}

fn received_shown(event: &Received) -> Value {
    let arguments = event.arguments.iter();
    let arguments: Value = arguments
        .map(|argument| bytes::put_back(argument, &event.attachments))
        .collect();
    let mut shown = Map::new();
    shown.insert(event.event.clone(), arguments);
    Value::Object(shown)
}

fn read(limits: &Limits) -> Result<(GuestLimits, Arc<CallLimits>, StorageQuota)> {
    let (guest, call, quota) = limits.read().map_err(|message| anyhow!(message))?;
    Ok((guest, Arc::new(call), quota))
}

fn kv_key(handler: &str, key: &str) -> KvKey {
    KvKey {
        handler: handler.into(),
        key: key.to_owned(),
    }
}

fn user(id: &str, spec: &UserSpec) -> User {
    let mut user = User::new(id);
    if let Some(name) = &spec.name {
        user = user.name(name);
    }
    for (claim, value) in &spec.claims {
        user = user.claim(claim, value.clone());
    }
    for (field, value) in &spec.auth {
        user = user.auth(field, value.clone());
    }
    for (name, value) in &spec.query {
        user = user.query(name, value);
    }
    for (name, value) in &spec.headers {
        user = user.header(name, value);
    }
    user
}

fn millis(now: &Instant) -> Result<u64> {
    match now {
        Instant::Millis(millis) => Ok(*millis),
        Instant::Text(text) => {
            let time = humantime::parse_rfc3339_weak(text)
                .with_context(|| format!("{text:?} is not a time such as 2026-01-01T12:00:00Z"))?;
            Ok(millis_of(time.duration_since(std::time::UNIX_EPOCH)?))
        }
    }
}

fn millis_of(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What others write during one run, by key; `null` removes a key.
fn meanwhile(keys: &BTreeMap<String, Value>, names: &Names) -> Result<BTreeMap<String, Option<Vec<u8>>>> {
    let write = |(key, value): (&String, &Value)| {
        let value = match value {
            Value::Null => None,
            value => Some(bytes::stored(&interpolated(value, names)).map_err(|message| anyhow!(message))?),
        };
        Ok((interpolate(key, names), value))
    };
    keys.iter().map(write).collect()
}
