//! The inputs of the commands: the experiment, the model's dylib, and the file of which a client process is started.

pub(crate) mod client_commands;
pub(crate) mod dylibs;
pub(crate) mod own_file;
pub(crate) mod resolve;
