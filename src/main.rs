//! The program: captures what it was given, calls the library, and ends as that says.
#![cfg_attr(target_env = "gnu", no_main)]

use retryrun::config::environment::Environment;
use retryrun::unix;

/// Where the C library begins. Rust's runtime would first look for the ends of the stack in a list of all memory, at every call;
/// with another C library than glibc it is also what notes the words.
#[cfg(target_env = "gnu")]
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    unix::start::take_the_place_of_the_runtime();
    begin()
}

#[cfg(not(target_env = "gnu"))]
fn main() {
    begin()
}

fn begin() -> ! {
    let words = std::env::args_os().collect();
    let environment = Environment::new(unix::start::environment());
    unix::end::end(retryrun::run(words, environment))
}
