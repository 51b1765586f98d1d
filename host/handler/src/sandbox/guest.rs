//! An instance between its creation and its end.

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;
use wasmtime::component::Instance;

use super::call::CallState;
use super::meter::GuestLimits;
use super::reset::Reset;

/// An instance and its wasmtime store. The instance is dropped after an event that fails in it.
pub(super) struct Guest {
    pub(super) store: Store<CallState>,
    /// Created by its first event.
    pub(super) instance: Option<Instance>,
    /// Present if it can be put back to its first state.
    pub(super) reset: Option<Reset>,
    pub(super) uses: u32,
}

impl Guest {
    pub(super) fn new(store: Store<CallState>) -> Self {
        Self {
            store,
            instance: None,
            reset: None,
            uses: 0,
        }
    }

    /// Renews all limits for the next event. The event itself follows with [`CallState::begin`].
    pub(super) fn renew_limits(&mut self, limits: &GuestLimits) {
        self.store.data_mut().meter.reset(limits);
        set_store_limits(&mut self.store, limits);
    }

    /// Puts the instance back to its first state after an event that succeeded. Returns whether that was possible.
    pub(super) async fn put_back(&mut self) -> bool {
        match &mut self.reset {
            Some(reset) => reset.run(&mut self.store).await,
            None => false,
        }
    }

    /// Bytes of all its linear memories.
    pub(super) fn memory(&self) -> usize {
        self.store.data().meter.memory()
    }
}

/// An instance and the permit for its slot. Fields drop in this order: wasmtime's pool must have room again before
/// another event gets the permit.
pub(super) struct PooledGuest {
    pub(super) guest: Guest,
    pub(super) slot: OwnedSemaphorePermit,
}

/// Sets the limits on time and on the bytes of a single transfer.
pub(super) fn set_store_limits(store: &mut Store<CallState>, limits: &GuestLimits) {
    store.set_hostcall_fuel(limits.transfer);
    store.set_epoch_deadline(1);
}
