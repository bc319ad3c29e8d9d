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

        $crate::engine::keyword::scalars!(Word: $name);
    };
}

/// Reads types from serde as they are read from text: from the forms of a [`Scalar`] in which users write them.
macro_rules! scalars {
    ($form:ident: $($name:ty),+ $(,)?) => {
        $(impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::engine::keyword::Form::$form.read(deserializer)
            }
        })+
    };
}

pub(crate) use {keywords, scalars};

/// How users write a value where words and numbers differ, as in TOML. Where all is text, as in the environment, a text of digits is a
/// number to whoever asks for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In quotes.
    Word,
    /// Digits; or a word that is no number, in quotes.
    Whole,
    /// Digits, with a point or without.
    Fraction,
    /// A word, or digits.
    WordOrWhole,
    /// A word, or digits with a point or without.
    WordOrNumber,
}

impl Form {
    /// Reads one value of this form.
    ///
    /// # Errors
    /// It has another form, or is none of its type.
    pub fn read<'de, T, D>(self, deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err = String>,
        D: de::Deserializer<'de>,
    {
        let visitor = Scalar { form: self, value: PhantomData };
        match self {
            Form::Whole => deserializer.deserialize_u64(visitor),
            Form::Fraction => deserializer.deserialize_f64(visitor),
            Form::Word | Form::WordOrWhole | Form::WordOrNumber => {
                deserializer.deserialize_any(visitor)
            }
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Form::Whole | Form::Fraction)
    }
}

/// Takes what stands for a word or a number, and reads it as text.
struct Scalar<T> {
    form: Form,
    value: PhantomData<T>,
}

impl<T: FromStr<Err = String>> Scalar<T> {
    fn parse<E: de::Error>(text: &str) -> Result<T, E> {
        text.parse().map_err(|expected| E::custom(format!("invalid value `{text}`: {expected}")))
    }

    fn whole<E: de::Error>(&self, number: &dyn fmt::Display) -> Result<T, E> {
        match self.form {
            Form::Word => {
                let found = format!("integer `{number}`");
                Err(E::invalid_type(de::Unexpected::Other(&found), self))
            }
            Form::Whole | Form::Fraction | Form::WordOrWhole | Form::WordOrNumber => {
                Scalar::parse(&number.to_string())
            }
        }
    }
}

impl<T: FromStr<Err = String>> de::Visitor<'_> for Scalar<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.form {
            Form::Word => "a string",
            Form::Whole => "a whole number",
            Form::Fraction => "a number",
            Form::WordOrWhole => "a string or a whole number",
            Form::WordOrNumber => "a string or a number",
        })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let value = Scalar::parse(text)?;
        if self.form.is_number() && text.starts_with(|c: char| !c.is_ascii_alphabetic()) {
            return Err(E::invalid_type(de::Unexpected::Str(text), &self));
        }
        Ok(value)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.whole(&number)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.whole(&number)
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<T, E> {
        self.whole(&number)
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<T, E> {
        self.whole(&number)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        let refused = E::invalid_type(de::Unexpected::Float(number), &self);
        match self.form {
            Form::Word => Err(refused),
            Form::Fraction | Form::WordOrNumber => Scalar::parse(&number.to_string()),
            // Half a retry is none; but five are not written with a point either.
            Form::Whole | Form::WordOrWhole => {
                Scalar::parse(&number.to_string()).and_then(|_: T| Err(refused))
            }
        }
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
    fn other_values_than_words_are_refused() {
        let refusal = |json: &str| match serde_json::from_str::<Shape>(json) {
            Ok(shape) => panic!("{shape}"),
            Err(error) => error.to_string(),
        };
        for json in ["true", "[3]", "null", "-3", "0.5"] {
            assert!(refusal(json).contains("expected a string"), "{json}");
        }
        assert!(refusal("-3").starts_with("invalid type: integer `-3`"));
    }

    #[test]
    fn a_number_stands_without_quotes_and_a_word_within_them() {
        fn read(form: Form, value: &str) -> Result<String, String> {
            let value = toml::de::ValueDeserializer::parse(value).expect(value);
            let read: Result<Digits, _> = form.read(value);
            read.map(|Digits(text)| text).map_err(|error| error.message().to_owned())
        }
        struct Digits(String);
        impl FromStr for Digits {
            type Err = String;

            fn from_str(text: &str) -> Result<Digits, String> {
                Some(Digits(text.to_owned())).filter(|_| text != "x").ok_or("no x".to_owned())
            }
        }
        let refused = |form, value: &str| read(form, value).expect_err(value);
        assert_eq!(read(Form::Whole, "5").as_deref(), Ok("5"));
        assert_eq!(read(Form::Whole, r#""unlimited""#).as_deref(), Ok("unlimited"));
        let quoted = refused(Form::Whole, r#""5""#);
        assert_eq!(quoted, "invalid type: string \"5\", expected a whole number");
        let float = refused(Form::Whole, "5.0");
        assert_eq!(float, "invalid type: floating point `5.0`, expected a whole number");
        assert_eq!(refused(Form::Whole, r#""x""#), "invalid value `x`: no x");
        for value in ["2", "1.5"] {
            assert_eq!(read(Form::Fraction, value).as_deref(), Ok(value));
            assert_eq!(read(Form::WordOrNumber, value).as_deref(), Ok(value));
            assert_eq!(read(Form::WordOrNumber, &format!("\"{value}\"")).as_deref(), Ok(value));
            let quoted = refused(Form::Fraction, &format!("\"{value}\""));
            assert_eq!(quoted, format!("invalid type: string \"{value}\", expected a number"));
        }
        assert_eq!(read(Form::WordOrWhole, "15").as_deref(), Ok("15"));
        assert_eq!(read(Form::WordOrWhole, r#""15""#).as_deref(), Ok("15"));
        assert!(refused(Form::WordOrWhole, "1.5").ends_with("expected a string or a whole number"));
    }
}
