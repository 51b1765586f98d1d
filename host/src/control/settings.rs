//! Converts a tenant's configuration to the settings that other modules use.

use crate::auth::Authenticator;
use crate::capability::CallLimits;
use crate::config::{Limits, Sandbox, TenantConfig};
use crate::id::InvalidId;
use crate::sandbox::GuestLimits;
use crate::store::StorageQuota;
use crate::tenant::{ClientLimits, Settings, TenantQuota};

/// All settings of a tenant but its handlers. `before` is its authenticator so far, whose fetched keys are kept.
///
/// # Errors
/// When the name is not a valid tenant name.
pub(super) fn settings(config: &TenantConfig, before: Option<&Authenticator>) -> Result<Settings, InvalidId> {
    if let Some(warning) = config.warning() {
        tracing::warn!("{warning}");
    }
    let authenticator = match before {
        Some(before) => before.with_policy(&config.auth),
        None => Authenticator::new(&config.name, &config.auth)?,
    };
    Ok(Settings::new(
        authenticator,
        config.clients.parser,
        client_limits(&config.limits),
        call_limits(&config.limits, &config.sandbox),
        guest_limits(&config.sandbox),
        quota(config),
    ))
}

fn client_limits(limits: &Limits) -> ClientLimits {
    let page = |messages: usize| u32::try_from(messages).unwrap_or(u32::MAX);
    ClientLimits {
        packet: limits.packet,
        event_name: limits.event_name,
        room_id: limits.room_id,
        content: limits.content,
        metadata: limits.metadata,
        client_id: limits.client_id,
        json_depth: limits.json_depth,
        history_page: page(limits.history_page),
        history_page_max: page(limits.history_page_max),
        presence_users: limits.presence_users,
        typing_timeout: limits.typing_timeout,
        presence_grace: limits.presence_grace,
        queue_events: limits.queue_events,
        queue_bytes: limits.queue_bytes,
        events_per_second: limits.events_per_second,
        event_burst: limits.event_burst,
        bytes_per_second: limits.bytes_per_second,
        byte_burst: limits.byte_burst,
    }
}

fn call_limits(limits: &Limits, sandbox: &Sandbox) -> CallLimits {
    CallLimits {
        content: limits.content,
        metadata: limits.metadata,
        client_id: limits.client_id,
        event_name: limits.event_name,
        emit: sandbox.emit,
        history_page_max: u32::try_from(limits.history_page_max).unwrap_or(u32::MAX),
        presence_users: limits.presence_users,
        rooms_per_connection: limits.rooms_per_connection,
        connection_data: limits.connection_data,
        effects: sandbox.effects,
        output: sandbox.output,
        log_bytes: sandbox.log_bytes,
    }
}

/// The limits of one call of a handler.
#[must_use]
pub fn guest_limits(sandbox: &Sandbox) -> GuestLimits {
    GuestLimits {
        guest_time: sandbox.guest_time,
        wall_time: sandbox.wall_time,
        memory: sandbox.memory,
        host_calls: u32::try_from(sandbox.host_calls).unwrap_or(u32::MAX),
        transfer: sandbox.transfer,
        transfer_total: sandbox.transfer_total,
        http_requests: u32::try_from(sandbox.http_requests).unwrap_or(u32::MAX),
        http_bytes: sandbox.http_bytes,
    }
}

fn quota(config: &TenantConfig) -> TenantQuota {
    let quota = &config.quota;
    TenantQuota {
        connections: quota.connections,
        connections_per_user: quota.connections_per_user,
        events_per_second: quota.events_per_second,
        event_burst: quota.event_burst,
        guest_cpu: quota.guest_cpu,
        instances: quota.instances,
        log_bytes_per_second: quota.log_bytes_per_second,
        http_requests_per_second: quota.http_requests_per_second,
        write_bytes_per_second: quota.write_bytes_per_second,
        outbound_bytes_per_second: quota.outbound_bytes_per_second,
        queued_bytes: quota.queued_bytes,
        in_flight_bytes: quota.in_flight_bytes,
        storage: StorageQuota {
            message_bytes: quota.message_bytes as u64,
            kv_bytes: quota.kv_bytes as u64,
            rooms: quota.rooms as u64,
        },
        handlers: quota.handlers,
        versions: quota.versions,
        component_bytes: quota.component_bytes,
        component_size: config.sandbox.component_size,
    }
}
