"""Federations past one machine, on Flower. The README beside this file says how."""

from .client import client_app
from .server import server_app

__all__ = ["client_app", "server_app"]
