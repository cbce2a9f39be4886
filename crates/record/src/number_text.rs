//! Numbers as the screen, the pictures and the report show them: short whatever their magnitude.

/// Returns a number with so many decimals, or in the form 1.23e7 if it is great.
pub fn rounded(number: f64, decimals: usize) -> String {
    if number.abs() < 1e6 { format!("{number:.decimals$}") } else { format!("{number:.decimals$e}") }
}

/// Returns a number with four decimals, or in the form 1.2346e7 if four decimals would hide it or are too many.
pub fn significant(number: f64) -> String {
    if number == 0.0 || number.abs() >= 1e-3 { rounded(number, 4) } else { format!("{number:.4e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn great_numbers_are_short() {
        assert_eq!(
            [-0.69, 0.00012, -1.5e30, 0.0].map(|x| rounded(x, 4)),
            ["-0.6900", "0.0001", "-1.5000e30", "0.0000"]
        );
        assert_eq!([0.5, 1e6, f64::MAX, f64::INFINITY].map(|x| rounded(x, 2)), ["0.50", "1.00e6", "1.80e308", "inf"]);
        assert_eq!([0.5, 0.0, 0.00012, 6.25e7].map(significant), ["0.5000", "0.0000", "1.2000e-4", "6.2500e7"]);
    }
}
