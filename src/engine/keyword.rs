//! Values that users write as a word or a number: enumerations with one list of names for parsing, help, JSON and
//! completions; and one way for all of them to be read from flags, environment and configuration.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de;

/// An enumeration whose variants have names.
pub trait Keyword: FromStr<Err = String> {
    /// The names of all variants, in the order in which help shows them.
    const NAMES: &'static [&'static str];
}

/// Declares an enumeration whose variants have one name each, everywhere.
macro_rules! keywords {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $word)] $variant,)+
        }

        impl $crate::engine::keyword::Keyword for $name {
            const NAMES: &'static [&'static str] = &[$($word),+];
        }

        impl $name {
            /// The name of this one.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok($name::$variant),)+
                    _ => Err($crate::engine::keyword::expected(text, &[$($word),+])),
                }
            }
        }

        $crate::engine::keyword::scalars!($name);
    };
}

/// Reads types from serde as they are read from text: from a string, or from a number by its digits.
macro_rules! scalars {
    ($($name:ty),+ $(,)?) => {
        $(impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any($crate::engine::keyword::Scalar::<$name>::visitor())
            }
        })+
    };
}

pub(crate) use {keywords, scalars};

/// Takes what stands for a word or a number, and reads it as text.
pub struct Scalar<T>(PhantomData<T>);

impl<T> Scalar<T> {
    /// A visitor for one value.
    #[must_use]
    pub fn visitor() -> Scalar<T> {
        Scalar(PhantomData)
    }
}

impl<T: FromStr<Err = String>> de::Visitor<'_> for Scalar<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(|expected| E::custom(format!("invalid value `{text}`: {expected}")))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

/// What to say when `text` is none of `names`: all of them, and the one that was probably meant.
#[must_use]
pub fn expected(text: &str, names: &[&str]) -> String {
    format!("expected {}{}", one_of(names), did_you_mean(text, names.iter().copied()))
}

/// `` ; did you mean `NAME`? ``, or nothing if no name is near.
#[must_use]
pub fn did_you_mean<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> String {
    nearest(text, names).map_or(String::new(), |name| format!("; did you mean `{name}`?"))
}

/// The name that was probably meant by `text`, if one is near: by Jaro-Winkler similarity, above 0.8.
fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (strsim::jaro_winkler(text, name), name))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::backoff::Shape;

    #[test]
    fn says_what_was_expected_and_what_was_meant() {
        assert_eq!(
            expected("ful", &["none", "full"]),
            "expected `none` or `full`; did you mean `full`?"
        );
        assert_eq!(
            expected("zzz", &["none", "full", "equal"]),
            "expected `none`, `full` or `equal`"
        );
    }

    #[test]
    fn what_is_no_more_than_similar_was_not_meant() {
        let similarity = strsim::jaro_winkler("abxc", "abycvw");
        assert_eq!(similarity.to_bits(), 0.8_f64.to_bits());
        assert_eq!(did_you_mean("abxc", ["abycvw"].into_iter()), "");
    }

    #[test]
    fn other_values_than_words_and_numbers_are_refused() {
        let refusal = |json: &str| match serde_json::from_str::<Shape>(json) {
            Ok(shape) => panic!("{shape}"),
            Err(error) => error.to_string(),
        };
        for json in ["true", "[3]", "null"] {
            assert!(refusal(json).contains("expected a string or a number"), "{json}");
        }
        assert!(refusal("-3").starts_with("invalid value `-3`: expected `constant`"));
    }
}
