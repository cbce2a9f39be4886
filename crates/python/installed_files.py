"""The build hook of the wheel: adds the command, its models, man pages and completions.

`just wheel` sets FEDPIPE_PREFIX to a folder in which all of them are installed. Without the variable, as with
`pip install crates/python`, the wheel is pure Python and has no command.
"""

import os
import platform
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class InstalledFiles(BuildHookInterface):
    def initialize(self, version, build_data):
        prefix = os.environ.get("FEDPIPE_PREFIX")
        if not prefix or version == "editable":
            return
        command, share = Path(prefix, "bin", "fedpipe"), Path(prefix, "share")
        for path in command, share:
            if not path.exists():
                raise FileNotFoundError(f"FEDPIPE_PREFIX names {prefix}, which has no {path.name}; run `just wheel`")
        # auditwheel replaces the tag after it has checked the symbols of all binaries.
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-linux_{platform.machine()}"
        build_data["shared_scripts"][str(command)] = "fedpipe"
        build_data["shared_data"][str(share)] = "share"
