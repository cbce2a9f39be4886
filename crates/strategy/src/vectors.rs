//! The test vectors of the README, which `vectors.py` prints without this crate.

/// Returns the value of a vector.
pub(crate) fn written(name: &str) -> &'static str {
    let prefix = format!("| {name} | ");
    let row = include_str!("../README.md").lines().find_map(|line| line.strip_prefix(&prefix));
    row.unwrap_or_else(|| panic!("the README has no vector {name:?}")).trim_end_matches(" |")
}

/// Returns the numbers of a vector. Nine digits name an f32.
pub(crate) fn written_weights(name: &str) -> Vec<f32> {
    written(name).split(' ').map(|value| value.parse().unwrap()).collect()
}
