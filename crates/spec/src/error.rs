//! The refusals of a text, each one sentence with the value, the reason and the remedy.

/// The reason why a text is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// No row of the table has this name.
    #[error("the {what} `{given}` is unknown; {}known are {}", nearest_name(given, known), known.join(", "))]
    UnknownName {
        /// The kind of thing, such as "strategy".
        what: &'static str,
        /// The name that was given.
        given: String,
        /// The names of the table.
        known: Vec<&'static str>,
    },
    /// A key that the name does not take.
    #[error("`{text}` has the unknown key `{key}`; {}", known_keys(known))]
    UnknownKey {
        /// The whole text.
        text: String,
        /// The key that was given.
        key: String,
        /// The keys of the name.
        known: Vec<&'static str>,
    },
    /// A key that is given more than once.
    #[error("`{text}` gives the key `{key}` twice; give it once")]
    KeyTwice {
        /// The whole text.
        text: String,
        /// The key that was given.
        key: String,
    },
    /// A key without a default that is not given.
    #[error("`{text}` needs the key `{key}`, {wants}; write `{name}:{key}=…`")]
    MissingKey {
        /// The whole text.
        text: String,
        /// The part of the text before the colon.
        name: String,
        /// The key that is missing.
        key: &'static str,
        /// The values that are right.
        wants: &'static str,
    },
    /// A value that cannot be read.
    #[error("`{text}` has `{key}={value}`, which is not {wants}; correct the value")]
    BadValue {
        /// The whole text.
        text: String,
        /// The key of the value.
        key: &'static str,
        /// The value that was given.
        value: String,
        /// The values that are right.
        wants: &'static str,
    },
    /// A value without a key, where the name has no main key.
    #[error("`{text}` has the value `{value}` without a key; write `name:key=value,key=value`")]
    BareValue {
        /// The whole text.
        text: String,
        /// The value that was given.
        value: String,
    },
    /// A value that can be read and is outside its range.
    #[error("the {what} has {key}={value}; give {wants}")]
    OutOfRange {
        /// The kind of thing and its name, such as "strategy fedavgm".
        what: String,
        /// The key of the value.
        key: &'static str,
        /// The value that was given.
        value: String,
        /// The values that are right, with the bound that the value is beyond.
        wants: String,
    },
    /// A member of a list that stands in the wrong place.
    #[error("the {what} {given} cannot stand before {next}: {reason}")]
    Misplaced {
        /// The kind of thing, such as "transform".
        what: &'static str,
        /// The member.
        given: String,
        /// The member after it.
        next: String,
        /// The reason, and the remedy.
        reason: &'static str,
    },
}

/// A result of reading a text.
pub type Result<T> = std::result::Result<T, Error>;

/// The least similarity (Jaro-Winkler) of a name that is meant.
const LEAST_SIMILARITY: f64 = 0.8;

/// Returns a question about the known name that is most similar to the given one; empty if none is similar.
fn nearest_name(given: &str, known: &[&str]) -> String {
    let similar = known.iter().map(|name| (strsim::jaro_winkler(given, name), name));
    let nearest =
        similar.filter(|(similarity, _)| *similarity > LEAST_SIMILARITY).max_by(|(a, _), (b, _)| a.total_cmp(b));
    nearest.map_or_else(String::new, |(_, name)| format!("did you mean {name}? "))
}

fn known_keys(known: &[&str]) -> String {
    if known.is_empty() { "it takes none".to_owned() } else { format!("known are {}", known.join(", ")) }
}
