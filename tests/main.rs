//! Tests from outside: the engine on a simulated clock, and the real program.

mod arbitrary_input;
mod attempts;
mod command_line;
mod configuration;
mod engine;
mod explain;
mod explained;
mod generated;
mod hints;
mod init;
mod laws;
mod outputs;
mod patterns;
mod readme;
mod real_commands;
mod session;
mod signals;
mod sim;
mod stdin;
mod terminal;
mod test;
mod tidy;
mod trees;
mod weather;
mod world;
