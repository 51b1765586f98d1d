//! Finds the pages of a memory that were written to, with the kernel's PAGEMAP_SCAN (ioctl_pagemap_scan(2), Linux 6.7).

use std::fs::File;
use std::io;
use std::ops::Range;

/// Most runs of pages in one answer. More are not worth putting back.
const ANSWER_RUNS: usize = 64;

/// The kernel's `struct page_region`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// The kernel's `struct pm_scan_arg`.
#[derive(Default)]
#[repr(C)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    regions: u64,
    regions_max: u64,
    pages_max: u64,
    inverted: u64,
    all_of: u64,
    any_of: u64,
    returned: u64,
}

/// The number of the request: `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: u64 = 0xc060_6610;
/// The page is that of a file: a memory begins as a private mapping of its image, and the first write to a page makes a
/// copy of it that belongs to no file.
const OF_FILE: u64 = 1 << 2;
const PRESENT: u64 = 1 << 3;
const SWAPPED: u64 = 1 << 4;
/// The page is the kernel's page of zeros, which all pages share that were read and never written to.
const ZERO: u64 = 1 << 5;

/// The kernel's list of this process's pages.
#[derive(Debug)]
pub(in crate::sandbox) struct Pagemap(File);

impl Pagemap {
    /// `None` if the kernel does not tell, here or at all.
    pub(in crate::sandbox) fn open() -> Option<Self> {
        let file = File::open("/proc/self/pagemap").ok()?;
        scan(&file, 0..0, &mut Vec::new()).is_ok().then_some(Self(file))
    }

    /// Finds the pages of the memory that were written to, as runs of bytes within the memory, ascending.
    ///
    /// # Errors
    /// When the kernel does not tell, or there are too many runs.
    pub(super) fn written(&self, address: usize, bytes: usize, runs: &mut Vec<Range<usize>>) -> io::Result<()> {
        scan(&self.0, address..address.saturating_add(bytes), runs)
    }
}

fn scan(pagemap: &File, addresses: Range<usize>, runs: &mut Vec<Range<usize>>) -> io::Result<()> {
    let number = |address: usize| u64::try_from(address).unwrap_or(u64::MAX);
    let mut regions = [Region::default(); ANSWER_RUNS];
    let mut scan = Scan {
        size: number(size_of::<Scan>()),
        start: number(addresses.start),
        end: number(addresses.end),
        regions: number(regions.as_mut_ptr().expose_provenance()),
        regions_max: number(regions.len()),
        // Neither the file's nor the zero page, and there at all.
        inverted: OF_FILE | ZERO,
        all_of: OF_FILE | ZERO,
        any_of: PRESENT | SWAPPED,
        returned: PRESENT | SWAPPED,
        ..Scan::default()
    };
    let found = request(pagemap, &mut scan)?;
    if scan.walk_end < scan.end {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    runs.clear();
    let offset = |address: u64| usize::try_from(address).map_or(usize::MAX, |address| address - addresses.start);
    for region in regions.iter().take(found) {
        let run = offset(region.start)..offset(region.end);
        match runs.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ => runs.push(run),
        }
    }
    Ok(())
}

#[allow(
    unsafe_code,
    reason = "the kernel reads one struct of ours, and writes to it and to an array of ours"
)]
fn request(pagemap: &File, scan: &mut Scan) -> io::Result<usize> {
    use std::os::fd::AsRawFd as _;
    // SAFETY: `scan` is the kernel's struct, alone in its place; it names an array that lives in the caller, has as many
    // elements as it says, and consists of numbers.
    let found = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN, std::ptr::from_mut(scan)) };
    usize::try_from(found).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_were_written_to_are_found() {
        let pagemap = Pagemap::open().expect("Linux 6.7 and /proc");
        let page = rustix::param::page_size();
        let mut memory = vec![0_u8; 64 * page];
        let start = memory.as_ptr().addr().next_multiple_of(page) - memory.as_ptr().addr();
        let mut runs = Vec::new();
        let address = memory.as_ptr().addr() + start;
        pagemap.written(address, 32 * page, &mut runs).unwrap();
        let before = runs.clone();
        // Reading is not writing.
        assert!(memory[start..start + 32 * page].iter().all(|byte| *byte == 0));
        pagemap.written(address, 32 * page, &mut runs).unwrap();
        assert_eq!(runs, before);
        for number in [3, 4, 31] {
            memory[start + number * page] = 1;
        }
        pagemap.written(address, 32 * page, &mut runs).unwrap();
        let covers = |number: usize| runs.iter().any(|run| run.contains(&(number * page)));
        assert!(covers(3) && covers(4) && covers(31), "{runs:?}");
    }
}
