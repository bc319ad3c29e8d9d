//! The program: captures what it was given, calls the library, and ends as that says.

use retryrun::config::environment::Environment;
use retryrun::unix;

fn main() {
    let words = std::env::args_os().collect();
    let environment = Environment::new(unix::start::environment());
    unix::end::end(retryrun::run(words, environment))
}
