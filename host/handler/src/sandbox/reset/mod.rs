//! Puts an instance back to its first state after an event, which costs less than a new instance.
//!
//! For a handler with `isolation = "fresh"` nothing of an event may survive it. A new instance for each event does that
//! at the cost of setting it up and of taking it down. Where it can be shown that nothing but one memory and some globals
//! can have changed ([`survey`]), the same instance is used again once both are what they were when it was new. The
//! component gets functions for that before it is compiled ([`instrument`], [`helper`]). The kernel tells which pages of
//! the memory were written to ([`pages`]); they get the bytes of the first state again.
//!
//! An instance is dropped as before if its event failed, if its memory has grown, if too many pages have changed, or if
//! anything here fails.

mod helper;
mod instrument;
mod pages;
mod shifts;
mod survey;

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, Instance, InstancePre, TypedFunc, WasmList};

use super::call::CallState;
pub(super) use pages::Pagemap;
pub(super) use shifts::{SHIFTS_BYTES, Shifts};

/// How the names begin that [`instrument`] adds.
pub(super) const NAME_PREFIX: &str = "parlance-reset";
/// Runs of consecutive pages that one call puts back. A small handler writes to its stack, its data and its heap.
const RUNS: usize = 4;
/// Most bytes that are put back after an event. Past that a new instance costs less.
const RESTORED_MAX: usize = 256 * 1024;
/// A deadline that no tick reaches, for the helper's functions, which have no loops.
const NO_DEADLINE: u64 = 1 << 40;

/// A component with what puts its instances back.
pub(super) struct Instrumented {
    pub(super) bytes: Vec<u8>,
    pub(super) shifts: Shifts,
}

/// Adds what puts a component's instances back, or returns `None` if that cannot be done for this component.
pub(super) fn instrument(original: &[u8]) -> Option<Instrumented> {
    let bytes = instrument::instrument(original)
        .inspect_err(|why| tracing::debug!(%why, "the component's instances are not put back, but made anew"))
        .ok()?;
    let shifts = Shifts::between(original, &bytes)?;
    Some(Instrumented { bytes, shifts })
}

/// What a component has for putting its instances back.
pub(super) struct ResetExports {
    /// `save`, `mend`, `aim` and `restore`.
    functions: [ComponentExportIndex; 4],
    pagemap: Arc<Pagemap>,
    first_memory: OnceLock<FirstMemory>,
}

/// The memory of a new instance. It is the same for each of the same size: an instance cannot call the host before its
/// first event, and all that it can learn until then is how much memory its tenant may have, by growing.
struct FirstMemory {
    /// Bytes of the whole memory.
    size: usize,
    /// Its bytes, up to the last one that is not zero.
    bytes: Bytes,
}

impl ResetExports {
    /// `None` if the component has none.
    pub(super) fn of(pre: &InstancePre<CallState>, pagemap: &Arc<Pagemap>) -> Option<Self> {
        let find = |name| pre.component().get_export_index(None, name);
        let [save, mend, aim, restore] = instrument::EXPORTS.map(find);
        Some(Self {
            functions: [save?, mend?, aim?, restore?],
            pagemap: pagemap.clone(),
            first_memory: OnceLock::new(),
        })
    }
}

/// A list of bytes that the host passes to `restore`.
type Bytes = Arc<[u8]>;

/// What an instance has for being put back.
pub(super) struct Reset {
    pagemap: Arc<Pagemap>,
    first_memory: Bytes,
    /// Where its memory is. It does not move unless it grows, and then the instance is dropped.
    address: usize,
    /// Bytes of its memory.
    bytes: usize,
    aim: TypedFunc<(u32, u32, u32, u32), ()>,
    restore: TypedFunc<(Bytes, Bytes, Bytes, Bytes), ()>,
    /// Where the lists of the last call went, and the lists. The next event mostly writes to the same pages.
    aimed: [Range<usize>; RUNS],
    lists: [Bytes; RUNS],
    /// A buffer for the runs of pages that were written to, in bytes.
    runs: Vec<Range<usize>>,
}

impl Reset {
    /// Keeps the first state of a new instance. Changes the store's limits on time and transfers. `None` if the instance
    /// differs from the first one of this component.
    ///
    /// # Errors
    /// When the helper cannot be called.
    pub(super) async fn prepare(
        exports: &ResetExports,
        store: &mut Store<CallState>,
        instance: &Instance,
    ) -> wasmtime::Result<Option<Self>> {
        lift_limits(store);
        let [save, mend, aim, restore] = &exports.functions;
        let save = instance.get_typed_func::<(), (WasmList<u8>,)>(&mut *store, save)?;
        let mend = instance.get_typed_func::<(), (u64,)>(&mut *store, mend)?;
        let (list,) = save.call_async(&mut *store, ()).await?;
        let memory = list.as_le_slice(&*store);
        let (address, bytes) = (memory.as_ptr().addr(), memory.len());
        let mut copy = exports.first_memory.get().is_none().then(|| memory.to_vec());
        let (taken,) = mend.call_async(&mut *store, ()).await?;
        if let Some(copy) = &mut copy
            && let Some(place) = copy.first_chunk_mut()
        {
            *place = taken.to_le_bytes();
        }
        let first_memory = exports.first_memory.get_or_init(|| FirstMemory {
            size: bytes,
            bytes: without_last_zeros(copy.unwrap_or_default()),
        });
        if first_memory.size != bytes {
            return Ok(None);
        }
        Ok(Some(Self {
            pagemap: exports.pagemap.clone(),
            first_memory: first_memory.bytes.clone(),
            address,
            bytes,
            aim: instance.get_typed_func(&mut *store, aim)?,
            restore: instance.get_typed_func(&mut *store, restore)?,
            aimed: Default::default(),
            lists: std::array::from_fn(|_| Bytes::default()),
            runs: Vec::new(),
        }))
    }

    /// Puts the instance back to its first state, after an event that succeeded. Changes the store's limits on time and
    /// transfers. Returns whether the instance may be used again.
    pub(super) async fn run(&mut self, store: &mut Store<CallState>) -> bool {
        if store.data().meter.memory() != self.bytes || !self.find_runs() {
            return false;
        }
        lift_limits(store);
        self.put_back(store).await.is_ok()
    }

    /// Finds the runs of pages that were written to. Returns `false` if there are too many, or the kernel does not tell.
    fn find_runs(&mut self) -> bool {
        self.pagemap.written(self.address, self.bytes, &mut self.runs).is_ok()
            && self.runs.iter().map(Range::len).sum::<usize>() <= RESTORED_MAX
    }

    async fn put_back(&mut self, store: &mut Store<CallState>) -> wasmtime::Result<()> {
        // Once without a run too, for the globals.
        for number in 0..self.runs.len().div_ceil(RUNS).max(1) {
            let mut runs = self.runs.iter().skip(number * RUNS).cloned();
            let aimed: [Range<usize>; RUNS] = std::array::from_fn(|_| runs.next().unwrap_or_default());
            if aimed != self.aimed {
                self.lists = aimed.clone().map(|run| self.first_bytes(run));
                let [a, b, c, d] = aimed.clone().map(|run| u32::try_from(run.start).unwrap_or(u32::MAX));
                self.aim.call_async(&mut *store, (a, b, c, d)).await?;
                self.aimed = aimed;
            }
            let [a, b, c, d] = self.lists.clone();
            self.restore.call_async(&mut *store, (a, b, c, d)).await?;
        }
        Ok(())
    }

    /// The bytes of the first state in a part of the memory.
    fn first_bytes(&self, part: Range<usize>) -> Bytes {
        let known = self.first_memory.get(part.start..).unwrap_or_default();
        let mut bytes: Vec<u8> = known.iter().copied().take(part.len()).collect();
        bytes.resize(part.len(), 0);
        bytes.into()
    }
}

/// Lets the helper's functions run to their end. The next event sets its own limits.
fn lift_limits(store: &mut Store<CallState>) {
    store.set_epoch_deadline(NO_DEADLINE);
    store.set_hostcall_fuel(usize::MAX);
}

fn without_last_zeros(mut memory: Vec<u8>) -> Bytes {
    let end = memory.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    memory.truncate(end);
    memory.into()
}

#[cfg(test)]
mod tests;
