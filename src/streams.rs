//! The streams of a command, where we stand between it and ours: input replayed, output held, logs kept.
//!
//! Bytes go through unchanged, and none is decoded. A stream that no option needs to read never comes here.

pub mod logs;
pub mod outputs;
mod relay;
mod spool;
pub mod stdin;
mod tail;

use outputs::Outputs;
use stdin::Stdin;

/// The streams of a run.
pub struct Streams {
    /// What its commands read.
    pub stdin: Stdin,
    /// What they write.
    pub outputs: Outputs,
}
