//! Numbers with a unit, as people write them in a file: sizes and periods.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount of memory or of message, in bytes. Written as `"64MiB"` or as a whole number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ByteSize(usize);

impl ByteSize {
    /// What a size looks like, for messages.
    pub const ALLOWED: &str = "a size such as \"512KiB\", \"64MiB\" or \"1GiB\", or a whole number of bytes";

    const UNITS: [(&str, usize); 5] =
        [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

    /// So many bytes.
    pub const fn bytes(bytes: usize) -> ByteSize {
        ByteSize(bytes)
    }

    /// So many times 1024 bytes.
    pub const fn kib(count: usize) -> ByteSize {
        ByteSize(count << 10)
    }

    /// So many times 1024 KiB.
    pub const fn mib(count: usize) -> ByteSize {
        ByteSize(count << 20)
    }

    /// So many times 1024 MiB.
    pub const fn gib(count: usize) -> ByteSize {
        ByteSize(count << 30)
    }

    /// The number of bytes.
    pub const fn get(self) -> usize {
        self.0
    }

    /// The number of bytes for an interface that takes 32 bits; what does not fit becomes the most that does.
    pub fn saturating_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<ByteSize, Self::Err> {
        let (count, unit) = split(text).ok_or(Self::ALLOWED)?;
        let factor = match unit {
            "" => 1,
            _ => Self::UNITS.iter().find(|(name, _)| *name == unit).ok_or(Self::ALLOWED)?.1,
        };
        let bytes = usize::try_from(count).ok().and_then(|count| count.checked_mul(factor));
        bytes.map(ByteSize).ok_or(Self::ALLOWED)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |factor: usize| self.0 >= factor && self.0.is_multiple_of(factor);
        let (unit, factor) = Self::UNITS.into_iter().find(|(_, factor)| whole(*factor)).unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

/// A stretch of time. Written with its unit: `"250ms"`, `"5s"`, `"2m"`, `"1h"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Period(Duration);

impl Period {
    /// What a period looks like, for messages.
    pub const ALLOWED: &str =
        "a duration with its unit, such as \"250ms\", \"5s\", \"2m\" or \"1h\", of at most \"8760h\"";

    /// No time at all; many settings take it for "never" or "off" and say so.
    pub const ZERO: Period = Period(Duration::ZERO);

    /// A year. Longer ones are mistakes, and would overflow the clock of some systems.
    const MOST: Duration = Duration::from_secs(365 * 24 * 3600);

    const UNITS: [(&str, u64); 5] =
        [("h", 3_600_000_000), ("m", 60_000_000), ("s", Self::SECOND), ("ms", 1000), ("us", 1)];

    /// In the smallest unit.
    const SECOND: u64 = 1_000_000;

    /// So many microseconds; `None` for more than is allowed.
    pub fn micros(count: u64) -> Option<Period> {
        Some(Period(Duration::from_micros(count))).filter(|period| period.0 <= Self::MOST)
    }

    /// So many milliseconds.
    pub const fn millis(count: u64) -> Period {
        Period(Duration::from_millis(count))
    }

    /// So many seconds.
    pub const fn seconds(count: u64) -> Period {
        Period(Duration::from_secs(count))
    }

    /// So many minutes.
    pub const fn minutes(count: u64) -> Period {
        Period(Duration::from_secs(60 * count))
    }

    /// As the standard library has it.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// `None` for no time at all, where that means "never" or "off".
    pub fn unless_zero(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

impl FromStr for Period {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Period, Self::Err> {
        let (count, unit) = split(text).ok_or(Self::ALLOWED)?;
        let (_, factor) = Self::UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(Self::ALLOWED)?;
        count.checked_mul(factor).and_then(Period::micros).ok_or(Self::ALLOWED)
    }
}

impl fmt::Display for Period {
    /// In the largest unit of which there are two or more, without a fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros() as u64;
        let whole = |factor: u64| micros.is_multiple_of(factor) && (micros >= 2 * factor || factor <= Self::SECOND);
        let (unit, factor) = Self::UNITS.into_iter().find(|(_, factor)| whole(*factor)).unwrap_or(("us", 1));
        write!(f, "{}{unit}", micros / factor)
    }
}

/// Cuts `64MiB` into its number and its unit.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(end);
    Some((count.parse().ok()?, unit))
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Period, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| D::Error::invalid_value(Unexpected::Str(&text), &Period::ALLOWED))
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ByteSize::ALLOWED)
    }

    fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
        let fits = usize::try_from(bytes).map(ByteSize);
        fits.map_err(|_| E::invalid_value(Unexpected::Unsigned(bytes), &ByteSize::ALLOWED))
    }

    fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
        let fits = u64::try_from(bytes).map_err(|_| E::invalid_value(Unexpected::Signed(bytes), &ByteSize::ALLOWED))?;
        self.visit_u64(fits)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteSize, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &ByteSize::ALLOWED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_and_a_binary_unit_or_bytes() {
        for (text, bytes) in [("0", 0), ("17", 17), ("17B", 17), ("1KiB", 1024), ("64MiB", 64 << 20), ("3GiB", 3 << 30)]
        {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "MiB", "64MB", "64 MiB", "1.5GiB", "-1", "+1", "64mib", "99999999999TiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_period_needs_its_unit() {
        for (text, millis) in
            [("0s", 0), ("250ms", 250), ("5s", 5000), ("7000us", 7), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(text.parse(), Ok(Period::millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "5 s", "1.5s", "-1s", "5sec", "1m30s", "9000h", "99999999999999999999s"] {
            assert!(text.parse::<Period>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn both_are_written_the_way_they_are_read() {
        for text in ["0s", "1us", "1500us", "1ms", "1500ms", "60s", "90s", "2m", "10m", "60m", "2h"] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
        }
        for text in ["0B", "1B", "1000B", "1KiB", "1025KiB", "64MiB", "1GiB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn no_time_at_all_can_mean_never() {
        assert_eq!(Period::ZERO.unless_zero(), None);
        assert_eq!(Period::seconds(1).unless_zero(), Some(Duration::from_secs(1)));
    }
}
