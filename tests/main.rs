//! Tests from outside: the engine on a simulated clock, and the real program.

mod attempts;
mod engine;
mod laws;
mod signals;
mod sim;
mod test;
mod world;
