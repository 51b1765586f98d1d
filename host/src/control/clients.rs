//! What back ends and operators do with a tenant's clients, on whichever node they are, those of Node servers too.

use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::view::{ClientsRequest, EmitRequest, ServerAnswers, ServerEmitRequest, SocketView, SocketsView};
use super::{Actor, Answer, Control, ControlError, entry};
use crate::capability::{Fault, Packet};
use crate::cluster::bus::{
    Broadcast, BroadcastTarget, Bus as _, ClientSelector, Inbound, RemoteSocket, Responses, TargetRoom, USER_ROOM,
};
use crate::id::{RoomId, UserId};
use crate::tenant::Tenant;

/// Most rooms and users that one request names.
const PLACES_MAX: usize = 100;

/// How much longer than the others this node may take for its own answer.
const OWN_ANSWER: Duration = Duration::from_secs(1);

impl Control {
    /// The connections of rooms and users, on all nodes.
    ///
    /// # Errors
    /// Nobody is named, or what is named makes no sense.
    pub async fn sockets(&self, tenant: &str, whose: &ClientsRequest) -> Answer<SocketsView> {
        let clients = selection(whose, &ClientsRequest::default())?;
        let tenant = self.serving(tenant).await?;
        let Responses { items, complete } = match self.bus.get() {
            Some(bus) => bus.fetch_sockets(tenant.id(), clients).await,
            None => {
                let (reply, found) = oneshot::channel();
                self.hear(&tenant, Inbound::FetchSockets { clients, reply }).await?;
                let items = found.await.map_err(|_| stopping())?;
                Responses { items, complete: true }
            }
        };
        Ok(SocketsView {
            sockets: items.into_iter().map(socket).collect(),
            complete,
        })
    }

    /// Sends an event to the clients of rooms and users, on all nodes. It leaves no trace in history.
    ///
    /// # Errors
    /// Nobody is named, what is named or sent makes no sense or is larger than `sandbox.emit`, or the tenant is
    /// over its events a second.
    pub async fn emit(&self, tenant: &str, request: &EmitRequest) -> Answer<()> {
        let ClientSelector { to, except } = selection(&request.to, &request.except)?;
        let tenant = self.serving(tenant).await?;
        let packet = packet(&tenant, &request.event, &request.arguments)?;
        let broadcast = Broadcast::event(packet, to, except);
        let bus = self.bus.get().cloned();
        // On a task of its own: whoever sends more than is sent on waits, also when nobody waits for the answer.
        let sending = tokio::spawn(async move {
            let _in_flight_permit = tenant.in_flight_permit_for_bytes(broadcast.packet.text.len()).await;
            if let Some(bus) = bus {
                bus.broadcast(tenant.id(), broadcast.clone());
            }
            let told = tenant.hub.receive(Inbound::Broadcast(broadcast));
            told.map_err(|_| stopping())?;
            tenant.hub.flush().await.map_err(|_| stopping())
        });
        sending.await.map_err(|_| stopping())?
    }

    /// Disconnects the clients of rooms and users, on all nodes. They may connect again: revoke their tokens to keep
    /// them out.
    ///
    /// # Errors
    /// Nobody is named, or what is named makes no sense.
    pub async fn disconnect(&self, actor: &Actor, tenant: &str, whose: &ClientsRequest) -> Answer<()> {
        let clients = selection(whose, &ClientsRequest::default())?;
        let tenant = self.serving(tenant).await?;
        self.note(actor, &tenant, "clients.disconnect", &json!({ "whose": whose }))
            .await?;
        match self.bus.get() {
            Some(bus) => {
                bus.disconnect_sockets(tenant.id(), clients, true);
                Ok(())
            }
            None => {
                self.hear(&tenant, Inbound::DisconnectSockets { clients, close: true })
                    .await
            }
        }
    }

    /// Emits to the other servers of the fleet, not to their clients: what Node servers know as `serverSideEmit`.
    /// With `answers` each of them is waited for.
    ///
    /// # Errors
    /// What is sent makes no sense or is larger than `sandbox.emit`, or there is no fleet.
    pub async fn server_emit(&self, tenant: &str, request: &ServerEmitRequest) -> Answer<ServerAnswers> {
        let bus = self
            .bus
            .get()
            .ok_or_else(|| ControlError::Conflict("there are no other servers: redis.url is not set".to_owned()))?;
        let tenant = self.serving(tenant).await?;
        let packet = packet(&tenant, &request.event, &request.arguments)?;
        let text = std::str::from_utf8(&packet.text).map_err(|error| ControlError::invalid(error.to_string()))?;
        let arguments: &RawValue =
            serde_json::from_str(text).map_err(|error| ControlError::invalid(error.to_string()))?;
        let own = |reply| Inbound::ServerSideEmit {
            arguments: text.to_owned(),
            reply,
        };
        if !request.answers {
            bus.server_side_emit(tenant.id(), arguments);
            self.hear(&tenant, own(None)).await?;
            return Ok(ServerAnswers::default());
        }
        let (reply, answered) = oneshot::channel();
        self.hear(&tenant, own(Some(reply))).await?;
        let Responses { mut items, complete } = bus.server_side_emit_with_ack(tenant.id(), arguments).await;
        // This node's handler had as much time as the other servers, since both were asked at once.
        let answered = tokio::time::timeout(OWN_ANSWER, answered).await;
        let complete = complete && answered.is_ok();
        items.extend(answered.ok().and_then(Result::ok));
        let answers = items.iter().map(|text| serde_json::from_str(text).unwrap_or_default());
        Ok(ServerAnswers {
            answers: answers.collect(),
            complete,
        })
    }

    /// Keeps who does what to clients, before it is done. Events are not kept: they change nothing, and there may be
    /// thousands of them in a second.
    async fn note(&self, actor: &Actor, tenant: &Tenant, action: &str, detail: &Value) -> Answer<()> {
        let audit = entry(actor, tenant.id().as_str(), action, detail);
        self.parts.catalog.put(Vec::new(), vec![audit]).await??;
        Ok(())
    }

    async fn serving(&self, tenant: &str) -> Answer<std::sync::Arc<Tenant>> {
        Ok(self.state.lock().await.live(tenant)?.tenant.clone())
    }

    async fn hear(&self, tenant: &Tenant, inbound: Inbound) -> Answer<()> {
        tenant.hub.receive(inbound).map_err(|_| stopping())
    }
}

fn stopping() -> ControlError {
    ControlError::Conflict("the tenant is being closed".to_owned())
}

/// What a tenant's clients may send at once and in a second holds for its back ends together with them.
fn packet(tenant: &Tenant, event: &str, arguments: &[Box<RawValue>]) -> Answer<Packet> {
    tenant.admit().map_err(|error| ControlError::Limited {
        retry_after_ms: error.retry_after_ms().unwrap_or(1),
        why: error.message.into_owned(),
    })?;
    let arguments = serde_json::to_string(arguments).map_err(|error| ControlError::invalid(error.to_string()))?;
    let limits = tenant.settings().limits.call.clone();
    // As of its handlers: each of its clients may have many of them waiting.
    if arguments.len() > limits.effects.emit {
        return Err(ControlError::TooLarge(format!(
            "the arguments have {} bytes; at most {} are allowed (sandbox.emit)",
            arguments.len(),
            limits.effects.emit
        )));
    }
    Packet::new(event, &arguments, Vec::new(), limits.client.event_name).map_err(|fault| match fault {
        Fault::Invalid(why) => ControlError::invalid(why),
        other => ControlError::invalid(other.to_string()),
    })
}

fn selection(to: &ClientsRequest, except: &ClientsRequest) -> Answer<ClientSelector> {
    let to = places(to)?;
    if to.is_empty() {
        return Err(ControlError::invalid("say whom: rooms, users, or both"));
    }
    Ok(ClientSelector {
        to: BroadcastTarget::Rooms(to),
        except: places(except)?,
    })
}

fn places(named: &ClientsRequest) -> Answer<Vec<TargetRoom>> {
    if named.rooms.len() + named.users.len() > PLACES_MAX {
        return Err(ControlError::invalid(format!("at most {PLACES_MAX} rooms and users")));
    }
    let room = |text: &String| {
        let room = RoomId::new(text).map_err(|error| ControlError::invalid(format!("rooms: {error}")))?;
        Ok(TargetRoom::RoomOrSocket(room.as_str().into()))
    };
    let user = |text: &String| {
        let user = UserId::new(text).map_err(|error| ControlError::invalid(format!("users: {error}")))?;
        Ok(TargetRoom::User(user))
    };
    named
        .rooms
        .iter()
        .map(room)
        .chain(named.users.iter().map(user))
        .collect()
}

fn socket(socket: RemoteSocket) -> SocketView {
    let RemoteSocket {
        id,
        mut rooms,
        handshake,
        data,
    } = socket;
    let handshake: Value = serde_json::from_str(&handshake).unwrap_or_default();
    // Rooms that stand for the socket itself and for its user.
    rooms.retain(|room| *room != id && !room.starts_with(USER_ROOM));
    SocketView {
        address: handshake.get("address").and_then(Value::as_str).map(str::to_owned),
        data: serde_json::from_str(&data).unwrap_or_default(),
        id,
        rooms,
    }
}
