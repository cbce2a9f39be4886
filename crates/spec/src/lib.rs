//! The text form of the things that an experiment names: strategies, partition schemes, optimisers. No I/O.
//!
//! - [`text`]: a [`Text`](text::Text) is `name`, `name:key=value,key=value` or `name:value`, taken apart;
//! - [`table`]: a table of rows, each a thing that can be named, with its parameters;
//! - [`pinned_file`]: a file that an experiment names, with the digest of its content;
//! - [`number`]: numbers as text;
//! - [`error`]: each refusal is one sentence with the value, the reason and the remedy.

pub mod error;
pub mod number;
pub mod pinned_file;
pub mod table;
pub mod text;
