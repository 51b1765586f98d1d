//! The test's view of the server.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use parlance::app;
use parlance::auth::Identity;
use parlance::capability::{CallLimits, RandomSource as _, Effect, Grants, HandlerInfo, PresenceState};
use parlance::id::{DEFAULT_TENANT, MessageId, RoomId, TenantId, UserId};
use parlance::sandbox::{EngineLimits, GuestLimits, Interface, LoadError, Sandbox};
use parlance::store::{Draft, End, KvKey, Message, Range, Store as _, Unit, Write};
use tokio::runtime::{Builder, Runtime};

use crate::event::Event;
use crate::outcome::Outcome;
use crate::user::{Received, User};
use crate::server::{EventSetup, TestServer};

/// What the clock says at first: the beginning of 2026, in milliseconds since the Unix epoch.
pub const START_MS: u64 = 1_767_225_600_000;

/// A tenant in memory around one component.
///
/// Users are connected when they are first named, and online. All methods may be called from asynchronous code too;
/// those that are not asynchronous themselves block for as long as the handler runs.
pub struct TestHost {
    server: Arc<TestServer>,
    name: String,
    settings: BTreeMap<String, String>,
    grants: Arc<Grants>,
    now_ms: u64,
    guest_limits: GuestLimits,
    call_limits: CallLimits,
    tenant: TenantId,
    /// Its own, so that it works in any test and a test's paused clock does not time the handler out. Only absent
    /// while being dropped.
    runtime: Option<Runtime>,
}

impl TestHost {
    /// Loads a component from its file.
    ///
    /// # Errors
    /// When the file cannot be read, or is no handler; the error says why, as `parlance inspect` would.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        Self::from_bytes(&bytes).with_context(|| path.display().to_string())
    }

    /// Loads a handler that comes with the server: `message`, `typing`, `receipt`, `presence` or `room`.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn shipped(name: &str) -> Result<Self> {
        let bytes = app::shipped(name).with_context(|| format!("no handler {name:?} is shipped"))?;
        Ok(Self::from_bytes(bytes)?.named(name))
    }

    /// Loads a component from its bytes.
    ///
    /// # Errors
    /// When they are no handler.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::granted(bytes, Grants::default())
    }

    /// Loads a component from its bytes, with what an operator grants it.
    ///
    /// ```no_run
    /// use parlance_testing::{Grants, TestHost};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// # let bytes: &[u8] = &[];
    /// let grants = Grants { http: vec!["http://127.0.0.1:8080".parse()?] };
    /// let host = TestHost::granted(bytes, grants)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When they are no handler, or ask for what is not granted.
    pub fn granted(bytes: &[u8], grants: Grants) -> Result<Self> {
        let grants = Arc::new(grants);
        // One event at a time: a pool for a server's load would only take address space.
        let sandbox = Arc::new(Sandbox::new(EngineLimits {
            instances: 4,
            ..EngineLimits::default()
        })?);
        let info = Arc::new(HandlerInfo {
            name: "handler".into(),
            grants: grants.clone(),
            ..HandlerInfo::default()
        });
        let handler = sandbox
            .load(info, bytes, &GuestLimits::default())
            .map_err(|error: LoadError| anyhow::Error::new(error))?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("parlance-testing")
            .enable_all()
            .build()
            .context("no runtime")?;
        let server = {
            let _inside = runtime.enter();
            Arc::new(TestServer::new(Arc::new(handler))?)
        };
        let tenant = Identity::for_tests(DEFAULT_TENANT, "anybody")
            .context("no identity")?
            .tenant()
            .clone();
        Ok(Self {
            server,
            name: "handler".to_owned(),
            settings: BTreeMap::new(),
            grants,
            now_ms: START_MS,
            guest_limits: GuestLimits::default(),
            call_limits: CallLimits::default(),
            tenant,
            runtime: Some(runtime),
        })
    }

    /// What the component handles.
    pub fn interfaces(&self) -> impl Iterator<Item = Interface> {
        self.server.handler.interfaces()
    }

    /// Names the handler, as a server's configuration does. It owns the key-value space.
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

    /// Connects a user who is more than an id: `User::new("bob").name("Bob").claim("role", "admin")`.
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
    /// When one of the ids is none.
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
        let (server, unit) = (
            self.server.clone(),
            Unit {
                tenant: self.tenant.clone(),
                writes: vec![Arc::new(write)],
                quota: parlance::store::StorageQuota::UNLIMITED,
            },
        );
        expect_ok(self.run(async move { server.store.commit(vec![unit]).await.map(drop).map_err(Into::into) }));
        self
    }

    /// Sets the clock, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn at(mut self, now_ms: u64) -> Self {
        self.now_ms = now_ms;
        self
    }

    /// Gives the next numbers that chance will bring. After them, and without them, it brings 1, 2, 3 …
    #[must_use]
    pub fn random(self, numbers: impl IntoIterator<Item = u64>) -> Self {
        self.server.random.give(numbers);
        self
    }

    /// Sets what the sandbox holds the handler to.
    #[must_use]
    pub fn guest_limits(mut self, limits: GuestLimits) -> Self {
        self.guest_limits = limits;
        self
    }

    /// Sets what the capabilities hold the handler to.
    #[must_use]
    pub fn call_limits(mut self, limits: CallLimits) -> Self {
        self.call_limits = limits;
        self
    }

    /// Takes the store down, or brings it back: while it is down, reads and commits fail, as a real one's may.
    pub fn store_down(&mut self, down: bool) {
        self.server.store.set_down(down);
    }

    /// Lets the store answer nothing any more, or answer again, as one does that cannot be reached.
    pub fn store_silent(&mut self, silent: bool) {
        self.server.store.set_silent(silent);
    }

    /// Moves the clock on.
    pub fn advance(&mut self, by: Duration) {
        self.now_ms = self
            .now_ms
            .saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX));
    }

    /// Lets an event happen: the handler decides, and when it accepts, what it asked for happens. The next event sees
    /// that.
    ///
    /// # Panics
    /// When the component does not handle such events, or a user's or room's id is none.
    #[track_caller]
    pub fn dispatch(&mut self, event: Event) -> Outcome {
        let (server, setup) = (self.server.clone(), self.setup());
        expect_ok(self.run(async move { server.dispatch(&setup, &event).await }))
    }

    /// Dispatches an event as [`dispatch`](Self::dispatch) does, for asynchronous tests.
    ///
    /// # Panics
    /// As [`dispatch`](Self::dispatch).
    pub async fn dispatch_async(&mut self, event: Event) -> Outcome {
        let (server, setup) = (self.server.clone(), self.setup());
        let handled = self
            .runtime()
            .spawn(async move { server.dispatch(&setup, &event).await });
        expect_ok(handled.await.map_err(Into::into).and_then(|outcome| outcome))
    }

    /// Posts a message without the handler and gives its id: what was there before the test's own events.
    ///
    /// # Panics
    /// When one of the ids is none.
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
            once: false,
        };
        let id = draft.id.to_string();
        self.apply_effects(user, vec![Effect::Write(Arc::new(Write::Append(draft)))]);
        id
    }

    /// What a user's client got of the events since this was last asked, in order, without acknowledgements. What
    /// comes of setting the scene ([`member`](Self::member), [`post`](Self::post)) is not in it.
    #[must_use]
    pub fn received(&self, user: &str) -> Vec<Received> {
        self.world
            .connected(user)
            .map(|client| client.inbox.events())
            .unwrap_or_default()
    }

    /// All messages of a room.
    ///
    /// # Panics
    /// When the id is none, or the store is down.
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

    /// Who is in a room, by id.
    ///
    /// # Panics
    /// When the id is none.
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
    /// When one of the ids is none.
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
        EventSetup {
            handler: Arc::new(HandlerInfo {
                name: self.name.as_str().into(),
                settings: self.settings.clone(),
                grants: self.grants.clone(),
                ..HandlerInfo::default()
            }),
            now_ms: self.now_ms,
            guest_limits: self.guest_limits.clone(),
            call_limits: Arc::new(self.call_limits.clone()),
        }
    }

    #[track_caller]
    fn runtime(&self) -> &Runtime {
        self.runtime
            .as_ref()
            .unwrap_or_else(|| panic!("the test host is being dropped"))
    }

    /// Runs it on the host's own thread and waits. Unlike `block_on`, that works inside another runtime.
    #[track_caller]
    fn run<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        self.runtime().spawn(async move {
            // Whoever waits has not gone: `recv` is below.
            let _ = done.send(work.await);
        });
        wait.recv().context("the test host has failed")?
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, which asynchronous code must not.
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
