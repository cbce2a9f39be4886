"""What becomes of the change of a client's weights on the way to the host.

The protocol (`crates/protocol/README.md`) specifies the bits, with test vectors. `Transforms` is the chain of a request;
each transform has a file.
"""

from .chain import Transforms

__all__ = ["Transforms"]
