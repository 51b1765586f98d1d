//! Source lines for backtraces: which file and line of its author's source a component's code comes from.
//!
//! A component may carry debug information, DWARF in custom sections of its core modules. That is a tenant's input to a
//! large reader, and looking a line up there takes any amount of time and memory. So it is read where the component is
//! compiled, in a process with limits, and only a [`LineTable`] comes out, which travels with the compiled code. The
//! server reads nothing else, and checks all of it.
//!
//! Reading has an [`Allowance`] of steps besides, so that hostile debug information costs a second and not the whole time
//! for compiling. The steps are counted, not timed: the same component has the same table everywhere, so a replayed trap
//! has the backtrace of the recorded one.

mod build;
mod modules;
mod paths;
mod table;
#[cfg(test)]
pub(super) mod tests;
mod units;

pub(super) use build::of_component;
pub(super) use table::{LineTable, TABLE_MAX};
