//! Tests from outside: the engine on a simulated clock, and the real program.

mod arbitrary_input;
mod attempts;
mod command_line;
mod configuration;
mod engine;
mod explain;
mod explained;
mod generated;
mod idle;
mod job_control;
mod laws;
mod readme;
mod real_commands;
mod session;
mod signals;
mod sim;
mod terminal;
mod test;
mod tidy;
mod world;
