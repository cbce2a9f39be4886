"""A federation of fedpipe on Flower: nodes with a `socket` in their configuration have a worker (`fedpipe serve`)."""

from fedpipe.flower import client_app, server_app

# A node without a worker trains a NumPyClient of yours: client_app(numpy_client=lambda context: YourClient(...)).
client = client_app()
server = server_app()
