"""Federations on several machines, with Flower. The README beside this file has the instructions."""

from .client import client_app
from .server import server_app

__all__ = ["client_app", "server_app"]
