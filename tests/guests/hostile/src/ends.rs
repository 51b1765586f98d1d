//! The ways in which an event may end.

use std::hint::black_box;

use parlance_guest::log::{self, Level};
use parlance_guest::{Rejection, ambient};

/// Bytes of each block of a large allocation.
const BLOCK: usize = 64 * 1024;

/// Ends the event in this way. `count` is the amount, where there is one.
pub(crate) fn come_to(end: &str, count: u32) -> Result<(), Rejection> {
    match end {
        "ok" => Ok(()),
        "reject" => Err(Rejection::Denied("as told".into())),
        "trap" => panic!("as told"),
        "loop" => loop {
            black_box(());
        },
        "memory" => {
            let mut kept = Vec::new();
            loop {
                kept.push(black_box(vec![1u8; BLOCK]));
            }
        }
        "stack" => {
            black_box(descend(black_box(u64::MAX)));
            Ok(())
        }
        "shadow-stack" => {
            black_box(descend_in_memory(black_box(u64::MAX)));
            Ok(())
        }
        "host-calls" => {
            for _ in 0..count {
                black_box(ambient::now_ms());
            }
            Ok(())
        }
        "transfer" => {
            log::write(Level::Info, &"x".repeat(count as usize));
            Ok(())
        }
        _ => Err(Rejection::Invalid(format!("no such end: {end}"))),
    }
}

/// Overflows the stack on the host's side. Work after each call keeps the compiler from turning the recursion into a
/// loop.
#[inline(never)]
fn descend(depth: u64) -> u64 {
    if depth == 0 {
        0
    } else {
        descend(depth - 1).rotate_left(7) ^ depth
    }
}

/// Overflows the shadow stack in the guest's memory, which holds variables whose address is taken.
#[inline(never)]
fn descend_in_memory(depth: u64) -> u64 {
    let kept = black_box([depth; 16]);
    if depth == 0 {
        0
    } else {
        descend_in_memory(depth - 1).rotate_left(7) ^ kept.iter().sum::<u64>()
    }
}

/// Allocates `count` blocks at once, checks that each keeps its contents, and returns their size.
pub(crate) fn grow(count: u32) -> usize {
    let blocks: Vec<Vec<u8>> = (0..count).map(|n| black_box(vec![n.to_le_bytes()[0]; BLOCK])).collect();
    let sound = |(n, block): (u32, &Vec<u8>)| block.iter().all(|byte| *byte == n.to_le_bytes()[0]);
    (0..)
        .zip(&blocks)
        .filter(|one| sound(*one))
        .map(|(_, block)| block.len())
        .sum()
}
