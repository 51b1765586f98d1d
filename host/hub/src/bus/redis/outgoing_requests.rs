//! Requests of this node to every server of the fleet: to this node's own hub, to other nodes, and to Node servers.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::adapter_message::{OutgoingRequest, Response};
use super::redis_bus::{RedisBus, random_id};
use super::{BusStatus, ClientSelector, FleetBus, Inbound, RemoteSocket, Responses};
use parlance_types::id::TenantId;

/// Responses to one request that may wait to be read. Further ones are dropped.
const RESPONSES_MAX: usize = 4096;

/// Requests that wait for responses, by id.
#[derive(Default)]
pub(super) struct PendingRequests {
    requests: Mutex<HashMap<String, mpsc::Sender<Response>>>,
}

impl PendingRequests {
    /// Hands a response to the request with this id. Drops it when no such request is pending.
    pub(super) fn respond(&self, id: &str, response: Response) {
        let pending = self.requests.lock().get(id).cloned();
        if let Some(pending) = pending {
            // It is full when some server sends more responses than it was asked for. Those are dropped.
            let _ = pending.try_send(response);
        }
    }
}

/// One pending request. Dropping it ends the wait.
struct PendingRequest<'p> {
    pending: &'p PendingRequests,
    id: String,
    responses: mpsc::Receiver<Response>,
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        self.pending.requests.lock().remove(&self.id);
    }
}

#[async_trait::async_trait]
impl FleetBus for RedisBus {
    fn status(&self) -> BusStatus {
        self.shared.counts.read(self.shared.queue.len())
    }

    async fn fetch_sockets(&self, tenant: &TenantId, clients: ClientSelector) -> Responses<RemoteSocket> {
        let (reply, own) = oneshot::channel();
        let local = clients.clone();
        self.deliver_own(tenant, Inbound::FetchSockets { clients: local, reply });
        let (responses, complete) = self.request(tenant, &OutgoingRequest::FetchSockets(clients)).await;
        let own = tokio::time::timeout(self.shared.settings.request_timeout, own).await;
        let mut items = own.ok().and_then(Result::ok).unwrap_or_default();
        items.extend(responses.into_iter().flat_map(|response| match response {
            Response::Sockets(sockets) => sockets,
            _ => Vec::new(),
        }));
        Responses { items, complete }
    }

    fn disconnect_sockets(&self, tenant: &TenantId, clients: ClientSelector, close: bool) {
        self.send_request(
            tenant,
            &OutgoingRequest::DisconnectSockets {
                clients: clients.clone(),
                close,
            },
        );
        self.deliver_own(tenant, Inbound::DisconnectSockets { clients, close });
    }

    fn server_side_emit(&self, tenant: &TenantId, arguments: &RawValue) {
        self.send_request(tenant, &OutgoingRequest::ServerSideEmit(arguments.get().to_owned()));
    }

    async fn server_side_emit_with_ack(&self, tenant: &TenantId, arguments: &RawValue) -> Responses<String> {
        let request = OutgoingRequest::ServerSideEmit(arguments.get().to_owned());
        let (responses, complete) = self.request(tenant, &request).await;
        let items = responses.into_iter().filter_map(|response| match response {
            Response::Data(data) => Some(data),
            _ => None,
        });
        Responses {
            items: items.collect(),
            complete,
        }
    }
}

impl RedisBus {
    /// Gives this node's hub what the other servers get through Redis.
    fn deliver_own(&self, tenant: &TenantId, inbound: Inbound) {
        self.shared.deliver_own(&tenant.namespace(), inbound);
    }

    fn send_request(&self, tenant: &TenantId, request: &OutgoingRequest) {
        let written = self.shared.codec.request(None, tenant, request);
        self.shared.send(tenant.namespace(), written);
    }

    fn add_pending(&self) -> Option<PendingRequest<'_>> {
        let id = random_id().ok()?;
        let (sender, responses) = mpsc::channel(RESPONSES_MAX);
        self.shared.pending.requests.lock().insert(id.clone(), sender);
        Some(PendingRequest {
            pending: &self.shared.pending,
            id,
            responses,
        })
    }

    /// How many other servers serve the tenant's namespace. `None` when Redis does not answer.
    async fn count_others(&self, tenant: &TenantId) -> Option<u64> {
        let mut commands = self.shared.commands.lock().clone()?;
        let namespace = tenant.namespace();
        let codec = &self.shared.codec;
        let channels = [codec.requests(&namespace)];
        let listeners = commands.listeners(codec.adapter, &channels);
        let answer = tokio::time::timeout(self.shared.settings.request_timeout, listeners).await;
        let own = u64::from(self.shared.subscriptions.is_connected(&namespace));
        let all = answer.ok()?.ok()?.first().copied()?;
        Some(all.saturating_sub(own))
    }

    /// Sends a request to the other servers and waits for their responses. Gives them, and whether all servers
    /// responded.
    async fn request(&self, tenant: &TenantId, request: &OutgoingRequest) -> (Vec<Response>, bool) {
        let mut responses = Vec::new();
        let Some(mut pending) = self.add_pending() else {
            return (responses, false);
        };
        let encoded = self.shared.codec.request(Some(&pending.id), tenant, request);
        if matches!(encoded, Ok(None)) {
            // The request selects no clients, so there is nothing to wait for.
            return (responses, true);
        }
        let others = match self.count_others(tenant).await {
            None => return (responses, false),
            Some(0) => return (responses, true),
            Some(others) => others,
        };
        if !self.shared.send(tenant.namespace(), encoded) {
            return (responses, false);
        }
        let deadline = Instant::now() + self.shared.settings.request_timeout;
        while (responses.len() as u64) < others {
            match tokio::time::timeout_at(deadline, pending.responses.recv()).await {
                Ok(Some(response)) => responses.push(response),
                Ok(None) | Err(_) => return (responses, false),
            }
        }
        (responses, true)
    }
}
