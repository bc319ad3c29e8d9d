//! How options of the command line take what is no type of its own: rules that can be searched for, and names of enumerations.

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::engine::classify::Rule;
use crate::engine::keyword::Keyword;
use crate::patterns;

/// Takes a rule whose regular expressions are some.
///
/// # Errors
/// What is wrong with it.
pub(super) fn checked_rule(text: &str) -> Result<Rule, String> {
    let rule: Rule = text.parse()?;
    check_rule(&rule)?;
    Ok(rule)
}

/// Whether what a rule looks for can be searched for.
///
/// # Errors
/// Which of its regular expressions cannot be, and why.
pub fn check_rule(rule: &Rule) -> Result<(), String> {
    rule.patterns().try_for_each(patterns::check)
}

/// Takes one of the names of an enumeration.
pub(super) fn word<T>() -> impl TypedValueParser<Value = T>
where
    T: Keyword + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(T::NAMES).try_map(|word| word.parse::<T>())
}
