//! A token bucket: what is left of a budget, and what time and people put into it. Pure; moments are handed in.
//!
//! What is in it is measured in nanoseconds, as the time that it took to flow in: a token is the time that one takes. So nothing is
//! rounded but the length of that, once and up, and in no stretch of time are more tokens taken than the bucket holds and the time
//! is worth.

use std::fmt;
use std::str::FromStr;

/// How many tokens a bucket holds, and how long they take to flow in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    capacity: u64,
    period: u64,
}

impl Numbers {
    /// The longest period, and the most tokens: so that no arithmetic on them overflows.
    const MOST: u64 = u64::MAX / 4;

    /// `capacity` tokens in `period` nanoseconds; none unless both are above 0 and within 64 bits with room to spare.
    #[must_use]
    pub fn new(capacity: u64, period: u128) -> Option<Numbers> {
        let period = u64::try_from(period).ok()?;
        let may_be = |number: u64| (1..=Numbers::MOST).contains(&number);
        (may_be(capacity) && may_be(period)).then_some(Numbers { capacity, period })
    }

    /// How many tokens it holds.
    #[cfg(feature = "redis")]
    #[must_use]
    pub fn capacity(self) -> u64 {
        self.capacity
    }

    /// How long a token takes to flow in.
    #[must_use]
    pub fn token(self) -> u64 {
        self.period.div_ceil(self.capacity)
    }

    /// How long it takes to fill it.
    #[must_use]
    pub fn full(self) -> u64 {
        self.token().saturating_mul(self.capacity)
    }
}

/// A moment by two clocks, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Calendar time, since the Unix epoch. It may be set back and forward, and differs from machine to machine.
    pub calendar: u64,
    /// Which boot of which machine it is; 0 is not known.
    pub boot: u128,
    /// Time since that.
    pub since_boot: u64,
}

impl Moment {
    /// The time since an earlier moment: within a boot by the clock that nobody sets, else by the calendar; never negative.
    fn since(self, earlier: Moment) -> u64 {
        match self.boot != 0 && self.boot == earlier.boot {
            true => self.since_boot.saturating_sub(earlier.since_boot),
            false => self.calendar.saturating_sub(earlier.calendar),
        }
    }

    /// This moment, but no clock goes back from an earlier one: what was counted once is not counted again. A calendar that was far
    /// ahead is believed no further than `most` ahead, so that it keeps nobody out for ever.
    fn after(self, earlier: Moment, most: u64) -> Moment {
        let calendar = earlier.calendar.min(self.calendar.saturating_add(most));
        let since_boot = if self.boot == earlier.boot { earlier.since_boot } else { 0 };
        Moment {
            calendar: self.calendar.max(calendar),
            since_boot: self.since_boot.max(since_boot),
            ..self
        }
    }
}

/// A bucket as it was at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    numbers: Numbers,
    level: u64,
    at: Moment,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn full(numbers: Numbers, at: Moment) -> Bucket {
        Bucket { numbers, level: numbers.full(), at }
    }

    /// The bucket later: what has flowed in since, by the numbers that held until now; from now on others may hold. Tokens stay
    /// tokens, up to as many as it can hold.
    #[must_use]
    pub fn later(self, numbers: Numbers, now: Moment) -> Bucket {
        let full = self.numbers.full();
        let level = self.level.saturating_add(now.since(self.at)).min(full);
        let (old, new) = (u128::from(self.numbers.token()), u128::from(numbers.token()));
        let level = (u128::from(level) * new / old).min(u128::from(numbers.full()));
        let level = u64::try_from(level).unwrap_or(u64::MAX);
        Bucket { numbers, level, at: now.after(self.at, full) }
    }

    /// Takes a token. Whether there was one.
    pub fn take(&mut self) -> bool {
        match self.level.checked_sub(self.numbers.token()) {
            Some(level) => {
                self.level = level;
                true
            }
            None => false,
        }
    }

    /// Puts back so many hundredths of a token; what does not fit flows over.
    pub fn put_back(&mut self, percent: u8) {
        let share = u128::from(self.numbers.token()) * u128::from(percent) / 100;
        let share = u64::try_from(share).unwrap_or(u64::MAX);
        self.level = self.level.saturating_add(share).min(self.numbers.full());
    }
}

/// Its numbers in a line, as they are kept.
impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bucket { numbers: Numbers { capacity, period }, level, at } = self;
        let Moment { calendar, boot, since_boot } = at;
        write!(f, "{capacity} {period} {level} {calendar} {boot:032x} {since_boot}")
    }
}

impl FromStr for Bucket {
    type Err = ();

    fn from_str(text: &str) -> Result<Bucket, ()> {
        let mut words = text.split(' ');
        let mut word = || words.next().ok_or(());
        let number = |word: &str| word.parse::<u64>().map_err(|_| ());
        let numbers = Numbers::new(number(word()?)?, number(word()?)?.into()).ok_or(())?;
        let level = number(word()?)?;
        let calendar = number(word()?)?;
        let boot = u128::from_str_radix(word()?, 16).map_err(|_| ())?;
        let since_boot = number(word()?)?;
        let at = Moment { calendar, boot, since_boot };
        let is_possible = level <= numbers.full() && words.next().is_none();
        is_possible.then_some(Bucket { numbers, level, at }).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const HOUR: u64 = 3_600_000_000_000;

    fn numbers(capacity: u64, period: u64) -> Numbers {
        Numbers::new(capacity, period.into()).expect("numbers that may be")
    }

    /// A moment of one boot.
    fn at(nanos: u64) -> Moment {
        Moment { calendar: nanos, boot: 1, since_boot: nanos }
    }

    fn taken(mut bucket: Bucket) -> (u64, Bucket) {
        let mut count = 0;
        while bucket.take() {
            count += 1;
        }
        (count, bucket)
    }

    #[test]
    fn a_bucket_holds_its_tokens_and_fills_evenly() {
        let five = numbers(5, HOUR);
        let (count, empty) = taken(Bucket::full(five, at(0)));
        assert_eq!(count, 5);
        assert_eq!(taken(empty.later(five, at(HOUR / 5 - 1))).0, 0);
        assert_eq!(taken(empty.later(five, at(HOUR / 5))).0, 1);
        assert_eq!(taken(empty.later(five, at(HOUR * 3 / 5))).0, 3);
        assert_eq!(taken(empty.later(five, at(u64::MAX))).0, 5);
    }

    #[test]
    fn what_is_put_back_is_a_share_of_a_token_and_flows_over() {
        let five = numbers(5, HOUR);
        let (_, mut empty) = taken(Bucket::full(five, at(0)));
        for _ in 0..4 {
            empty.put_back(20);
        }
        assert_eq!(taken(empty).0, 0);
        empty.put_back(20);
        assert_eq!(taken(empty).0, 1);
        let mut full = Bucket::full(five, at(0));
        full.put_back(100);
        assert_eq!(taken(full).0, 5);
        full.put_back(0);
        assert_eq!(full, Bucket::full(five, at(0)));
    }

    #[test]
    fn tokens_stay_tokens_when_the_numbers_change() {
        let (five, ten) = (numbers(5, HOUR), numbers(10, 1_000));
        let mut bucket = Bucket::full(five, at(0));
        assert!(bucket.take() && bucket.take());
        assert_eq!(taken(bucket.later(ten, at(0))).0, 3);
        assert_eq!(taken(bucket.later(numbers(2, HOUR), at(0))).0, 2);
        let later = bucket.later(ten, at(HOUR / 5));
        assert_eq!(taken(later).0, 4, "until now the old numbers held");
    }

    #[test]
    fn a_clock_that_is_set_changes_nothing_within_a_boot() {
        let five = numbers(5, HOUR);
        let (_, empty) = taken(Bucket::full(five, at(10 * HOUR)));
        let forward = Moment { calendar: u64::MAX, ..at(10 * HOUR) };
        let back = Moment { calendar: 0, ..at(10 * HOUR) };
        let again = empty.later(five, forward).later(five, back).later(five, forward);
        assert_eq!(taken(again).0, 0);
        let later = again.later(five, Moment { calendar: 0, ..at(11 * HOUR) });
        assert_eq!(taken(later).0, 5);
    }

    #[test]
    fn from_boot_to_boot_the_calendar_counts_and_never_twice() {
        let five = numbers(5, HOUR);
        let (_, empty) = taken(Bucket::full(five, at(10 * HOUR)));
        let other = |calendar| Moment { calendar, boot: 2, since_boot: 7 };
        assert_eq!(taken(empty.later(five, other(10 * HOUR + HOUR / 5))).0, 1);
        assert_eq!(taken(empty.later(five, other(0))).0, 0, "it was set back");
        // Two machines, of which one is a minute ahead, by turns.
        let (mut bucket, mut count) = (empty, 0);
        for _ in 0..1_000 {
            let (more, left) = taken(bucket.later(five, other(10 * HOUR)));
            let ahead = Moment { calendar: 10 * HOUR + HOUR / 60, boot: 3, since_boot: 1 };
            let (ahead, left) = taken(left.later(five, ahead));
            (bucket, count) = (left, count + more + ahead);
        }
        assert_eq!(count, 0);
    }

    #[test]
    fn a_clock_that_was_far_ahead_keeps_nobody_out_for_ever() {
        let five = numbers(5, HOUR);
        let far = Moment { calendar: 1_000_000 * HOUR, boot: 0, since_boot: 0 };
        let (_, empty) = taken(Bucket::full(five, far));
        let now = |hours| Moment { calendar: hours * HOUR, boot: 0, since_boot: 0 };
        let (count, bucket) = taken(empty.later(five, now(10)));
        assert_eq!(count, 0);
        assert_eq!(taken(bucket.later(five, now(11))).0, 0);
        assert_eq!(taken(bucket.later(five, now(12))).0, 5);
    }

    #[test]
    fn a_bucket_that_cannot_be_is_not_read() {
        let line = Bucket::full(numbers(5, HOUR), at(7)).to_string();
        assert_eq!(line.parse(), Ok(Bucket::full(numbers(5, HOUR), at(7))));
        for bad in [
            "",
            "5",
            "0 1 0 0 0 0",
            "1 0 0 0 0 0",
            "1 1 2 0 0 0",
            "1 1 1 0 0",
            "1 1 1 0 0 0 0",
            "1 1 -1 0 0 0",
            "1 1 1 0 x 0",
            "18446744073709551615 1 1 0 0 0",
        ] {
            assert_eq!(bad.parse::<Bucket>(), Err(()), "{bad}");
        }
    }

    fn any_numbers() -> impl Strategy<Value = Numbers> {
        let period = prop_oneof![
            4 => 1..1_000_u64,
            4 => 1..HOUR * 24,
            1 => select(vec![1, 3_162_240_000_000_000_000, Numbers::MOST]),
        ];
        let capacity = prop_oneof![6 => 1..20_u64, 1 => 1..=u64::from(u32::MAX)];
        (capacity, period).prop_map(|(capacity, period)| numbers(capacity, period))
    }

    /// Somebody who comes after a while, with a calendar that shows anything.
    #[derive(Clone, Debug)]
    struct Caller {
        after: u64,
        calendar: u64,
        takes: u8,
    }

    fn caller() -> impl Strategy<Value = Caller> {
        let after = prop_oneof![2 => Just(0), 4 => 0..1_000_u64, 2 => 0..HOUR];
        let calendar = prop_oneof![any::<u64>(), 0..HOUR];
        (after, calendar, 0..10_u8).prop_map(|(after, calendar, takes)| Caller {
            after,
            calendar,
            takes,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn never_more_than_the_capacity_and_what_the_time_is_worth(
            numbers in any_numbers(),
            callers in prop::collection::vec(caller(), 1..60),
        ) {
            let mut now = 0;
            let mut bucket = Bucket::full(numbers, at(0));
            let mut grants: Vec<u64> = Vec::new();
            for Caller { after, calendar, takes } in callers {
                now += after;
                bucket = bucket.later(numbers, Moment { calendar, ..at(now) });
                grants.extend((0..takes).filter(|_| bucket.take()).map(|_| now));
            }
            // In every stretch of time, with all that was granted at its ends.
            for (first, from) in grants.iter().enumerate() {
                for (last, to) in grants.iter().enumerate().skip(first) {
                    let granted = u128::try_from(last - first + 1).expect("few");
                    let worth = u128::from(to - from) * u128::from(numbers.capacity);
                    let most = u128::from(numbers.capacity) + worth / u128::from(numbers.period);
                    prop_assert!(granted <= most, "{granted} of {most} from {from} to {to}");
                }
            }
        }

        #[test]
        fn what_has_passed_is_granted(numbers in any_numbers(), periods in 1..3_u64) {
            let (count, empty) = taken_fast(Bucket::full(numbers, at(0)));
            prop_assert_eq!(count, numbers.capacity);
            let later = empty.later(numbers, at(numbers.full().saturating_mul(periods)));
            prop_assert_eq!(taken_fast(later).0, numbers.capacity);
        }

        #[test]
        fn changing_numbers_never_makes_tokens(
            first in any_numbers(),
            others in prop::collection::vec(any_numbers(), 1..20),
            takes in 0..20_u64,
        ) {
            let mut bucket = Bucket::full(first, at(0));
            for _ in 0..takes {
                bucket.take();
            }
            let had = taken_fast(bucket).0;
            for numbers in others {
                bucket = bucket.later(numbers, at(0));
                prop_assert!(taken_fast(bucket).0 <= had.min(numbers.capacity));
            }
        }

        #[test]
        fn a_bucket_is_read_as_it_was_written(numbers in any_numbers(), callers in prop::collection::vec(caller(), 0..5)) {
            let mut bucket = Bucket::full(numbers, at(0));
            for Caller { after, calendar, .. } in callers {
                bucket = bucket.later(numbers, Moment { calendar, ..at(after) });
                bucket.take();
            }
            prop_assert_eq!(bucket.to_string().parse(), Ok(bucket));
        }
    }

    /// How many tokens there are, where they may be billions.
    fn taken_fast(bucket: Bucket) -> (u64, Bucket) {
        let token = bucket.numbers.token();
        (bucket.level / token, Bucket { level: bucket.level % token, ..bucket })
    }
}
