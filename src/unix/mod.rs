//! What only the operating system can do: all unsafe code and raw system calls of the program, a noun a file.
//!
//! Nothing here decides.

pub mod clock;
pub mod end;
pub mod process;
mod readable;
pub mod spawn;
pub mod start;
pub mod stdout;
pub mod terminal;
pub mod tree;
