//! The text form of the things that an experiment names: strategies, partition schemes, optimisers. No I/O.
//!
//! - [`text`]: a [`Text`](text::Text) is `name`, `name:key=value,key=value` or `name:value`, taken apart;
//! - [`table`]: a table of rows, each a thing that can be named, with its parameters;
//! - [`error`]: each refusal is one sentence with the value, the reason and the remedy.

pub mod error;
pub mod table;
pub mod text;
