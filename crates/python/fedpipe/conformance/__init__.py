"""Checks a client in any language against the protocol, and reports each fault to its author.

    python3 -m fedpipe.conformance -- COMMAND

The suite starts COMMAND as the host does, with small partitions of its own. For each fault it reports the behaviour
that the specification (`crates/protocol/README.md`) requires, and the behaviour of the program.
"""
