"""Tells the author of a client, in any language, what the program gets wrong.

    python3 -m fedpipe.conformance -- COMMAND

It starts COMMAND as the host does, with small partitions of its own, and says what the protocol's specification
(`crates/protocol/README.md`) asks and what the program did instead.
"""
