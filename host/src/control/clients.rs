//! Operations on a tenant's clients, for back ends and operators. They reach the clients of all nodes and of Node
//! servers.

use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::api::{ClientsRequest, EmitRequest, ServerAnswers, ServerEmitRequest, SocketView, SocketsView};
use super::{Actor, Control, ControlError, ControlResult, audit_entry};
use crate::tenant::Tenant;
use parlance_handler::capability::{Fault, Packet};
use parlance_hub::bus::{
    Broadcast, BroadcastTarget, ClientSelector, Inbound, RemoteSocket, Responses, TargetRoom, USER_ROOM,
};
use parlance_types::id::{RoomId, UserId};

/// The largest number of rooms and users in one request.
const TARGETS_MAX: usize = 100;

/// How much longer than the other servers this node may take to answer itself.
const OWN_ANSWER: Duration = Duration::from_secs(1);

impl Control {
    /// Finds the connections of rooms and users, on all nodes.
    ///
    /// # Errors
    /// The request names no client, or an invalid room or user.
    pub async fn sockets(&self, tenant: &str, whose: &ClientsRequest) -> ControlResult<SocketsView> {
        let clients = selection(whose, &ClientsRequest::default())?;
        let tenant = self.served_tenant(tenant).await?;
        let Responses { items, complete } = match self.bus.get() {
            Some(bus) => bus.fetch_sockets(tenant.id(), clients).await,
            None => {
                let (reply, found) = oneshot::channel();
                self.send_to_hub(&tenant, Inbound::FetchSockets { clients, reply })
                    .await?;
                let items = found.await.map_err(|_| tenant_closing())?;
                Responses { items, complete: true }
            }
        };
        Ok(SocketsView {
            sockets: items.into_iter().map(socket).collect(),
            complete,
        })
    }

    /// Sends an event to the clients of rooms and users, on all nodes. History does not keep it.
    ///
    /// # Errors
    /// The request names no client, or an invalid room or user; the event is invalid or larger than `sandbox.emit`; or
    /// the tenant is over its events a second.
    pub async fn emit(&self, tenant: &str, request: &EmitRequest) -> ControlResult<()> {
        let ClientSelector { to, except } = selection(&request.to, &request.except)?;
        let tenant = self.served_tenant(tenant).await?;
        let packet = packet(&tenant, &request.event, &request.arguments)?;
        let broadcast = Broadcast::event(packet, to, except);
        let bus = self.bus.get().cloned();
        // In a task, so that the bytes count as in flight until they are sent, also when the request is given up.
        let sending = self.tasks.spawn("events for clients", async move {
            let _in_flight_permit = tenant.in_flight_permit_for_bytes(broadcast.packet.text.len()).await;
            if let Some(bus) = bus {
                bus.broadcast(tenant.id(), broadcast.clone());
            }
            let told = tenant.hub.receive(Inbound::Broadcast(broadcast));
            told.map_err(|_| tenant_closing())?;
            tenant.hub.flush().await.map_err(|_| tenant_closing())
        });
        sending.await.map_err(|_| tenant_closing())?
    }

    /// Disconnects the clients of rooms and users, on all nodes. They may connect again; revoking their tokens keeps
    /// them out.
    ///
    /// # Errors
    /// The request names no client, or an invalid room or user.
    pub async fn disconnect(&self, actor: &Actor, tenant: &str, whose: &ClientsRequest) -> ControlResult<()> {
        let clients = selection(whose, &ClientsRequest::default())?;
        let tenant = self.served_tenant(tenant).await?;
        self.record_audit(actor, &tenant, "clients.disconnect", &json!({ "whose": whose }))
            .await?;
        match self.bus.get() {
            Some(bus) => {
                bus.disconnect_sockets(tenant.id(), clients, true);
                Ok(())
            }
            None => {
                self.send_to_hub(&tenant, Inbound::DisconnectSockets { clients, close: true })
                    .await
            }
        }
    }

    /// Emits to the servers of the fleet, not to their clients: `serverSideEmit` of Node servers. With `answers` it
    /// waits for each server's answer.
    ///
    /// # Errors
    /// The event is invalid or larger than `sandbox.emit`, or there is no fleet.
    pub async fn server_emit(&self, tenant: &str, request: &ServerEmitRequest) -> ControlResult<ServerAnswers> {
        let bus = self
            .bus
            .get()
            .ok_or_else(|| ControlError::Conflict("there are no other servers: redis.url is not set".to_owned()))?;
        let tenant = self.served_tenant(tenant).await?;
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
            self.send_to_hub(&tenant, own(None)).await?;
            return Ok(ServerAnswers::default());
        }
        let (reply, answered) = oneshot::channel();
        self.send_to_hub(&tenant, own(Some(reply))).await?;
        let Responses { mut items, complete } = bus.server_side_emit_with_ack(tenant.id(), arguments).await;
        // This node's handler has had as much time as the other servers: all were asked at once.
        let answered = tokio::time::timeout(OWN_ANSWER, answered).await;
        let complete = complete && answered.is_ok();
        items.extend(answered.ok().and_then(Result::ok));
        let answers = items.iter().map(|text| serde_json::from_str(text).unwrap_or_default());
        Ok(ServerAnswers {
            answers: answers.collect(),
            complete,
        })
    }

    /// Records an action in the audit log before it is done. Emitted events are not recorded: they change nothing, and
    /// there may be thousands a second.
    pub(super) async fn record_audit(
        &self,
        actor: &Actor,
        tenant: &Tenant,
        action: &str,
        detail: &Value,
    ) -> ControlResult<()> {
        let audit = audit_entry(actor, tenant.id().as_str(), action, detail);
        self.deps.catalog.put(Vec::new(), vec![audit]).await??;
        Ok(())
    }

    pub(super) async fn served_tenant(&self, tenant: &str) -> ControlResult<std::sync::Arc<Tenant>> {
        Ok(self.state.lock().await.actual(tenant)?.tenant.clone())
    }

    async fn send_to_hub(&self, tenant: &Tenant, inbound: Inbound) -> ControlResult<()> {
        tenant.hub.receive(inbound).map_err(|_| tenant_closing())
    }
}

pub(super) fn tenant_closing() -> ControlError {
    ControlError::Conflict("the tenant is being closed".to_owned())
}

/// The event as a packet, charged to the rate that the tenant's clients and back ends share.
fn packet(tenant: &Tenant, event: &str, arguments: &[Box<RawValue>]) -> ControlResult<Packet> {
    tenant.admit()?;
    let arguments = serde_json::to_string(arguments).map_err(|error| ControlError::invalid(error.to_string()))?;
    let limits = tenant.settings().limits.call.clone();
    // The limit is that of a handler's emit, since each client may have many of them waiting.
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

fn selection(to: &ClientsRequest, except: &ClientsRequest) -> ControlResult<ClientSelector> {
    let to = targets(to)?;
    if to.is_empty() {
        return Err(ControlError::invalid("name the clients: rooms, users, or both"));
    }
    Ok(ClientSelector {
        to: BroadcastTarget::Rooms(to),
        except: targets(except)?,
    })
}

fn targets(named: &ClientsRequest) -> ControlResult<Vec<TargetRoom>> {
    if named.rooms.len() + named.users.len() > TARGETS_MAX {
        return Err(ControlError::invalid(format!("at most {TARGETS_MAX} rooms and users")));
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
    // Without the rooms that stand for the socket and for its user.
    rooms.retain(|room| *room != id && !room.starts_with(USER_ROOM));
    SocketView {
        address: handshake.get("address").and_then(Value::as_str).map(str::to_owned),
        data: serde_json::from_str(&data).unwrap_or_default(),
        id,
        rooms,
    }
}
