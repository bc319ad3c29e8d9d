//! Configuration files: any text is taken, or refused with a place in it.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use retryrun::config::file::File;
use retryrun::error::Error;

fuzz_target!(|text: &str| {
    match parse(text) {
        Ok(file) => {
            let commented = parse(&format!("{text}\n# the end")).expect("a comment says nothing");
            assert_eq!(said(&commented), said(&file));
        }
        Err(error) => {
            let (line, column, message) = place(&error);
            assert!((1..=text.matches('\n').count() + 1).contains(&line), "{error}");
            assert!((1..=text.chars().count() + 1).contains(&column), "{error}");
            assert!(!message.trim().is_empty(), "{error}");
            assert!(!error.excerpt().is_empty(), "{error}");
            // Before a byte order mark there is nothing.
            if !text.starts_with('\u{feff}') {
                let lower = parse(&format!("\n{text}")).expect_err("an empty line says nothing");
                assert_eq!(place(&lower), (line + 1, column, message));
            }
        }
    }
});

fn parse(text: &str) -> Result<File, Error> {
    File::parse(Path::new("a.toml"), text.to_owned())
}

/// What a file says, without the text in which it does.
fn said(file: &File) -> String {
    format!("{:?} {:?} {:?}", file.top, file.choice, file.policies)
}

/// Line, column and message of a fault.
fn place(error: &Error) -> (usize, usize, String) {
    let text = error.to_string();
    let mut parts = text.strip_prefix("a.toml:").expect("it names the file").splitn(3, ':');
    let mut next = || parts.next().expect("it has line, column and message");
    let (line, column) = (next().parse(), next().parse());
    (line.expect("a number"), column.expect("a number"), next().to_owned())
}
