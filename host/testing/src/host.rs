//! The test's interface: a host for the handlers of one tenant.

mod between;
mod components;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use parlance_handler::capability::{
    CallLimits, Capability, ClientLimits, Effect, EffectLimits, EventPattern, Grants, HandlerInfo, PresenceState,
    RandomSource as _,
};
use parlance_handler::sandbox::{EngineLimits, GuestLimits, Handler, Interface, Sandbox};
use parlance_store::{
    Draft, End, KvKey, Membership, Message, Range, ReadSet, Reader as _, StorageQuota, Write, WriteSet, Writer as _,
    read_memberships,
};
use parlance_types::id::{MessageId, RoomId, TenantId, UserId};
use tokio::runtime::{Builder, Runtime};

use crate::event::Event;
use crate::faults::{Faults, HttpAnswer, HttpFault};
use crate::handlers::{TestHandler, check_handled, load};
use crate::outcome::Outcome;
use crate::server::{EventSetup, TestServer};
use crate::user::{Received, User};

/// The initial time of the clock: the beginning of 2026, in milliseconds since the Unix epoch.
pub const START_MS: u64 = 1_767_225_600_000;

/// A tenant in memory with one component, or [several](Self::and).
///
/// A user is connected, and online, from the first call that names the user. All methods may be called from
/// asynchronous code too. Those that are not asynchronous block while the handler runs.
pub struct TestHost {
    server: Arc<TestServer>,
    sandbox: Arc<Sandbox>,
    handler: Arc<Handler>,
    /// Further handlers.
    others: Vec<TestHandler>,
    /// The custom events that the first component claims.
    event_patterns: Vec<EventPattern>,
    faults: Faults,
    name: String,
    settings: BTreeMap<String, String>,
    grants: Arc<Grants>,
    now_ms: u64,
    guest_limits: GuestLimits,
    call_limits: CallLimits,
    quota: StorageQuota,
    tenant: TenantId,
    /// Its own runtime, so that it works in any test, and a test's paused clock does not time the handler out. `None`
    /// only while being dropped.
    runtime: Option<Runtime>,
}

impl TestHost {
    /// Loads a component from a file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a handler. The error says why, as `parlance inspect` does.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        Self::from_bytes(&bytes).with_context(|| path.display().to_string())
    }

    /// Loads a component from its bytes.
    ///
    /// # Errors
    /// When they are not a handler.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::granted(bytes, Grants::default())
    }

    /// Loads a component from its bytes, with an operator's grants.
    ///
    /// ```no_run
    /// use parlance_testing::{Grants, TestHost};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// # let bytes: &[u8] = &[];
    /// let grants = Grants { http: vec!["http://127.0.0.1:8080".parse()?], ..Grants::default() };
    /// let host = TestHost::granted(bytes, grants)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When they are not a handler, or need a grant that is missing.
    pub fn granted(bytes: &[u8], grants: Grants) -> Result<Self> {
        let grants = Arc::new(grants);
        // Tests run one event at a time, so a small pool is enough and saves address space.
        let engine = EngineLimits {
            instances: 4,
            ..EngineLimits::default()
        };
        let sandbox = Arc::new(Sandbox::new(engine, &GuestLimits::default())?);
        let info = Arc::new(HandlerInfo {
            name: "handler".into(),
            grants: grants.clone(),
            ..HandlerInfo::default()
        });
        let handler = load(&sandbox, info, bytes)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("parlance-testing")
            .enable_all()
            .build()
            .context("no runtime")?;
        let server = {
            let _inside = runtime.enter();
            Arc::new(TestServer::new()?)
        };
        Ok(Self {
            tenant: server.tenant().clone(),
            server,
            sandbox,
            handler,
            others: Vec::new(),
            event_patterns: Vec::new(),
            faults: Faults::default(),
            name: "handler".to_owned(),
            settings: BTreeMap::new(),
            grants,
            now_ms: START_MS,
            guest_limits: GuestLimits::default(),
            call_limits: CallLimits::default(),
            quota: StorageQuota::default(),
            runtime: Some(runtime),
        })
    }

    /// The interfaces that the component exports.
    pub fn interfaces(&self) -> impl Iterator<Item = Interface> {
        self.handler.interfaces()
    }

    /// Sets the handler's name, as a server's configuration does. It also names the key-value space.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Gives the handler a setting.
    #[must_use]
    pub fn setting(mut self, key: &str, value: &str) -> Self {
        self.settings.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Connects a user with a display name, claims or handshake data: `User::new("bob").name("Bob").claim("role",
    /// "admin")`.
    ///
    /// # Panics
    /// When the server would refuse the user's token.
    #[must_use]
    #[track_caller]
    pub fn user(self, user: impl Into<User>) -> Self {
        let (server, setup, user) = (self.server.clone(), self.setup(), user.into());
        expect_ok(self.run(async move { server.connect(&user, &setup, true).await.map(drop) }));
        self
    }

    /// Puts a user into a room.
    ///
    /// # Panics
    /// When an id is not valid.
    #[must_use]
    #[track_caller]
    pub fn member(self, user: &str, room: &str) -> Self {
        let joins = vec![Effect::Join(expect_ok(RoomId::new(room).map_err(Into::into)))];
        self.apply_effects(user, joins);
        self
    }

    /// Sets a key of the handler's key-value space.
    ///
    /// # Panics
    /// When the store is down.
    #[must_use]
    #[track_caller]
    pub fn kv(self, key: &str, value: impl Into<Vec<u8>>) -> Self {
        let write = Write::KvSet {
            key: self.kv_key(key),
            value: value.into(),
            expires_at: None,
        };
        let (server, write_set) = (
            self.server.clone(),
            WriteSet {
                tenant: self.tenant.clone(),
                reads: ReadSet::default(),
                writes: vec![Arc::new(write)],
                quota: StorageQuota::UNLIMITED,
            },
        );
        expect_ok(self.run(async move { server.store.commit(vec![write_set]).await.map(drop).map_err(Into::into) }));
        self
    }

    /// Sets the clock, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn at(mut self, now_ms: u64) -> Self {
        self.now_ms = now_ms;
        self
    }

    /// Sets the next random numbers. After them, the numbers are 1, 2, 3 …
    #[must_use]
    pub fn random(self, numbers: impl IntoIterator<Item = u64>) -> Self {
        self.server.random.give(numbers);
        self
    }

    /// Sets the limits of the sandbox.
    #[must_use]
    pub fn guest_limits(mut self, limits: GuestLimits) -> Self {
        self.guest_limits = limits;
        self
    }

    /// Holds the clients of events that follow to these limits, the `[limits]` of a server's configuration.
    #[must_use]
    pub fn client_limits(mut self, limits: ClientLimits) -> Self {
        self.call_limits.client = limits;
        self
    }

    /// Holds the effects of events that follow to these limits, part of the `[sandbox]` of a server's configuration.
    #[must_use]
    pub fn effect_limits(mut self, limits: EffectLimits) -> Self {
        self.call_limits.effects = limits;
        self
    }

    /// Holds what events that follow store to this quota, the `[quota]` of a server's configuration.
    #[must_use]
    pub fn storage_quota(mut self, quota: StorageQuota) -> Self {
        self.quota = quota;
        self
    }

    /// Takes the store down, or brings it back. While it is down, reads and commits fail.
    pub fn store_down(&mut self, down: bool) {
        self.server.store.set_down(down);
    }

    /// Makes the store stop answering, as if it could not be reached, or answer again.
    pub fn store_silent(&mut self, silent: bool) {
        self.server.store.set_silent(silent);
    }

    /// Makes commits fail while reads succeed, or ends that.
    pub fn commits_fail(&mut self, fail: bool) {
        self.server.store.set_commits_fail(fail);
    }

    /// Denies every call of these capabilities in the events that follow; none ends that.
    pub fn deny(&mut self, capabilities: impl IntoIterator<Item = Capability>) {
        self.faults.denied = capabilities.into_iter().collect();
    }

    /// Answers the HTTP request with this method and URL instead of sending it. Once there is an answer, requests
    /// without one fail as if no name server knew the host.
    pub fn answer_http(&mut self, method: &str, url: &str, answer: Result<HttpAnswer, HttpFault>) {
        self.faults.is_offline = true;
        self.faults.http.insert(format!("{method} {url}"), answer);
    }

    /// Dispatches an event. If the handler accepts it, its effects are committed and delivered before the next event.
    ///
    /// # Panics
    /// When the component does not handle such events, or the id of a user or room is not valid.
    #[track_caller]
    pub fn dispatch(&mut self, event: Event) -> Outcome {
        let (server, setup) = (self.server.clone(), self.setup());
        expect_ok(check_handled(&setup, &event));
        expect_ok(self.run(async move { server.dispatch(&setup, &event).await }))
    }

    /// Like [`dispatch`](Self::dispatch), for asynchronous tests.
    ///
    /// # Panics
    /// As [`dispatch`](Self::dispatch).
    pub async fn dispatch_async(&mut self, event: Event) -> Outcome {
        let (server, setup) = (self.server.clone(), self.setup());
        expect_ok(check_handled(&setup, &event));
        let handled = self
            .runtime()
            .spawn(async move { server.dispatch(&setup, &event).await });
        expect_ok(handled.await.map_err(Into::into).and_then(|outcome| outcome))
    }

    /// Posts a message without the handler and returns its id, to prepare a room's history.
    ///
    /// # Panics
    /// When an id is not valid.
    #[track_caller]
    pub fn post(&mut self, user: &str, room: &str, content: &str) -> String {
        let random = (u128::from(self.server.random.next_u64()) << 64) | u128::from(self.server.random.next_u64());
        let draft = Draft {
            id: MessageId::from_time(self.now_ms, random),
            room: expect_ok(RoomId::new(room).map_err(Into::into)),
            sender: expect_ok(UserId::new(user).map_err(Into::into)),
            username: user.into(),
            content: content.to_owned(),
            metadata: None,
            sent_at: self.now_ms,
            client: None,
            reject_repeated: false,
        };
        let id = draft.id.to_string();
        self.apply_effects(user, vec![Effect::Write(Arc::new(Write::Append(draft)))]);
        id
    }

    /// The events that a user's client received since the last call, in order, without acknowledgements. Preparing the
    /// test ([`member`](Self::member), [`post`](Self::post)) adds nothing to them.
    #[must_use]
    pub fn received(&self, user: &str) -> Vec<Received> {
        self.server
            .connected(user)
            .map(|client| client.inbox.events())
            .unwrap_or_default()
    }

    /// All messages of a room, oldest first.
    ///
    /// # Panics
    /// When the id is not valid, or the store is down.
    #[must_use]
    #[track_caller]
    pub fn history(&self, room: &str) -> Vec<Message> {
        let (server, tenant) = (self.server.clone(), self.tenant.clone());
        let room = expect_ok(RoomId::new(room).map_err(Into::into));
        let all = Range {
            after: 0,
            before: None,
            limit: u32::MAX,
            from: End::Oldest,
        };
        let read = async move { server.store.history(&tenant, &room, all).await.map_err(Into::into) };
        expect_ok(self.run(read)).messages
    }

    /// The value at a key of the handler's key-value space.
    ///
    /// # Panics
    /// When the store is down.
    #[must_use]
    #[track_caller]
    pub fn value(&self, key: &str) -> Option<Vec<u8>> {
        let (server, tenant, key, now) = (self.server.clone(), self.tenant.clone(), self.kv_key(key), self.now_ms);
        expect_ok(self.run(async move { server.store.kv_get(&tenant, &key, now).await.map_err(Into::into) }))
    }

    /// The rooms in which a user is a lasting member, with what the user has read there.
    ///
    /// # Panics
    /// When the id is not valid, or the store is down.
    #[must_use]
    #[track_caller]
    pub fn memberships(&self, user: &str) -> Vec<Membership> {
        let (server, tenant) = (self.server.clone(), self.tenant.clone());
        let user = expect_ok(UserId::new(user).map_err(Into::into));
        let read = async move {
            let read = read_memberships(&*server.store, &tenant, &user, None, u32::MAX).await;
            Ok(read?.0)
        };
        expect_ok(self.run(read))
    }

    /// The ids of the users in a room, sorted.
    ///
    /// # Panics
    /// When the id is not valid.
    #[must_use]
    #[track_caller]
    pub fn members(&self, room: &str) -> Vec<String> {
        let (server, room) = (self.server.clone(), room.to_owned());
        let mut members: Vec<_> = expect_ok(self.run(async move { server.members(&room).await }))
            .iter()
            .map(ToString::to_string)
            .collect();
        members.sort();
        members
    }

    /// A user's presence as another user may see it.
    ///
    /// # Panics
    /// When an id is not valid.
    #[must_use]
    #[track_caller]
    pub fn presence(&self, asker: &str, user: &str) -> PresenceState {
        let (server, asker, user) = (self.server.clone(), asker.to_owned(), user.to_owned());
        expect_ok(self.run(async move { server.presence(&asker, &user).await }))
    }

    #[track_caller]
    fn apply_effects(&self, user: &str, effects: Vec<Effect>) {
        let (server, setup, user) = (self.server.clone(), self.setup(), user.to_owned());
        expect_ok(self.run(async move { server.apply_effects(&user, &setup, effects).await }));
    }

    fn kv_key(&self, key: &str) -> KvKey {
        KvKey {
            handler: self.name.as_str().into(),
            key: key.to_owned(),
        }
    }

    fn setup(&self) -> EventSetup {
        let info = HandlerInfo {
            name: self.name.as_str().into(),
            settings: self.settings.clone(),
            grants: self.grants.clone(),
            event_patterns: self.event_patterns.clone(),
            ..HandlerInfo::default()
        };
        let first = TestHandler {
            handler: self.handler.clone(),
            info: Arc::new(info),
            routes: None,
        };
        EventSetup {
            handlers: std::iter::once(first).chain(self.others.iter().cloned()).collect(),
            faults: Arc::new(self.faults.clone()),
            now_ms: self.now_ms,
            guest_limits: self.guest_limits.clone(),
            call_limits: Arc::new(self.call_limits.clone()),
            quota: self.quota,
        }
    }

    #[track_caller]
    fn runtime(&self) -> &Runtime {
        self.runtime
            .as_ref()
            .unwrap_or_else(|| panic!("the test host is being dropped"))
    }

    /// Runs a future on the host's own thread and waits for it. Unlike `block_on`, this works inside another runtime.
    #[track_caller]
    fn run<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        self.runtime().spawn(async move {
            // This cannot fail: the receiver waits below.
            let _ = done.send(work.await);
        });
        wait.recv().context("the test host has failed")?
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        // Dropping a runtime blocks until its threads end, which asynchronous code must not do.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[track_caller]
fn expect_ok<T>(result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error:#}"),
    }
}
