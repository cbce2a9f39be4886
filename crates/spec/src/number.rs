//! Numbers as text.

/// Returns the shortest text of a number that is the same number; in the form 1e300 if it is very great or very small.
pub fn shortest(number: f64) -> String {
    let is_plain = number == 0.0 || (1e-16..1e16).contains(&number.abs()) || !number.is_finite();
    if is_plain { number.to_string() } else { format!("{number:e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_short_whatever_its_magnitude_and_is_read_as_the_same() {
        let cases = [
            (0.0, "0"),
            (-2.5, "-2.5"),
            (1e-8, "0.00000001"),
            (1e15, "1000000000000000"),
            (1e300, "1e300"),
            (-1.5e-40, "-1.5e-40"),
            (f64::INFINITY, "inf"),
        ];
        for (number, text) in cases {
            assert_eq!((shortest(number).as_str(), text.parse()), (text, Ok(number)));
        }
        assert_eq!(shortest(f64::NAN), "NaN");
    }
}
