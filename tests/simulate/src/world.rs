//! What all clients of a run share: the nodes, the log, and notes about messages for the checks at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use parlance::tenant::Tenant;
use serde_json::json;
use tokio::time::sleep;

use crate::log::Log;
use crate::node::{Environment, Node, SECRET};
use crate::rng::Rng;
use crate::room::Seen;

/// When a message was sent first, and when it was acknowledged.
#[derive(Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) sent_ms: u64,
    pub(crate) acknowledged_ms: u64,
}

/// The version that handled a message, and the message's room.
pub(crate) struct Stamp {
    pub(crate) room: &'static str,
    pub(crate) version: String,
}

pub(crate) struct World {
    pub(crate) log: Log,
    pub(crate) rng: Rng,
    pub(crate) environment: Environment,
    /// The nodes whose processes are alive.
    nodes: Mutex<Vec<Option<Arc<Node>>>>,
    ids: AtomicU64,
    tokens: Mutex<BTreeMap<(String, String), String>>,
    /// The messages, by content.
    pub(crate) stamps: Mutex<BTreeMap<String, Stamp>>,
    pub(crate) sent: Mutex<BTreeMap<String, Sent>>,
    /// Whether the faults have ended.
    healed: AtomicBool,
}

impl World {
    pub(crate) fn new(log: Log, rng: Rng, environment: Environment, nodes: usize) -> Arc<Self> {
        Arc::new(Self {
            log,
            rng,
            environment,
            nodes: Mutex::new(vec![None; nodes]),
            ids: AtomicU64::new(0),
            tokens: Mutex::default(),
            stamps: Mutex::default(),
            sent: Mutex::default(),
            healed: AtomicBool::new(false),
        })
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn is_healed(&self) -> bool {
        self.healed.load(Ordering::Relaxed)
    }

    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.nodes.lock().iter().flatten().cloned().collect()
    }

    pub(crate) fn node(&self, index: usize) -> Option<Arc<Node>> {
        self.nodes.lock().get(index).cloned().flatten()
    }

    /// Starts the node's process, if it is not running.
    pub(crate) fn start(self: &Arc<Self>, index: usize) {
        if self.node(index).is_some() {
            return;
        }
        match Node::start(&self.environment, index) {
            Ok(node) => {
                self.log.note(format_args!("node {index} starts"));
                let (world, process) = (Arc::downgrade(self), node.process.clone());
                self.nodes.lock()[index] = Some(node);
                tokio::spawn(async move {
                    process.died().await;
                    if let Some(world) = world.upgrade() {
                        world.nodes.lock()[index] = None;
                    }
                });
            }
            Err(error) => self
                .log
                .violation(format_args!("node {index} does not start: {error:#}")),
        }
    }

    /// Starts the process again when that is due, or when the faults have ended.
    pub(crate) fn start_later(self: &Arc<Self>, index: usize, after: Duration) {
        let world = self.clone();
        tokio::spawn(async move {
            sleep(after).await;
            world.start(index);
        });
    }

    pub(crate) fn heal(self: &Arc<Self>) {
        self.healed.store(true, Ordering::Relaxed);
        self.environment.store.heal();
        self.environment.net.heal();
        let count = self.nodes.lock().len();
        for index in 0..count {
            self.environment.net.set_connected(index, true);
            self.start(index);
        }
        for node in self.nodes() {
            node.process.cancel_kill();
        }
    }

    /// A live node that serves the tenant.
    pub(crate) async fn some_node(&self, tenant: &str) -> Option<(Arc<Node>, Arc<Tenant>)> {
        let nodes = self.nodes();
        let node = nodes.get(self.rng.index(nodes.len()))?;
        let tenant = node.tenant(tenant).await?;
        (!node.process.is_dead()).then(|| (node.clone(), tenant))
    }

    pub(crate) fn token(&self, tenant: &str, user: &str) -> String {
        let mut tokens = self.tokens.lock();
        let token = tokens.entry((tenant.to_owned(), user.to_owned()));
        let sign = || {
            let claims = json!({ "sub": user, "exp": 4_000_000_000_u64 });
            let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
            jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap_or_default()
        };
        token.or_insert_with(sign).clone()
    }

    /// Notes that a client has got a message.
    pub(crate) fn stamped(&self, room: &'static str, seen: &Seen) {
        if let Some(version) = seen.stamp.clone() {
            let stamp = Stamp { room, version };
            self.stamps.lock().insert(seen.content.clone(), stamp);
        }
    }

    /// Notes that a message was acknowledged.
    pub(crate) fn acknowledged(&self, content: String, sent_ms: u64) {
        let sent = Sent {
            sent_ms,
            acknowledged_ms: self.log.now_ms(),
        };
        self.sent.lock().insert(content, sent);
    }
}
