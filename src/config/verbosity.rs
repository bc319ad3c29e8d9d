//! How much we print of what happens: a switch that can be given twice.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// How many more of our lines are printed than usual: 1 for the user, 2 also for whoever looks for a fault in retryrun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Verbosity(u8);

impl Verbosity {
    /// No more than usual.
    pub const USUAL: Verbosity = Verbosity(0);
    /// What happens in the run.
    pub const MORE: Verbosity = Verbosity(1);
    /// What happens in retryrun, too.
    pub const DEBUG: Verbosity = Verbosity(2);

    /// By how often the flag was given.
    #[must_use]
    pub fn of_count(count: u8) -> Verbosity {
        Verbosity(count.min(Verbosity::DEBUG.0))
    }
}

impl FromStr for Verbosity {
    type Err = String;

    fn from_str(text: &str) -> Result<Verbosity, String> {
        match text {
            "false" | "0" | "no" => Ok(Verbosity::USUAL),
            "true" | "1" | "yes" => Ok(Verbosity::MORE),
            "2" => Ok(Verbosity::DEBUG),
            _ => Err("expected `true`, `false`, or a number from 0 to 2".into()),
        }
    }
}

impl fmt::Display for Verbosity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Verbosity::USUAL => f.write_str("false"),
            Verbosity::MORE => f.write_str("true"),
            Verbosity(number) => number.fmt(f),
        }
    }
}

impl Serialize for Verbosity {
    /// As a switch, where it is one.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Verbosity::USUAL => serializer.serialize_bool(false),
            Verbosity::MORE => serializer.serialize_bool(true),
            Verbosity(number) => serializer.serialize_u8(number),
        }
    }
}

impl<'de> Deserialize<'de> for Verbosity {
    /// Takes a switch or a number.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Verbosity, D::Error> {
        struct SwitchOrNumber;
        impl Visitor<'_> for SwitchOrNumber {
            type Value = Verbosity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`true`, `false`, or a number from 0 to 2")
            }

            fn visit_bool<E: de::Error>(self, is_on: bool) -> Result<Verbosity, E> {
                Ok(if is_on { Verbosity::MORE } else { Verbosity::USUAL })
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Verbosity, E> {
                let number = number.to_string();
                number
                    .parse()
                    .map_err(|expected| E::custom(format!("invalid value `{number}`: {expected}")))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Verbosity, E> {
                text.parse::<Verbosity>()
                    .map_err(|expected| E::custom(format!("invalid value `{text}`: {expected}")))
                    .and_then(|_| Err(E::invalid_type(de::Unexpected::Str(text), &self)))
            }
        }
        // As text it is a number, too.
        deserializer.deserialize_u8(SwitchOrNumber)
    }
}
