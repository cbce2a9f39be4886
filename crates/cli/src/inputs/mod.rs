//! The inputs of the commands: the experiment, the model's dylib, the file of which a client process is started,
//! and the fields of runs by which lists are filtered.

pub(crate) mod client_commands;
pub(crate) mod condition;
pub(crate) mod dylibs;
pub(crate) mod own_file;
pub(crate) mod resolve;
