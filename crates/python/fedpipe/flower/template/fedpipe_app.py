"""A federation of fedpipe on Flower. A node with a `socket` in its configuration has a worker (`fedpipe serve`)."""

from fedpipe.flower import client_app, server_app

# A node without a worker trains your NumPyClient: client_app(numpy_client=lambda context: YourClient(...)).
client = client_app()
server = server_app()
