//! The parts of a server around the handlers of one tenant, in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use parking_lot::Mutex;
use parlance_handler::capability::{Call, CallLimits, Effect, Effects, Logs, PresenceState, RandomSource, WasiTap};
use parlance_handler::recording::{Input, PresenceChange};
use parlance_handler::sandbox::{GuestLimits, HandlerReply, Interface};
use parlance_hub::commit::{self, CommitJob, Committer};
use parlance_hub::{
    self, Connection, ConnectionPhase, Delivery, Fleet, HubHandle, Repeated, Reply, Responder, Undone, join_reply,
};
use parlance_scheduler::Quantum;
use parlance_store::{ClientRef, KvKey, PastRange, ReadSet, Reader as _, StorageQuota, read_past};
use parlance_types::auth::{Algorithm, Authenticator, Identity, Key, Policy, TokenRules};
use parlance_types::error::{Code, EventError};
use parlance_types::id::{ConnectionId, DEFAULT_TENANT, MessageId, RoomId, TenantId, UserId};
use parlance_types::metrics::Registry;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::context::TestHostContext;
use crate::event::{CONNECTED, DISCONNECTED, Event, reply};
use crate::faults::{Faults, HttpAnswers, HttpLog};
use crate::handlers::TestHandler;
use crate::outcome::Outcome;
use crate::random::Sequence;
use crate::store::TestStore;
use crate::user::{ClientInbox, User, json as elements};

/// The secret that signs the tokens of the test's users. It is only used within the test's process.
const SECRET: &[u8] = b"a secret that is none, for tests in memory";
/// The user as whom handlers check themselves.
const CHECKER: &str = "invariant";
/// The id of every acknowledgement. There is only one at a time.
const ACKNOWLEDGEMENT: i64 = 0;

/// What a test may change between two events.
#[derive(Clone)]
pub(crate) struct EventSetup {
    /// The handlers. The first one that takes an event handles it.
    pub(crate) handlers: Vec<TestHandler>,
    pub(crate) now_ms: u64,
    pub(crate) guest_limits: GuestLimits,
    pub(crate) call_limits: Arc<CallLimits>,
    pub(crate) quota: StorageQuota,
    pub(crate) faults: Arc<Faults>,
}

impl EventSetup {
    /// The interfaces that some handler takes.
    pub(crate) fn interfaces(&self) -> Vec<Interface> {
        let takes = |interface: &Interface| self.handlers.iter().any(|handler| handler.takes(*interface));
        Interface::ALL.into_iter().filter(takes).collect()
    }
}

/// What an event does, and what it has read of keys.
#[derive(Default)]
pub(crate) struct Decided {
    pub(crate) effects: Vec<Effect>,
    pub(crate) reads: ReadSet,
}

impl From<Vec<Effect>> for Decided {
    fn from(effects: Vec<Effect>) -> Self {
        Self {
            effects,
            reads: ReadSet::default(),
        }
    }
}

pub(crate) struct TestServer {
    pub(crate) store: Arc<TestStore>,
    pub(crate) random: Arc<Sequence>,
    pub(crate) http: Arc<HttpLog>,
    hub: HubHandle,
    committer: Committer,
    authenticator: Authenticator,
    /// The quantum of the events.
    pub(crate) quantum: Quantum,
    /// By user id. Each user has one connection.
    clients: Mutex<BTreeMap<String, ConnectedUser>>,
    /// How many connections there have been.
    connections: AtomicU64,
    /// The claims and handshakes of users, by user id.
    profiles: Mutex<BTreeMap<String, User>>,
    /// The name of the handler that asked, by the question's tag.
    askers: Mutex<BTreeMap<String, Arc<str>>>,
    /// The keys of requests that may have no answer yet, in the order in which the requests were sent.
    pub(crate) requests: Mutex<Vec<KvKey>>,
}

#[derive(Clone)]
pub(crate) struct ConnectedUser {
    pub(crate) connection: Arc<Connection>,
    pub(crate) inbox: ClientInbox,
}

impl TestServer {
    /// Must be called inside a runtime, since the committer and the hub are tasks.
    pub(crate) fn new() -> Result<Self> {
        let registry = Registry::default();
        let store = Arc::new(TestStore::default());
        let metrics = commit::Metrics::register(&registry)?;
        let (committer, _) = Committer::start(store.clone(), metrics, 1, Arc::default());
        let metrics = parlance_hub::Metrics::register(&registry)?;
        let keys = vec![Key::from_secret(Algorithm::Hs256, SECRET)?];
        let policy = Policy {
            keys,
            jwks: Vec::new(),
            rules: TokenRules {
                leeway: Duration::ZERO,
                ..TokenRules::default()
            },
        };
        let authenticator = Authenticator::new(DEFAULT_TENANT, &policy)?;
        let tenant = authenticator.tenant().clone();
        Ok(Self {
            hub: HubHandle::open(tenant, &metrics, Fleet::single_node(store.clone()), Arc::default()),
            store,
            random: Arc::default(),
            http: Arc::default(),
            committer,
            authenticator,
            quantum: Quantum::new(),
            clients: Mutex::default(),
            connections: AtomicU64::new(0),
            profiles: Mutex::default(),
            askers: Mutex::default(),
            requests: Mutex::default(),
        })
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        self.authenticator.tenant()
    }

    fn identity(&self, user: &User, now_ms: u64) -> Result<Identity> {
        let mut claims = user.claims.clone();
        claims.entry("sub").or_insert_with(|| user.id.clone().into());
        claims
            .entry("exp")
            .or_insert_with(|| json!(now_ms / 1000 + 1_000_000_000));
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key)?;
        self.authenticator
            .verify(&token, now_ms)
            .with_context(|| format!("the server would refuse the token of the user {:?}", user.id))
    }

    /// The user's connection, which is opened if there is none. `shown`: its status is then set to online.
    pub(crate) async fn connect(&self, user: &User, setup: &EventSetup, shown: bool) -> Result<ConnectedUser> {
        let found = self.clients.lock().get(&user.id).cloned();
        if let Some(client) = found {
            return Ok(client);
        }
        let identity = Arc::new(self.identity(user, setup.now_ms)?);
        let inbox = ClientInbox::default();
        let id = ConnectionId::from_bits(self.connections.fetch_add(1, Ordering::Relaxed) + 1);
        let connection = Connection::new(id, identity, Box::new(inbox.clone()));
        let connection = Arc::new(connection.with_handshake(user.handshake.clone()));
        let client = ConnectedUser { connection, inbox };
        self.hub.connect(client.connection.clone(), setup.now_ms)?;
        self.clients.lock().insert(user.id.clone(), client.clone());
        if shown {
            let online = Effect::SetPresence(parlance_handler::capability::Status::Online);
            self.complete(&client, setup, Ok(vec![online].into()), Reply::Silent)
                .await?
                .map_err(to_anyhow)?;
        }
        Ok(client)
    }

    /// The connection of what no client has caused: in no room, and seen by nobody, as on a server.
    fn nobody(&self) -> Result<ConnectedUser> {
        let inbox = ClientInbox::default();
        let identity = Identity::for_server_events(self.authenticator.tenant().clone())?;
        let connection = Connection::new(ConnectionId::from_bits(0), Arc::new(identity), Box::new(inbox.clone()));
        Ok(ConnectedUser {
            connection: Arc::new(connection),
            inbox,
        })
    }

    /// Sets the claims and the handshake of a user whose connection opens later.
    pub(crate) fn set_profile(&self, user: User) {
        self.profiles.lock().insert(user.id.clone(), user);
    }

    fn profile(&self, user: &str) -> User {
        let known = self.profiles.lock().get(user).cloned();
        known.unwrap_or_else(|| User::new(user))
    }

    /// The ids of all users who are connected.
    pub(crate) fn users(&self) -> Vec<String> {
        self.clients.lock().keys().cloned().collect()
    }

    /// The user's connection, if there is one.
    pub(crate) fn connected(&self, user: &str) -> Option<ConnectedUser> {
        self.clients.lock().get(user).cloned()
    }

    /// Applies effects on a user's behalf without the handler. What clients receive because of them does not count as
    /// unread.
    pub(crate) async fn apply_effects(&self, user: &str, setup: &EventSetup, effects: Vec<Effect>) -> Result<()> {
        let client = self.connect(&self.profile(user), setup, true).await?;
        let clients: Vec<_> = self.clients.lock().values().cloned().collect();
        let unread: Vec<_> = clients.iter().map(|client| client.inbox.len()).collect();
        let completed = self.complete(&client, setup, Ok(effects.into()), Reply::Silent).await?;
        for (client, unread) in clients.iter().zip(unread) {
            client.inbox.truncate(unread);
        }
        completed.map_err(to_anyhow)
    }

    pub(crate) async fn presence(&self, asker: &str, user: &str) -> Result<PresenceState> {
        let states = self.hub.presence(UserId::new(asker)?, vec![UserId::new(user)?]).await?;
        states.into_iter().next().context("the hub did not answer")
    }

    pub(crate) async fn members(&self, room: &str) -> Result<Vec<UserId>> {
        Ok(self.hub.members(RoomId::new(room)?, usize::MAX).await?)
    }

    /// Commits and delivers effects, or delivers an error. Returns once that is done, with the result of the commit.
    pub(crate) async fn complete(
        &self,
        client: &ConnectedUser,
        setup: &EventSetup,
        decided: Result<Decided, EventError>,
        reply: Reply,
    ) -> Result<Result<(), Undone>> {
        let (done, wait) = oneshot::channel();
        let (decided, written) = match decided {
            Ok(decided) => (decided, Ok(Vec::new())),
            Err(error) => (Decided::default(), Err(error)),
        };
        let mut delivery = Delivery {
            connection: client.connection.clone(),
            effects: decided.effects,
            written,
            reply,
            responder: Responder::new(Some(ACKNOWLEDGEMENT), ""),
            phase: ConnectionPhase::Connected,
            held_room: None,
            baselines: Vec::new(),
            reads: decided.reads,
            done: Some(done),
            in_flight_permit: None,
            in_flight: None,
            received: Instant::now(),
            at_ms: setup.now_ms,
        };
        delivery.read_baselines(&*self.store).await;
        let job = CommitJob {
            hub: self.hub.clone(),
            quota: setup.quota,
            delivery,
        };
        self.committer.submit(job);
        let done = wait.await.map_err(|_| anyhow!("the committer has ended"))?;
        // Text that is added to a message would wait a moment for more.
        self.hub.flush().await?;
        Ok(done.map(drop))
    }

    /// Runs the handler for an event, then commits and delivers its effects.
    pub(crate) async fn dispatch(&self, setup: &EventSetup, event: &Event) -> Result<Outcome> {
        let connects = event.input == CONNECTED;
        if connects && self.connected(&event.user).is_some() {
            bail!(
                "{} is connected already: causing an event or being made a member connects a user",
                event.user
            );
        }
        let client = if event.input.handler_input(&[]).is_of_nobody() {
            self.nobody()?
        } else {
            self.connect(&self.profile(&event.user), setup, !connects).await?
        };
        let mut admitted = None;
        if connects && self.route(setup, &Input::Connect).is_some() {
            let asked = Event {
                input: Input::Connect,
                ..event.clone()
            };
            admitted = Some(self.handle(&client, setup, &asked).await?);
        }
        let is_refused = admitted.as_ref().is_some_and(|outcome| !outcome.is_ok());
        let outcome = match admitted {
            Some(refused) if is_refused => Ok(refused),
            Some(admitted) => self.handle(&client, setup, event).await.map(|_| admitted),
            None => self.handle(&client, setup, event).await,
        };
        if is_refused || event.input == DISCONNECTED {
            self.hub.disconnect(client.connection.clone(), setup.now_ms).await?;
            self.clients.lock().remove(&event.user);
        }
        outcome
    }

    /// The handler of an event. A question's answer goes to the handler that asked.
    pub(crate) fn route<'a>(&self, setup: &'a EventSetup, input: &Input) -> Option<&'a TestHandler> {
        let mut taking = setup.handlers.iter().filter(|handler| handler.takes_event(input));
        let asker = match input {
            Input::Answer { tag, .. } => self.askers.lock().get(tag).cloned(),
            Input::Timer { owner, .. } | Input::Response { owner, .. } => Some(owner.as_str().into()),
            _ => None,
        };
        match asker {
            Some(asker) => taking.find(|handler| handler.info.name == asker),
            // A handler of some custom events comes before one that gets those of any name.
            None => {
                let by_name = taking.clone().find(|handler| !handler.info.event_patterns.is_empty());
                by_name
                    .filter(|_| matches!(input, Input::Event { .. }))
                    .or_else(|| taking.next())
            }
        }
    }

    /// The outcome of an event that no handler takes.
    pub(crate) async fn unhandled(&self, client: &ConnectedUser, setup: &EventSetup, input: &Input) -> Result<Outcome> {
        let decided = match input {
            Input::Presence {
                change: PresenceChange::Connected | PresenceChange::Disconnected,
            } => Ok(Decided::default()),
            _ => Err(EventError::new(
                Code::Unhandled,
                "no handler is installed for this event",
            )),
        };
        let _ = self
            .complete(client, setup, decided, reply(input, HandlerReply::Data(None)))
            .await?;
        Ok(Outcome::without_handler(client.inbox.acknowledgement()))
    }

    /// The call of a handler for a user.
    pub(crate) fn call(
        &self,
        client: &ConnectedUser,
        setup: &EventSetup,
        handler: &TestHandler,
        sent: Option<ClientRef>,
    ) -> Call {
        let random: Arc<dyn RandomSource> = self.random.clone();
        let limits = &setup.call_limits;
        Call {
            identity: client.connection.identity.load_full(),
            connection: client.connection.id.clone(),
            handshake: client.connection.handshake.clone(),
            handler: handler.info.clone(),
            now_ms: setup.now_ms,
            sent,
            random,
            store: self.store.clone(),
            host_context: Arc::new(TestHostContext {
                hub: self.hub.clone(),
                connection: client.connection.clone(),
                faults: setup.faults.clone(),
            }),
            wasi_tap: setup.faults.is_offline.then(|| {
                let (faults, log) = (setup.faults.clone(), self.http.clone());
                Arc::new(HttpAnswers { faults, log }) as Arc<dyn WasiTap>
            }),
            limits: limits.clone(),
            has_reserved_slot: true,
            is_rerun: false,
            reads: ReadSet::default(),
            is_server_event: false,
            takes_answers: handler.handler.handles(Interface::Answer),
            retry_after: None,
            effects: Effects::with_allowance(limits.effects.effects, limits.effects.output),
            logs: Logs::with_allowance(limits.effects.log_bytes),
            not_joined: AtomicBool::new(false),
            store_failed: false,
        }
    }

    /// Calls the checks that handlers export (`parlance:testing/invariant`). Returns what is wrong, with the handler's
    /// name.
    pub(crate) async fn broken_invariants(&self, setup: &EventSetup) -> Result<Vec<(Arc<str>, String)>> {
        let identity = Arc::new(self.identity(&User::new(CHECKER), setup.now_ms)?);
        let inbox = ClientInbox::default();
        // It is not connected, so that the check changes nothing that handlers see.
        let connection = Connection::new(ConnectionId::from_bits(0), identity, Box::new(inbox.clone()));
        let client = ConnectedUser {
            connection: Arc::new(connection),
            inbox,
        };
        let mut broken = Vec::new();
        for handler in &setup.handlers {
            let call = Call {
                is_server_event: true,
                ..self.call(&client, setup, handler, None)
            };
            let checked = handler.handler.check_invariant(call, &setup.guest_limits).await;
            if let Some(Err(message)) = checked {
                broken.push((handler.info.name.clone(), message));
            }
        }
        Ok(broken)
    }

    /// Notes who asked the questions among the effects, so that answers find their way.
    pub(crate) fn remember_questions(&self, effects: &[Effect], asker: &Arc<str>) {
        let questions = effects.iter().filter_map(|effect| match effect {
            Effect::Emit { question, .. } => question.as_ref(),
            _ => None,
        });
        let mut askers = self.askers.lock();
        askers.extend(questions.map(|question| (question.tag.to_string(), asker.clone())));
    }

    /// The reply to a message that is in the store already, for which no handler runs.
    pub(crate) async fn repeated(
        &self,
        client: &ConnectedUser,
        setup: &EventSetup,
        input: &Input,
    ) -> Result<Option<Outcome>> {
        let Some(sent) = input.sent() else { return Ok(None) };
        let identity = client.connection.identity.load_full();
        let id = MessageId::from_client(identity.tenant(), identity.user(), &sent.id);
        // If the store is down, the commit decides.
        let Ok(Some(first)) = self.store.message(identity.tenant(), id).await else {
            return Ok(None);
        };
        let (decided, reply) = match Repeated::of(first, &sent) {
            Ok(repeated) => (Ok(Decided::default()), Reply::Repeated(Box::new(repeated))),
            Err(error) => (Err(error), reply(input, HandlerReply::Data(None))),
        };
        let _ = self.complete(client, setup, decided, reply).await?;
        Ok(Some(Outcome::without_handler(client.inbox.acknowledgement())))
    }

    /// The acknowledgement of a join with the history that the client asks for, or of one that happened while the store
    /// cannot be read.
    pub(crate) async fn joined(
        &self,
        client: &ConnectedUser,
        room: &str,
        asked: PastRange,
        most: u32,
        data: Option<&str>,
    ) -> Result<Value> {
        let identity = client.connection.identity.load_full();
        let past = read_past(&*self.store, identity.tenant(), &RoomId::new(room)?, asked, most).await;
        let Ok(past) = past else {
            let error = EventError::new(Code::Unavailable, "the store cannot be reached");
            return Ok(json!({"ok": false, "error": {
                "code": error.code.as_str(), "message": error.message, "retryable": error.is_retryable(),
            }}));
        };
        elements(&join_reply(&past, self.store.epoch(), asked.rev.is_some(), data, &[]))
            .into_iter()
            .next()
            .context("the join was not acknowledged")
    }
}

fn to_anyhow(undone: Undone) -> anyhow::Error {
    match undone {
        Undone::Failed(error) => anyhow!("{}: {}", error.code.as_str(), error.message),
        Undone::ReadsChanged => anyhow!("a key that was read has changed"),
    }
}
