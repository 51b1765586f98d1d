use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use tokio::sync::broadcast;

use super::*;
use crate::bus::{Broadcast, BroadcastTarget, ClientSelector, InboxSender, Invalidation, Load, NodeId, RemoteLoad};
use crate::tests::{Inbox, delivery};
use crate::{ClientSink, SendFailed};
use parlance_handler::capability::{Audience, Effect, Packet};
use parlance_store::memory::MemoryStore;
use parlance_store::{Draft, Place, StorageQuota, Write, WriteSet, Writer as _, Written};
use parlance_types::auth::Identity;
use parlance_types::id::{ConnectionId, MessageId};
use parlance_types::metrics::Registry;

/// The name of a room at whose announcement the bus panics, which the hub does not expect.
const BAD_ROOM: &str = "bad";

#[derive(Default)]
struct FaultyBus(LocalBus);

impl Bus for FaultyBus {
    fn node(&self) -> &NodeId {
        self.0.node()
    }
    fn subscribe(&self, tenant: &TenantId, inbox: InboxSender) {
        self.0.subscribe(tenant, inbox);
    }
    fn unsubscribe(&self, tenant: &TenantId) -> bool {
        self.0.unsubscribe(tenant)
    }
    fn has_lowest_id(&self) -> bool {
        true
    }
    fn announce_room(&self, _: &TenantId, room: &str, _: bool) {
        assert_ne!(room, BAD_ROOM, "the test has a hub fail");
    }
    fn broadcast(&self, _: &TenantId, _: Broadcast) {}
    fn set_presence(&self, _: &TenantId, _: &UserId, _: Option<Bytes>) {}
    fn set_load(&self, _: &TenantId, _: Load) {}
    fn remote_load(&self, _: &TenantId) -> RemoteLoad {
        RemoteLoad::default()
    }
    fn invalidate(&self, _: Bytes) {}
    fn invalidations(&self) -> broadcast::Receiver<Invalidation> {
        self.0.invalidations()
    }
}

/// A client that records whether its transport was ended.
#[derive(Clone, Default)]
struct Client {
    inbox: Inbox,
    hung_up: Arc<AtomicBool>,
}

impl ClientSink for Client {
    fn send(&self, outgoing: Outgoing) -> Result<(), SendFailed> {
        self.inbox.send(outgoing)
    }
    fn disconnect(&self) {}
    fn hang_up(&self) {
        self.hung_up.store(true, Ordering::Relaxed);
    }
    fn mark_gone(&self) {}
    fn is_flushed(&self) -> bool {
        true
    }
}

fn hub(tenant: &str, bus: Arc<dyn Bus>) -> HubHandle {
    let fleet = Fleet {
        bus,
        ..Fleet::single_node(Arc::new(MemoryStore::default()))
    };
    let tenant = TenantId::for_tests(tenant).unwrap();
    HubHandle::open(
        tenant,
        &Metrics::register(&Registry::default()).unwrap(),
        fleet,
        Arc::default(),
    )
}

fn connect(hub: &HubHandle, tenant: &str, number: u64) -> (Arc<Connection>, Client) {
    let client = Client::default();
    let identity = Arc::new(Identity::for_tests(tenant, "alice").unwrap());
    let id = ConnectionId::from_bits(number);
    let connection = Arc::new(Connection::new(id, identity, Box::new(client.clone())));
    hub.connect(connection.clone(), 0).unwrap();
    (connection, client)
}

/// Applies effects. Returns whether that succeeded.
async fn apply(hub: &HubHandle, connection: &Arc<Connection>, effects: Vec<Effect>) -> bool {
    apply_with(hub, connection, effects, Vec::new()).await
}

async fn apply_with(
    hub: &HubHandle,
    connection: &Arc<Connection>,
    effects: Vec<Effect>,
    written: Vec<Written>,
) -> bool {
    let (done, wait) = oneshot::channel();
    let delivery = Delivery {
        done: Some(done),
        in_flight: Some(connection.begin_in_flight()),
        ..delivery(connection, effects, written)
    };
    hub.deliver(vec![delivery]).unwrap();
    wait.await.is_ok_and(|result| result.is_ok())
}

fn join(room: &str) -> Effect {
    Effect::Join(RoomId::new(room).unwrap())
}

fn emit(room: &str, text: &'static str) -> Effect {
    Effect::Emit {
        to: Audience::Room(RoomId::new(room).unwrap()),
        packet: Packet {
            text: Bytes::from_static(text.as_bytes()),
            attachments: Vec::new(),
        },
        question: None,
    }
}

#[tokio::test]
async fn a_hub_that_fails_ends_its_own_connections_and_starts_again() {
    let bus: Arc<dyn Bus> = Arc::new(FaultyBus::default());
    let (bad, good) = (hub("bad", bus.clone()), hub("good", bus));
    let (alice, client) = connect(&bad, "bad", 1);
    let (other, bystander) = connect(&good, "good", 1);
    assert!(apply(&bad, &alice, vec![join("r")]).await);
    assert!(apply(&good, &other, vec![join("r")]).await);

    assert!(!apply(&bad, &alice, vec![join(BAD_ROOM)]).await);
    alice.wait_in_flight().await;
    bad.flush().await.unwrap();
    assert!(client.hung_up.load(Ordering::Relaxed), "it is to connect again");
    // The new hub does not know the connection that is removed.
    bad.disconnect(alice, 1).await.unwrap();

    let (again, client) = connect(&bad, "bad", 2);
    assert!(apply(&bad, &again, vec![join("r"), emit("r", "[\"e\"]")]).await);
    assert_eq!(client.inbox.texts(), ["[\"e\"]"]);
    assert!(apply(&good, &other, vec![emit("r", "[\"mine\"]")]).await);
    assert_eq!(bystander.inbox.texts(), ["[\"mine\"]"]);
    assert!(!bystander.hung_up.load(Ordering::Relaxed));
}

/// A message that was committed with this `seq`.
fn posted(room: &str, seq: u64) -> (Effect, Written) {
    let draft = Draft {
        id: MessageId::from_time(1, seq.into()),
        room: RoomId::new(room).unwrap(),
        sender: UserId::new("alice").unwrap(),
        username: "Alice".into(),
        content: seq.to_string(),
        metadata: None,
        sent_at: 1,
        client: None,
        reject_repeated: false,
    };
    let written = Written::Appended {
        seq,
        sent_at: 1,
        duplicate: false,
    };
    (Effect::Write(Arc::new(Write::Append(draft))), written)
}

#[tokio::test]
async fn messages_that_a_joiner_was_told_of_early_still_reach_the_members() {
    let hub = hub("t", Arc::new(LocalBus::default()));
    let (member, early) = connect(&hub, "t", 1);
    let (joiner, late) = connect(&hub, "t", 2);
    let room = RoomId::new("r").unwrap();
    let (done, wait) = oneshot::channel();
    let first = Delivery {
        baselines: vec![(room.clone(), Some(Place::default()))],
        done: Some(done),
        ..delivery(&member, vec![join("r")], Vec::new())
    };
    hub.deliver(vec![first]).unwrap();
    wait.await.unwrap().unwrap();
    assert!(apply(&hub, &joiner, vec![join("r")]).await);
    hub.hold(joiner.clone(), room.clone()).unwrap();
    // The store has two messages already, and the answer to the join has both.
    let second = Place { seq: 2, rev: 0 };
    assert!(hub.release(joiner, room, second, Some(second), None).await.unwrap());
    for seq in 1..=3 {
        let (effect, written) = posted("r", seq);
        assert!(apply_with(&hub, &member, vec![effect], vec![written]).await);
    }
    let content = |client: &Client| -> Vec<String> {
        let texts = client.inbox.texts();
        let content = |text: &String| text.split("\"content\":\"").nth(1).unwrap()[..1].to_owned();
        texts.iter().map(content).collect()
    };
    assert_eq!(content(&early), ["1", "2", "3"]);
    assert_eq!(content(&late), ["3"]);
}

#[tokio::test]
async fn another_server_has_a_connection_join_only_as_many_rooms_as_its_tenant_allows() {
    let bus: Arc<dyn Bus> = Arc::new(LocalBus::default());
    let (small, large) = (hub("small", bus.clone()), hub("large", bus));
    small.set_rooms_per_connection(1);
    large.set_rooms_per_connection(2);
    for (hub, tenant, rooms) in [(small, "small", 1), (large, "large", 2)] {
        let (connection, _client) = connect(&hub, tenant, 1);
        let clients = ClientSelector {
            to: BroadcastTarget::AllClients,
            except: Vec::new(),
        };
        let rooms_of_all = ["a", "b", "c"].map(str::to_owned).to_vec();
        hub.receive(Inbound::SocketsJoin {
            clients,
            rooms: rooms_of_all,
        })
        .unwrap();
        hub.flush().await.unwrap();
        assert_eq!(connection.room_count(), rooms, "{tenant}");
    }
}

/// A timer would let one message through each millisecond, and none while the hub is busy.
#[tokio::test]
async fn missed_messages_are_sent_without_waiting_for_a_timer() {
    const MISSED: u64 = 300;
    let store = Arc::new(MemoryStore::default());
    let fleet = Fleet {
        bus: Arc::new(FaultyBus::default()),
        ..Fleet::single_node(store.clone())
    };
    let tenant = TenantId::for_tests("t").unwrap();
    let hub = HubHandle::open(
        tenant.clone(),
        &Metrics::register(&Registry::default()).unwrap(),
        fleet,
        Arc::default(),
    );
    let (member, client) = connect(&hub, "t", 1);
    let (room, other) = (RoomId::new("r").unwrap(), RoomId::new("other").unwrap());
    let joins = Delivery {
        baselines: vec![(room, Some(Place::default()))],
        ..delivery(&member, vec![join("r")], Vec::new())
    };
    hub.deliver(vec![joins]).unwrap();
    for seq in 1..=MISSED {
        let (effect, _) = posted("r", seq);
        let write_set = WriteSet {
            tenant: tenant.clone(),
            reads: parlance_store::ReadSet::default(),
            writes: effect.write().cloned().into_iter().collect(),
            quota: StorageQuota::UNLIMITED,
        };
        store.commit(vec![write_set]).await.unwrap().remove(0).unwrap();
    }
    // These are messages of another node, of which only the last arrives.
    let (effect, written) = posted("r", MISSED);
    hub.deliver(vec![delivery(&member, vec![effect], vec![written])])
        .unwrap();
    while client.inbox.texts().is_empty() {
        tokio::task::yield_now().await;
    }
    let mut turns = 0;
    while client.inbox.texts().len() < usize::try_from(MISSED).unwrap() {
        hub.hold(member.clone(), other.clone()).unwrap();
        tokio::task::yield_now().await;
        turns += 1;
        assert!(turns < 50 * MISSED, "{} have come", client.inbox.texts().len());
    }
}
