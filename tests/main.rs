//! Tests from outside: the engine on a simulated clock, and the real program.

mod arbitrary_input;
mod attempts;
mod classify;
mod command_line;
mod configuration;
mod engine;
mod explain;
mod explained;
mod generated;
mod laws;
mod patterns;
mod readme;
mod real_commands;
mod session;
mod signals;
mod sim;
mod terminal;
mod test;
mod tidy;
mod world;
