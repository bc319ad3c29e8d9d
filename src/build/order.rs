//! The order of functions in a release: those that run in usual calls come first, beside each other.
//!
//! The kernel maps a program in pieces of several pages, at the first touch of each: scattered over the whole program, what runs at a start
//! would bring nearly all of it into memory. `benches/order` makes the list.

/// Names of functions, with `*` for the hashes in them, and members of archives. One that is not there does nothing.
const LIST: &str = include_str!("order.txt");

/// What a linker has to be told for it.
pub fn script() -> String {
    let sections: String = LIST.lines().map(section).collect();
    format!("SECTIONS {{ .text.first : {{\n{sections}}} }} INSERT BEFORE .text;\n")
}

fn section(name: &str) -> String {
    if name.contains(':') {
        return format!("*{name}(.text .text.*)\n");
    }
    // Behind the name may stand a number, where several had the same one.
    format!("*(.text.{name} .text.{name}.* .text.unlikely.{name} .text.unlikely.{name}.*)\n")
}
