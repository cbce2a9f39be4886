//! Numbers with their nouns, for sentences.

use std::fmt::Display;

/// Returns a number of things in words, such as `1 client` and `2 clients`; `noun` is the singular.
pub fn counted<N: Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    if number == N::from(1) {
        return format!("{number} {noun}");
    }
    match noun.strip_suffix('y') {
        Some(stem) => format!("{number} {stem}ies"),
        None if noun.ends_with('s') => format!("{number} {noun}es"),
        None => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noun_agrees_with_its_number() {
        assert_eq!([0_u64, 1, 2].map(|n| counted(n, "client")), ["0 clients", "1 client", "2 clients"]);
        assert_eq!([1_usize, 2].map(|n| counted(n, "old entry")), ["1 old entry", "2 old entries"]);
        assert_eq!([1_u32, 2].map(|n| counted(n, "process")), ["1 process", "2 processes"]);
    }
}
