//! The commands that start client processes and relays.

use std::path::Path;

use fedpipe_client::{PROCESS_NAME, RELAY_NAME};
use fedpipe_host::ClientCommand;

use crate::inputs::own_file;

/// Returns the command that starts a client process: the file of this process under another name, also if that file
/// was replaced since.
pub(crate) fn client_command() -> ClientCommand {
    ClientCommand::new(own_file::executable(), PROCESS_NAME)
}

/// Returns the command that starts a relay to `socket`, for a client that is elsewhere.
pub(crate) fn relay_command(socket: &Path) -> ClientCommand {
    let arguments = vec![socket.into()];
    ClientCommand { arguments, elsewhere: true, ..ClientCommand::new(own_file::executable(), RELAY_NAME) }
}
