//! What `--explain --json` prints, and what a refusal prints, for tests to compare.

use serde_json::Value;

use crate::test::Test;

/// The JSON form of an explanation.
pub struct Explained(pub Value);

impl Explained {
    /// Of a run that was given `--explain --json`.
    pub fn of(test: Test) -> Explained {
        let ran = test.run();
        assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""));
        Explained(serde_json::from_str(&ran.stdout).expect("a JSON object"))
    }

    /// With these options.
    pub fn with(options: &[&str]) -> Explained {
        Explained::of(explain(options))
    }

    /// A part of it.
    pub fn part(&self, key: &str) -> &Value {
        self.0.get(key).expect("every explanation has it")
    }

    /// The value of a setting.
    pub fn value(&self, name: &str) -> &Value {
        &self.row(name)["value"]
    }

    /// Where a setting is from.
    pub fn origin(&self, name: &str) -> &str {
        self.row(name)["origin"].as_str().expect("a text")
    }

    fn row(&self, name: &str) -> &Value {
        let rows = self.part("settings").as_array().expect("a list");
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no setting {name}"))
    }

    /// The rules above the built-in table: `RULE VERDICT REASON ORIGIN`.
    pub fn rules(&self) -> Vec<String> {
        let rules = self.part("rules").as_array().expect("a list").iter();
        rules
            .map(|rule| {
                let words = ["rule", "verdict", "reason", "origin"].map(|key| text(&rule[key]));
                words.join(" ")
            })
            .take_while(|rule| rule != "0 success success built in")
            .collect()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// `--explain --json` with these options, that has not begun.
pub fn explain(options: &[&str]) -> Test {
    Test::new(["--explain", "--json"].iter().chain(options))
}

/// What a run that is refused says: all of stderr, without our name.
pub fn refusal(test: Test) -> String {
    let ran = test.run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(125), ""), "{}", ran.stderr);
    let message = ran.stderr.strip_prefix("retryrun: ").and_then(|text| text.strip_suffix('\n'));
    let message = message.unwrap_or_else(|| panic!("no message: {:?}", ran.stderr));
    assert!(!message.chars().any(|c| c.is_control() && c != '\n'), "{message:?}");
    message.to_owned()
}
