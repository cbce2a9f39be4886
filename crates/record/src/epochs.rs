//! A number of local epochs, as an experiment has it: a whole number is written as one.

use serde::{Deserialize, Serialize, Serializer};

/// Local epochs of a round, such as 1 or 2.5.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Epochs(pub f64);

impl Serialize for Epochs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = self.0 as i64;
        if whole as f64 == self.0 { serializer.serialize_i64(whole) } else { serializer.serialize_f64(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_value::KeyValue;

    #[test]
    fn a_whole_number_is_written_without_a_fraction_and_both_are_read() {
        for (text, value) in [("3", 3.0), ("2.5", 2.5), ("0.5", 0.5)] {
            let epochs = Epochs::read(text).unwrap();
            assert_eq!(epochs, Epochs(value));
            let written = toml::Value::try_from(epochs).unwrap();
            assert_eq!(written.to_string(), text);
            assert_eq!(written.try_into(), Ok(epochs));
        }
        assert!(Epochs::read("many").is_err());
    }
}
