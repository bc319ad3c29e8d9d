//! How long to wait before a retry: the shapes, the cap and the jitter.
//!
//! Chance is a function of the seed and the retry's number, so the same policy gives the same waits in every
//! run and in `--explain`.

use std::str::FromStr;
use std::time::Duration;

use super::keyword::{did_you_mean, keywords};
use super::time::to_micros;

keywords! {
    /// How the wait grows from retry to retry.
    Shape {
        /// The same wait every time.
        Constant = "constant",
        /// `delay`, 2 `delay`, 3 `delay`, ...
        Linear = "linear",
        /// `delay` times `multiplier` to the power of the retry.
        Exponential = "exponential",
        /// `delay` times 1, 1, 2, 3, 5, ...
        Fibonacci = "fibonacci",
    }
}

/// The waits before cap and jitter.
#[derive(Clone, Debug, PartialEq)]
pub enum Waits {
    /// Computed.
    Grown {
        /// How they grow.
        shape: Shape,
        /// The first one.
        delay: Duration,
        /// Growth of [`Shape::Exponential`]; finite and at least 1.
        multiplier: f64,
    },
    /// Written out; never empty, the last one repeats.
    Listed(Vec<Duration>),
}

/// How chance changes a wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Jitter {
    /// Not at all.
    None,
    /// Anything from zero to the wait.
    Full,
    /// Half of the wait, and anything up to the other half.
    Equal,
    /// Anything from the first wait to three times the previous one.
    Decorrelated,
    /// Plus or minus so many percent, 0 to 100.
    Percent(f64),
}

impl Jitter {
    /// The kinds that are a word; a percentage is the other form.
    pub const NAMES: [&'static str; 4] = ["none", "full", "equal", "decorrelated"];
}

impl std::fmt::Display for Jitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Jitter::None => f.write_str("none"),
            Jitter::Full => f.write_str("full"),
            Jitter::Equal => f.write_str("equal"),
            Jitter::Decorrelated => f.write_str("decorrelated"),
            Jitter::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for Jitter {
    type Err = String;

    fn from_str(text: &str) -> Result<Jitter, String> {
        match text {
            "none" => return Ok(Jitter::None),
            "full" => return Ok(Jitter::Full),
            "equal" => return Ok(Jitter::Equal),
            "decorrelated" => return Ok(Jitter::Decorrelated),
            _ => {}
        }
        let percent = text
            .strip_suffix('%')
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
        match percent.and_then(|digits| digits.parse::<f64>().ok()) {
            Some(percent) if percent <= 100.0 => Ok(Jitter::Percent(percent)),
            _ => {
                let hint = did_you_mean(text, Jitter::NAMES.into_iter());
                Err(format!(
                    "expected `none`, `full`, `equal`, `decorrelated` or a percentage from `0%` to `100%`{hint}"
                ))
            }
        }
    }
}

/// Everything that fixes the waits of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    /// The waits before cap and jitter.
    pub waits: Waits,
    /// Cap on any wait.
    pub max_delay: Duration,
    /// How chance changes them.
    pub jitter: Jitter,
    /// Makes chance repeatable.
    pub seed: u64,
}

impl Backoff {
    /// The wait before a retry.
    ///
    /// `retry` counts from 0; `previous` is the wait before the retry before this one, if there was one.
    ///
    /// Shapes: `d`, `d*(r+1)`, `d*m^r`, `d*F(r)`; then the cap; then the jitter, by the formulas of Brooker,
    /// AWS Architecture Blog, "Exponential Backoff And Jitter". Decorrelated jitter replaces shape and list: it
    /// starts from the first wait. Saturates, never overflows.
    #[must_use]
    pub fn delay(&self, retry: u64, previous: Option<Duration>) -> Duration {
        let capped = self.base(retry).min(self.max_delay);
        let chance = chance(self.seed, retry);
        let jittered = match self.jitter {
            Jitter::None => capped,
            Jitter::Full => between(Duration::ZERO, capped, chance),
            Jitter::Equal => between(capped / 2, capped, chance),
            Jitter::Percent(percent) => {
                let part = scaled(capped, percent / 100.0);
                between(capped - part, capped.saturating_add(part), chance)
            }
            Jitter::Decorrelated => {
                let first = self.base(0);
                between(first, previous.unwrap_or(first).saturating_mul(3), chance)
            }
        };
        jittered.min(self.max_delay)
    }

    /// The first wait without jitter: what is waited between two successes where several are needed.
    #[must_use]
    pub fn first(&self) -> Duration {
        self.base(0).min(self.max_delay)
    }

    /// The waits of a run that retries without end, in the precision in which a run waits.
    pub fn schedule(&self) -> impl Iterator<Item = Duration> + '_ {
        let mut previous = None;
        (0..).map(move |retry| {
            let delay = to_micros(self.delay(retry, previous));
            previous = Some(delay);
            delay
        })
    }

    fn base(&self, retry: u64) -> Duration {
        match &self.waits {
            Waits::Listed(delays) => {
                let index = usize::try_from(retry).unwrap_or(usize::MAX);
                delays.get(index).or(delays.last()).copied().unwrap_or_default()
            }
            Waits::Grown { shape, delay, multiplier } => match shape {
                Shape::Constant => *delay,
                Shape::Linear => times(*delay, u128::from(retry) + 1),
                Shape::Exponential => {
                    let power = i32::try_from(retry).unwrap_or(i32::MAX);
                    scaled(*delay, multiplier.powi(power))
                }
                Shape::Fibonacci => times(*delay, fibonacci(retry)),
            },
        }
    }
}

/// A number from 0 up to, not including, 1 for the n-th draw of a seed: SplitMix64 (Steele, Lea and Flood, "Fast
/// Splittable Pseudorandom Number Generators", OOPSLA 2014), its upper 53 bits.
#[must_use]
pub fn chance(seed: u64, n: u64) -> f64 {
    const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(GOLDEN_GAMMA));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    let upper = (z >> 11) as f64;
    upper / (1u64 << 53) as f64
}

/// The point of the interval from `low` to `high` that `chance` picks; never outside of it.
fn between(low: Duration, high: Duration, chance: f64) -> Duration {
    low.saturating_add(scaled(high.saturating_sub(low), chance)).min(high.max(low))
}

/// `duration * factor`, saturating.
fn scaled(duration: Duration, factor: f64) -> Duration {
    if duration.is_zero() || factor == 1.0 {
        return duration;
    }
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

/// `duration * factor`, exact and saturating.
fn times(duration: Duration, factor: u128) -> Duration {
    const NANOS_PER_SECOND: u128 = 1_000_000_000;
    let nanos = duration.as_nanos().saturating_mul(factor);
    match u64::try_from(nanos / NANOS_PER_SECOND) {
        Ok(seconds) => Duration::new(seconds, (nanos % NANOS_PER_SECOND) as u32),
        Err(_) => Duration::MAX,
    }
}

/// F(r) with F = 1, 1, 2, 3, 5, ...; saturating.
fn fibonacci(retry: u64) -> u128 {
    // F(186) is the first that 128 bits cannot hold.
    let (mut this, mut next) = (1u128, 1u128);
    for _ in 0..retry.min(186) {
        (this, next) = (next, this.saturating_add(next));
    }
    this
}
