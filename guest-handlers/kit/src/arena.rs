//! The allocator of an instance that lives for one event: a bump pointer over static memory.
//!
//! It saves the host work: `memory.grow` in a fresh instance costs the kernel a change of page protection and its
//! undoing, several times the cost of the handler itself. So the first [`ARENA`] bytes are part of the initial memory,
//! and only a handler that needs more grows it.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{self, null_mut};

/// Bytes that are available without growing: enough for three messages of the largest size.
const ARENA: usize = 64 * 1024;
/// A WebAssembly page, in bytes.
const PAGE: usize = 64 * 1024;
/// Fewest pages to grow by, so that a handler which needs much memory seldom grows it.
const GROW: usize = 8;

#[repr(align(16))]
struct Bytes(UnsafeCell<[u8; ARENA]>);

/// The arena, with the start of the next block and the end of the current region. Both are 0 before the first
/// allocation.
struct Arena {
    bytes: Bytes,
    next: UnsafeCell<usize>,
    end: UnsafeCell<usize>,
}

// SAFETY: a component has one thread.
unsafe impl Sync for Arena {}

#[global_allocator]
static ARENA_ALLOCATOR: Arena = Arena {
    bytes: Bytes(UnsafeCell::new([0; ARENA])),
    next: UnsafeCell::new(0),
    end: UnsafeCell::new(0),
};

impl Arena {
    /// Allocates `size` bytes aligned to `align`, in the current region or in newly grown memory.
    ///
    /// # Safety
    /// No other call may be running. A component has one thread, and this is not reentrant.
    unsafe fn bump(&self, size: usize, align: usize) -> *mut u8 {
        unsafe {
            let (next, end) = (&mut *self.next.get(), &mut *self.end.get());
            if *end == 0 {
                *next = self.bytes.0.get() as usize;
                *end = *next + ARENA;
            }
            let mut start = (*next + align - 1) & !(align - 1);
            match start.checked_add(size) {
                Some(stop) if stop <= *end => {}
                _ => {
                    let Some(pages) = size.checked_add(align + PAGE - 1).map(|bytes| (bytes / PAGE).max(GROW)) else {
                        return null_mut();
                    };
                    let before = core::arch::wasm32::memory_grow::<0>(pages);
                    if before == usize::MAX {
                        return null_mut();
                    }
                    *end = (before + pages) * PAGE;
                    start = (before * PAGE + align - 1) & !(align - 1);
                }
            }
            *next = start + size;
            start as *mut u8
        }
    }

    /// Whether the block is the most recent one, which can still grow or be freed.
    unsafe fn is_last(&self, block: *mut u8, size: usize) -> bool {
        unsafe { block as usize + size == *self.next.get() }
    }
}

// SAFETY: blocks do not overlap, since the pointer only moves past allocated blocks. Only the most recent block moves
// it back or grows in place.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { self.bump(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe {
            if self.is_last(block, layout.size()) {
                *self.next.get() = block as usize;
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe {
            if self.is_last(block, layout.size()) && (block as usize).saturating_add(size) <= *self.end.get() {
                *self.next.get() = block as usize + size;
                return block;
            }
            if size <= layout.size() {
                return block;
            }
            let moved = self.bump(size, layout.align());
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size());
            }
            moved
        }
    }
}
