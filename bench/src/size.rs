//! Parses sizes of the command line: `4096`, `16MiB`, `1GiB`.

/// Parses a size into bytes: a whole number, followed by `B`, `KiB`, `MiB`, `GiB` or no unit.
///
/// The error is a message for the command line: for other units, fractions, signs, and sizes that exceed 64
/// bits.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        unit => return Err(format!("{unit} is no unit; use B, KiB, MiB or GiB")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text} is no size"))?;
    number.checked_mul(unit).ok_or_else(|| format!("{text} is too much"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("16MiB", 16 << 20), ("1GiB", 1 << 30)] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "1MB", "-1", "1.5GiB", "99999999999GiB"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
