//! What only the operating system can do: all unsafe code and raw system calls of the program, a noun a file.
//!
//! Nothing here decides.

pub mod aside;
pub mod cgroup;
pub mod clock;
mod clone;
pub mod end;
pub mod input;
pub mod keys;
pub mod limits;
pub mod line;
pub mod lines;
#[cfg(feature = "redis")]
pub mod link;
pub mod lock;
pub mod missed;
pub mod outlet;
pub mod output;
mod plan;
pub mod private;
pub mod process;
mod readable;
pub mod receiver;
pub mod screen;
mod scribe;
pub mod signals;
pub mod spawn;
pub mod start;
pub mod stop;
pub mod terminal;
pub mod tree;
