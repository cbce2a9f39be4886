//! One client process: spawn, pipes, conversation, exit and its cause, log, descendants.

pub(crate) mod affinity;
pub(crate) mod container;
pub(crate) mod conversation;
pub(crate) mod end;
pub(crate) mod lane;
mod last_words;
pub(crate) mod launched;
pub(crate) mod log;
pub(crate) mod peer;
pub(crate) mod pipes;
pub(crate) mod poll;
#[cfg(any(test, fuzzing))]
pub(crate) mod scripted;
pub(crate) mod spawn;
pub(crate) mod stray;
pub(crate) mod wakeup;
