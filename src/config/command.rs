//! The first words of a command, by which `auto` chooses a policy: what stands behind `sudo`, `env` and their like.

use std::path::Path;

/// A command that runs the command in its arguments.
struct Wrapper {
    name: &'static str,
    /// Its short options that take a value, which may be the next word.
    valued: &'static str,
    /// Its long options that take a value as the next word.
    valued_long: &'static [&'static str],
    /// Words of its own before the command.
    operands: usize,
}

/// By their man pages: sudo(8), env(1), nice(1), nohup(1), time(1), stdbuf(1), timeout(1) of GNU coreutils 9.1 and sudo 1.9.
const WRAPPERS: [Wrapper; 7] = [
    Wrapper {
        name: "sudo",
        valued: "CDgphRrtTuU",
        valued_long: &[
            "--close-from",
            "--chdir",
            "--group",
            "--prompt",
            "--host",
            "--chroot",
            "--role",
            "--type",
            "--command-timeout",
            "--user",
            "--other-user",
        ],
        operands: 0,
    },
    Wrapper { name: "env", valued: "uC", valued_long: &["--unset", "--chdir"], operands: 0 },
    Wrapper { name: "nice", valued: "n", valued_long: &["--adjustment"], operands: 0 },
    Wrapper { name: "nohup", valued: "", valued_long: &[], operands: 0 },
    Wrapper { name: "time", valued: "fo", valued_long: &["--format", "--output"], operands: 0 },
    Wrapper {
        name: "stdbuf",
        valued: "ioe",
        valued_long: &["--input", "--output", "--error"],
        operands: 0,
    },
    Wrapper {
        name: "timeout",
        valued: "ks",
        valued_long: &["--kill-after", "--signal"],
        operands: 1,
    },
];

/// The words that may name the program, the likeliest first: those behind all wrappers, then from the innermost wrapper on, and so on out
/// to the whole. Of each the first one stands without its folder, and `python3 -m NAME` is `NAME`.
#[must_use]
pub fn readings(command: &[String]) -> Vec<Vec<&str>> {
    let mut words: Vec<&str> = command.iter().map(String::as_str).collect();
    let mut readings = Vec::with_capacity(1);
    while let Some(wrapper) = words.first().and_then(|word| wrapper(base_name(word))) {
        let inner = wrapper.command_in(&words);
        readings.push(plain(words));
        words = inner;
    }
    if !words.is_empty() {
        readings.push(plain(words));
    }
    readings.reverse();
    readings
}

fn plain(mut words: Vec<&str>) -> Vec<&str> {
    if let [python, "-m", module, ..] = words.as_slice()
        && is_python(base_name(python))
    {
        let module = *module;
        words.splice(..3, [module]);
    }
    if let Some(first) = words.first_mut() {
        *first = base_name(first);
    }
    words
}

/// How many of a policy's words the command begins with: all of them, or none.
#[must_use]
pub fn match_length<W: AsRef<str>>(first_words: &[&str], policy_words: &[W]) -> Option<usize> {
    let begins = first_words.len() >= policy_words.len()
        && first_words.iter().zip(policy_words).all(|(word, wanted)| *word == wanted.as_ref());
    begins.then_some(policy_words.len())
}

fn base_name(word: &str) -> &str {
    Path::new(word).file_name().and_then(|name| name.to_str()).unwrap_or(word)
}

fn is_python(name: &str) -> bool {
    name.strip_prefix("python")
        .is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

fn wrapper(name: &str) -> Option<&'static Wrapper> {
    WRAPPERS.iter().find(|wrapper| wrapper.name == name)
}

impl Wrapper {
    /// The words behind the wrapper's own.
    fn command_in<'a>(&self, words: &[&'a str]) -> Vec<&'a str> {
        let mut words = words.iter().copied().skip(1).peekable();
        while let Some(option) = words.next_if(|word| self.is_own(word)) {
            if option == "--" {
                break;
            }
            if self.takes_next(option) {
                words.next();
            }
        }
        words.skip(self.operands).collect()
    }

    fn is_own(&self, word: &str) -> bool {
        let is_assignment = matches!(self.name, "env" | "sudo") && word.contains('=');
        word.starts_with('-') || is_assignment
    }

    fn takes_next(&self, option: &str) -> bool {
        if option.starts_with("--") {
            return self.valued_long.contains(&option);
        }
        // In a cluster such as `-Eu` the first that takes a value takes the rest, or the next word.
        let valued =
            option.char_indices().skip(1).find(|(_, letter)| self.valued.contains(*letter));
        option.starts_with('-')
            && valued.is_some_and(|(index, letter)| index + letter.len_utf8() == option.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(command: &str) -> String {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        readings(&words).first().map(|words| words.join(" ")).unwrap_or_default()
    }

    #[test]
    fn wrappers_are_skipped() {
        for command in [
            "curl x",
            "/usr/bin/curl x",
            "sudo curl x",
            "sudo -u root -E curl x",
            "sudo -Eu root -- curl x",
            "sudo A=1 curl x",
            "env A=1 B=2 curl x",
            "env -i -u HOME A=1 /bin/curl x",
            "nice curl x",
            "nice -n 5 curl x",
            "nice -5 curl x",
            "nohup curl x",
            "time -p curl x",
            "stdbuf -oL -e 0 curl x",
            "timeout 10 curl x",
            "timeout -k 5 --signal KILL 10s curl x",
            "sudo nice timeout --foreground 10 env A=b curl x",
        ] {
            assert_eq!(first(command), "curl x", "{command}");
        }
        assert_eq!(first("-- x"), "-- x");
        assert_eq!(readings(&[]), [[""; 0]; 0]);
    }

    #[test]
    fn a_wrapper_is_a_command_where_nothing_stands_behind_it_or_that_is_unknown() {
        assert_eq!(first("/usr/bin/sudo"), "sudo");
        assert_eq!(first("timeout 5"), "timeout 5");
        let command = ["sudo", "/usr/bin/timeout", "5", "/bin/x"].map(str::to_owned);
        let outer = ["sudo", "/usr/bin/timeout", "5", "/bin/x"];
        assert_eq!(readings(&command), [&["x"][..], &["timeout", "5", "/bin/x"], &outer]);
    }

    #[test]
    fn a_python_module_is_its_own_command() {
        assert_eq!(first("python3 -m pip install x"), "pip install x");
        assert_eq!(first("/usr/bin/python3.11 -m pip"), "pip");
        assert_eq!(first("python3 -c x"), "python3 -c x");
    }

    #[test]
    fn a_match_is_of_whole_words() {
        let policy = ["cargo", "nextest"];
        assert_eq!(match_length(&["cargo", "nextest", "run"], &policy), Some(2));
        assert_eq!(match_length(&["cargo"], &policy), None);
        assert_eq!(match_length(&["cargo", "test"], &policy), None);
    }
}
