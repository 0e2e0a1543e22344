//! Sizes and times in settings, and the bounds of a setting's value.
//!
//! A size or time is a number with a unit, as in `64MiB` or `5m`. A number alone counts in the unit that the
//! setting's name ends with: bytes or seconds.

use std::error::Error;
use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::str::FromStr;
use std::time::Duration;

use clap::Arg;
use clap::builder::TypedValueParser as _;

/// Units of sizes, smallest first; those of powers of ten are read and never printed.
const SIZE_UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];
/// Units of times in milliseconds.
const TIME_UNITS: [(&str, u64); 6] =
    [("", 1_000), ("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A size in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ByteSize(u64);

impl ByteSize {
    /// The size of nothing.
    pub const ZERO: Self = Self(0);

    /// Returns a size of that many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Returns a size of that many mebibytes, which must be fewer than 2^44.
    pub const fn mib(mebibytes: u64) -> Self {
        Self(mebibytes << 20)
    }

    /// Returns the number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = NoQuantity;

    fn from_str(text: &str) -> Result<Self, NoQuantity> {
        parse(text, &SIZE_UNITS).map(Self).ok_or(NoQuantity)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = SIZE_UNITS[2..6].iter().rev();
        let (name, factor) = largest(self.0, units).unwrap_or(("B", 1));
        write!(out, "{}{name}", self.0 / factor)
    }
}

/// A length of time, to the millisecond.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TimeSpan(Duration);

impl TimeSpan {
    /// Returns a time of that many seconds.
    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Returns the time as a duration of the standard library.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for TimeSpan {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl FromStr for TimeSpan {
    type Err = NoQuantity;

    fn from_str(text: &str) -> Result<Self, NoQuantity> {
        let milliseconds = parse(text, &TIME_UNITS).ok_or(NoQuantity)?;
        Ok(Self(Duration::from_millis(milliseconds)))
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Seconds are printed up to two minutes: a default of `60s` beside a name that ends with `seconds`.
        let milliseconds = self.0.as_millis() as u64;
        let units = if milliseconds < 120_000 { &TIME_UNITS[2..3] } else { &TIME_UNITS[2..] };
        let (name, factor) = largest(milliseconds, units.iter().rev()).unwrap_or(("ms", 1));
        let (name, factor) = if milliseconds == 0 { ("s", 1) } else { (name, factor) };
        write!(out, "{}{name}", milliseconds / factor)
    }
}

/// The upper bound of times: no timer of the runtime overflows below it.
pub const YEAR: TimeSpan = TimeSpan::secs(365 * 86_400);

/// The error for text that is no number with a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a number with a unit")]
pub struct NoQuantity;

/// Multiplies the number at the beginning of a text with the unit behind it. None if one of them is missing
/// or unknown, or the product is above 64 bits.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start();
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Finds the first unit that divides an amount above zero without remainder.
fn largest<'a>(
    amount: u64,
    mut units: impl Iterator<Item = &'a (&'static str, u64)>,
) -> Option<(&'static str, u64)> {
    units.find(|(_, factor)| amount > 0 && amount.is_multiple_of(*factor)).copied()
}

/// A type of values that have an order, and so can have bounds.
pub trait Quantity: FromStr + fmt::Display + PartialOrd + Clone + Send + Sync + 'static {
    /// The noun for a value, with its article and an example where the form is not obvious.
    const NOUN: &'static str;
}

impl Quantity for ByteSize {
    const NOUN: &'static str = "a size such as 64MiB";
}

impl Quantity for TimeSpan {
    const NOUN: &'static str = "a time such as 60s";
}

impl Quantity for usize {
    const NOUN: &'static str = "a number";
}

impl Quantity for u32 {
    const NOUN: &'static str = "a number";
}

/// The error for a value outside its bounds, or of another form: the text that a setting expects.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected {0}")]
pub struct Expected(pub String);

/// Methods that the fields of a section use in their `#[arg(...)]` attribute, beside those of clap.
pub trait SettingArg {
    /// Refuses values outside bounds, and appends the bounds to the setting's help.
    fn within<T: Quantity>(
        self,
        bounds: impl RangeBounds<T> + Clone + Send + Sync + 'static,
    ) -> Self;

    /// Makes a setting true or false: `--name` alone means true, `--name=false` overrides other sources.
    fn switch(self) -> Self;
}

impl SettingArg for Arg {
    fn within<T: Quantity>(
        self,
        bounds: impl RangeBounds<T> + Clone + Send + Sync + 'static,
    ) -> Self {
        let range = range_text(&bounds);
        let help = self.get_help().map(ToString::to_string).unwrap_or_default();
        let help = format!("{help}. {}{}", &range[..1].to_uppercase(), &range[1..]);
        let parser = clap::builder::NonEmptyStringValueParser::new().try_map(move |text| {
            let value = text.parse::<T>().ok().filter(|value| bounds.contains(value));
            let expected = || Expected(format!("{}, {}", T::NOUN, range_text(&bounds)));
            value.ok_or_else(|| -> Box<dyn Error + Send + Sync> { expected().into() })
        });
        self.help(help).value_parser(parser)
    }

    fn switch(self) -> Self {
        self.action(clap::ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("true|false")
            .hide_possible_values(true)
    }
}

/// Says bounds in English.
fn range_text<T: fmt::Display>(bounds: &impl RangeBounds<T>) -> String {
    let least = match bounds.start_bound() {
        Bound::Included(least) | Bound::Excluded(least) => Some(format!("at least {least}")),
        Bound::Unbounded => None,
    };
    let most = match bounds.end_bound() {
        Bound::Included(most) | Bound::Excluded(most) => Some(format!("at most {most}")),
        Bound::Unbounded => None,
    };
    least.into_iter().chain(most).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_with_and_without_a_unit() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("64MiB", 64 << 20), ("2 gib", 2 << 30)] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        assert_eq!("3kB".parse(), Ok(ByteSize(3_000)));
        for (text, milliseconds) in [("60", 60_000), ("1500ms", 1_500), ("5m", 300_000)] {
            assert_eq!(text.parse(), Ok(TimeSpan(Duration::from_millis(milliseconds))), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5GiB", "64Mi", "1 parsec", "20000000TiB"] {
            assert!(
                text.parse::<ByteSize>().is_err() && text.parse::<TimeSpan>().is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_printed_size_or_time_is_read_as_the_same() {
        for (bytes, text) in [(0, "0B"), (4096, "4KiB"), (4097, "4097B"), (1 << 30, "1GiB")] {
            assert_eq!(ByteSize(bytes).to_string(), text);
            assert_eq!(text.parse(), Ok(ByteSize(bytes)));
        }
        let times =
            [(0, "0s"), (1, "1ms"), (60_000, "60s"), (7_200_000, "2h"), (90_500, "90500ms")];
        for (milliseconds, text) in times {
            let time = TimeSpan(Duration::from_millis(milliseconds));
            assert_eq!(time.to_string(), text);
            assert_eq!(text.parse(), Ok(time));
        }
    }
}
