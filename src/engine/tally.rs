//! How many retries each rule has ordered.

use serde::{Deserialize, Serialize};

use super::history::Attempt;

/// A count for each rule that has ordered one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally(Vec<Count>);

/// Two rules with one text in one place ask the same, and the first of them answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Count {
    rule: Option<String>,
    rule_origin: Option<String>,
    retries: u64,
}

impl Count {
    fn decided(&self, attempt: &Attempt) -> bool {
        self.rule == attempt.rule && self.rule_origin == attempt.rule_origin
    }
}

impl Tally {
    /// How many the rule has ordered that decided an attempt.
    #[must_use]
    pub fn of(&self, attempt: &Attempt) -> u64 {
        self.0.iter().find(|count| count.decided(attempt)).map_or(0, |count| count.retries)
    }

    /// A retry that the rule has ordered that decided an attempt.
    pub fn count(&mut self, failed: &Attempt) {
        match self.0.iter_mut().find(|count| count.decided(failed)) {
            // A journal can be damaged so that it says any number.
            Some(count) => count.retries = count.retries.saturating_add(1),
            None => self.0.push(Count {
                rule: failed.rule.clone(),
                rule_origin: failed.rule_origin.clone(),
                retries: 1,
            }),
        }
    }

    /// The count begins anew.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
