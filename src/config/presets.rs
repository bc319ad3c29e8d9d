//! The built-in policies: which there are, and for which commands. Their text is TOML as users write it, in `src/presets/`.
//!
//! Only those that a call may need are read: this list says which, and a test compares it with the files.

use std::path::Path;

use super::command::match_length;
use super::file::{BUILT_IN, File};
use crate::error::Error;

/// A built-in policy.
struct Preset {
    /// Its name, and that of its file.
    name: &'static str,
    /// The policy on which it builds.
    inherit: Option<&'static str>,
    /// The commands for which it is chosen, each by its first words.
    commands: &'static [&'static str],
    text: &'static str,
}

macro_rules! preset {
    ($name:literal, $inherit:expr, [$($command:literal),*]) => {
        Preset {
            name: $name,
            inherit: $inherit,
            commands: &[$($command),*],
            text: include_str!(concat!("../presets/", $name, ".toml")),
        }
    };
}

const PRESETS: &[Preset] = &[
    preset!("ansible-playbook", Some("network"), ["ansible-playbook", "ansible"]),
    preset!("apt-get", Some("network"), ["apt-get", "apt"]),
    preset!("aria2c", None, ["aria2c"]),
    preset!("aws", Some("network"), ["aws", "awscli"]),
    preset!("az", Some("network"), ["az"]),
    preset!("bundle", Some("network"), ["bundle", "bundler"]),
    preset!("cargo", Some("network"), ["cargo"]),
    preset!("cargo-test", Some("cargo"), ["cargo test", "cargo t"]),
    preset!("curl", None, ["curl"]),
    preset!("dig", None, ["dig", "host", "nslookup"]),
    preset!("dnf", Some("network"), ["dnf", "yum", "microdnf", "dnf5"]),
    preset!("docker", Some("network"), ["docker", "nerdctl"]),
    preset!("gcloud", Some("network"), ["gcloud", "gsutil", "bq"]),
    preset!("gem", Some("network"), ["gem"]),
    preset!("git", Some("network"), ["git"]),
    preset!("go", Some("network"), ["go"]),
    preset!("go-test", Some("go"), ["go test"]),
    preset!(
        "gpg-keys",
        None,
        [
            "gpg --recv-keys",
            "gpg --receive-keys",
            "gpg --send-keys",
            "gpg --search-keys",
            "gpg --refresh-keys",
            "gpg --keyserver",
            "gpg --batch --recv-keys",
            "gpg --batch --keyserver",
            "gpg --no-tty --keyserver",
            "gpg2 --recv-keys",
            "gpg2 --keyserver"
        ]
    ),
    preset!("helm", Some("network"), ["helm"]),
    preset!("hg", Some("network"), ["hg"]),
    preset!("kubectl", Some("network"), ["kubectl", "oc"]),
    preset!("make", Some("network"), ["make", "gmake", "ninja"]),
    preset!(
        "mysql",
        Some("network"),
        [
            "mysql",
            "mariadb",
            "mysqldump",
            "mariadb-dump",
            "mysqladmin",
            "mariadb-admin",
            "mysqlimport",
            "mariadb-import"
        ]
    ),
    preset!("nc", None, ["nc", "ncat", "netcat"]),
    preset!("network", None, []),
    preset!("nextest", Some("cargo"), ["cargo nextest"]),
    preset!("npm", Some("network"), ["npm", "npx"]),
    preset!(
        "pg_dump",
        Some("network"),
        [
            "pg_dump",
            "pg_dumpall",
            "pg_restore",
            "pg_basebackup",
            "vacuumdb",
            "createdb",
            "dropdb",
            "createuser",
            "reindexdb",
            "pgbench"
        ]
    ),
    preset!("pg_isready", None, ["pg_isready"]),
    preset!("ping", Some("network"), ["ping", "ping6"]),
    preset!("pip", Some("network"), ["pip", "pip3", "pipx", "uv pip"]),
    preset!("podman", Some("network"), ["podman", "buildah", "skopeo"]),
    preset!("psql", Some("network"), ["psql"]),
    preset!("pytest", None, ["pytest", "py.test"]),
    preset!("rclone", None, ["rclone"]),
    preset!("redis-cli", None, ["redis-cli", "valkey-cli"]),
    preset!("rsync", Some("network"), ["rsync"]),
    preset!("s3cmd", None, ["s3cmd"]),
    preset!("scp", Some("network"), ["scp", "sftp"]),
    preset!("sqlite3", None, ["sqlite3"]),
    preset!("ssh", Some("network"), ["ssh"]),
    preset!("svn", Some("network"), ["svn"]),
    preset!("sysexits", None, ["msmtp", "sendmail", "procmail", "getmail"]),
    preset!("terraform", Some("network"), ["terraform", "tofu"]),
    preset!("timeout", None, ["timeout", "gtimeout"]),
    preset!("wget", None, ["wget", "wget2"]),
];

/// The names of all.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|preset| preset.name)
}

/// Those that a call may need: for the words that may name its command, by the names that it or the files say, and what these build on.
///
/// # Errors
/// Never: a test reads them all.
pub(super) fn needed<'a>(
    readings: &[Vec<&str>],
    named: impl Iterator<Item = &'a str>,
) -> Result<File, Error> {
    let is_for = |preset: &&Preset| readings.iter().any(|words| preset.is_for(words));
    let mut needed: Vec<&Preset> = PRESETS.iter().filter(is_for).collect();
    let add = |needed: &mut Vec<&Preset>, name: &str| {
        let preset = PRESETS.iter().find(|preset| preset.name == name);
        needed.extend(preset.filter(|preset| needed.iter().all(|had| had.name != preset.name)));
    };
    named.for_each(|name| add(&mut needed, name));
    let mut done = 0;
    while let Some(preset) = needed.get(done) {
        if let Some(name) = preset.inherit {
            add(&mut needed, name);
        }
        done += 1;
    }
    let text = needed.iter().map(|preset| preset.text).collect();
    File::parse(Path::new(BUILT_IN), text)
}

impl Preset {
    fn is_for(&self, words: &[&str]) -> bool {
        self.commands.iter().any(|command| {
            // Most are of another program: no list is made for them.
            words.first().is_some_and(|first| command.starts_with(first))
                && match_length(words, &command.split(' ').collect::<Vec<_>>()).is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_says_what_the_files_say() {
        for preset in PRESETS {
            let file = File::parse(Path::new(BUILT_IN), preset.text.to_owned())
                .unwrap_or_else(|error| panic!("{}: {error}", preset.name));
            let names: Vec<&String> = file.policies.keys().collect();
            assert_eq!(names, [preset.name]);
            let table = &file.policies[preset.name];
            let commands = table.commands.iter().flatten().map(|words| words.join(" "));
            assert!(commands.eq(preset.commands.iter().copied()), "{}", preset.name);
            let inherit = table.inherit.as_ref().map(|name| name.get_ref().as_str());
            assert_eq!(inherit, preset.inherit, "{}", preset.name);
            assert!(table.docs.as_ref().is_some_and(|docs| !docs.trim().is_empty()));
            for entry in table.layer.rules.iter().flatten() {
                let (rule, _) = entry.rule().expect("one of the three");
                assert!(entry.source.is_some() && rule.reason().is_some(), "{}", rule.text());
                if let Err(error) = crate::config::argument::check_rule(rule) {
                    panic!("{}: {error}", preset.name);
                }
            }
        }
        assert!(names().is_sorted(), "in the order of the alphabet");
        let claimed = PRESETS.iter().flat_map(|preset| preset.commands);
        let mut once: Vec<&&str> = claimed.clone().collect();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), claimed.count(), "no two claim the same command");
    }

    #[test]
    fn only_what_a_call_may_need_is_read() {
        let needed = |words: &[&str], named: &[&str]| -> Vec<String> {
            let file =
                needed(&[words.to_vec()], named.iter().copied()).expect("they are well formed");
            file.policies.into_keys().collect()
        };
        assert_eq!(needed(&["ls", "-l"], &[]), [""; 0]);
        assert_eq!(needed(&["curl", "x"], &["auto", "nosuch"]), ["curl"]);
        assert_eq!(needed(&["cargo", "nextest"], &[]), ["cargo", "network", "nextest"]);
        assert_eq!(needed(&[], &["scp"]), ["network", "scp"]);
    }
}
