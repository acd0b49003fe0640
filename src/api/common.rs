//! Durations and quantities as people write them, and references to other objects.

use std::fmt::{self, Write as _};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A duration in hours, minutes and seconds, such as `90s`, `30m` or `1h30m`; in a status also with milliseconds,
/// such as `850ms`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("maxLength" = 16))]
pub struct Span(pub String);

impl Span {
    /// Takes over a text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The duration, or `None` if the text is not one (the API server lets none of those through).
    pub fn duration(&self) -> Option<Duration> {
        parse_span(&self.0)
    }

    /// Reads a duration that a person typed; the error says what one looks like.
    pub fn typed(text: &str) -> Result<Duration, String> {
        parse_span(text).ok_or_else(|| format!("{text:?} is not a duration such as 90s, 30m or 1h30m"))
    }

    /// The text for a duration: to the millisecond below ten seconds, to the second from there on.
    pub fn from_duration(duration: Duration) -> Self {
        let seconds = duration.as_secs();
        let millis = duration.subsec_millis();
        if seconds < 10 {
            return Self(match (seconds, millis) {
                (0, millis) => format!("{millis}ms"),
                (seconds, 0) => format!("{seconds}s"),
                (seconds, millis) => format!("{seconds}s{millis}ms"),
            });
        }
        let mut text = String::new();
        for (amount, unit) in [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")] {
            if amount > 0 {
                // Writing to a string does not fail.
                let _ = write!(text, "{amount}{unit}");
            }
        }
        Self(text)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The units of a [`Span`], longest first, in milliseconds.
const SPAN_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

fn parse_span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut millis: u64 = 0;
    let mut units = SPAN_UNITS.iter();
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        // Units come longest first and once each, so the search goes on where it stopped.
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        millis = millis.checked_add(digits.parse::<u64>().ok()?.checked_mul(*factor)?)?;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::from_millis(millis))
}

/// An amount of memory or disk in the notation of Kubernetes, such as `8Gi` or `1536Mi`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("maxLength" = 20))]
pub struct Quantity(pub String);

impl Quantity {
    /// Takes over a text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The amount in bytes, rounded up to a whole byte; `None` if the text is no quantity, is negative, or exceeds
    /// what 63 bits hold.
    pub fn bytes(&self) -> Option<i64> {
        parse_quantity(&self.0)
    }

    /// So many mebibytes.
    pub fn mib(amount: u64) -> Self {
        Self::multiple(amount, 1 << 20)
    }

    /// So many gibibytes.
    pub fn gib(amount: u64) -> Self {
        Self::multiple(amount, 1 << 30)
    }

    fn multiple(amount: u64, unit: i64) -> Self {
        Self::from_bytes(i64::try_from(amount).unwrap_or(i64::MAX).saturating_mul(unit))
    }

    /// The shortest text for a number of bytes without a fraction: `8Gi`, `1536Mi`, `1000`.
    pub fn from_bytes(bytes: i64) -> Self {
        for (unit, factor) in BINARY_UNITS.iter().rev() {
            if bytes != 0 && bytes % factor == 0 {
                return Self(format!("{}{unit}", bytes / factor));
            }
        }
        Self(bytes.to_string())
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const BINARY_UNITS: [(&str, i64); 6] =
    [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30), ("Ti", 1 << 40), ("Pi", 1 << 50), ("Ei", 1 << 60)];

/// The decimal suffixes as powers of ten of a byte.
const DECIMAL_UNITS: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

fn parse_quantity(text: &str) -> Option<i64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    // The number is `digits` divided by ten to the power of `places`.
    let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let places = u32::try_from(fraction.len()).ok()?;
    let scaled = match BINARY_UNITS.iter().find(|(unit, _)| *unit == suffix) {
        Some((_, factor)) => divide_up(digits.checked_mul(i128::from(*factor))?, power_of_ten(places)?)?,
        None => scale_decimal(digits, decimal_exponent(suffix)? - i32::try_from(places).ok()?)?,
    };
    i64::try_from(scaled).ok()
}

fn decimal_exponent(suffix: &str) -> Option<i32> {
    if let Some((_, exponent)) = DECIMAL_UNITS.iter().find(|(unit, _)| *unit == suffix) {
        return Some(*exponent);
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    (-18..=18).contains(&exponent).then_some(exponent)
}

fn scale_decimal(digits: i128, exponent: i32) -> Option<i128> {
    let power = power_of_ten(exponent.unsigned_abs())?;
    if exponent < 0 { divide_up(digits, power) } else { digits.checked_mul(power) }
}

fn power_of_ten(exponent: u32) -> Option<i128> {
    10_i128.checked_pow(exponent)
}

fn divide_up(amount: i128, by: i128) -> Option<i128> {
    Some(amount.checked_add(by - 1)? / by)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        let cases = [
            ("0s", Some(0)),
            ("90s", Some(90_000)),
            ("1h30m", Some(5_400_000)),
            ("2m5s", Some(125_000)),
            ("850ms", Some(850)),
            ("9s850ms", Some(9_850)),
            ("", None),
            ("  ", None),
            ("5", None),
            ("7d", None),
            ("1s1h", None),
            ("1m1m", None),
            ("-1s", None),
            ("1.5h", None),
            ("99999999999999999999h", None),
        ];
        for (text, millis) in cases {
            assert_eq!(Span::new(text).duration(), millis.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn spans_are_written_and_read_back() {
        for (millis, text) in
            [(0, "0ms"), (850, "850ms"), (2_000, "2s"), (9_850, "9s850ms"), (75_400, "1m15s"), (3_600_000, "1h")]
        {
            let span = Span::from_duration(Duration::from_millis(millis));
            assert_eq!(span.0, text);
            assert!(span.duration().is_some());
        }
    }

    #[test]
    fn quantities_are_read() {
        let cases = [
            ("8Gi", Some(8 << 30)),
            ("1536Mi", Some(1536 << 20)),
            ("1.5Gi", Some(1536 << 20)),
            ("0.1Ki", Some(103)),
            ("1000", Some(1000)),
            ("1k", Some(1000)),
            ("2e3", Some(2000)),
            ("1500m", Some(2)),
            (".5k", Some(500)),
            ("", None),
            (".", None),
            ("1.2.3", None),
            ("6 gigs", None),
            ("-1Gi", None),
            ("1Zi", None),
            ("16Ei", None),
            ("1e99", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(Quantity::new(text).bytes(), bytes, "{text:?}");
        }
    }

    #[test]
    fn quantities_are_written_without_fractions() {
        for (bytes, text) in [(8 << 30, "8Gi"), (1536 << 20, "1536Mi"), (1 << 40, "1Ti"), (1000, "1000"), (0, "0")] {
            assert_eq!(Quantity::from_bytes(bytes).0, text);
            assert_eq!(Quantity::new(text).bytes(), Some(bytes));
        }
    }
}
