"""Makes the Parquet files of the tests: `python3 make.py`, with pyarrow and Pillow."""

import io
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

HERE = pathlib.Path(__file__).parent


def png(colour: tuple) -> bytes:
    """Returns an image of 3×2 pixels of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (3, 2), colour).save(file, "png")
    return file.getvalue()


# The rows are those of the table in `source/tests.rs`.
table = {"age": [1, 2, 3, 4], "sex": ["m", "f", "f", "m"], "size": [0.5, 1.5, 2.5, 3.5], "who": ["b", "a", "b", "c"]}
pq.write_table(pa.table(table), HERE / "table.parquet", compression="zstd")

# A column of images as the package `datasets` writes it.
images = pa.array(
    [{"bytes": png((200, 100, 0)), "path": "0.png"}, {"bytes": png((1, 2, 3)), "path": "1.png"}],
    pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
)
pq.write_table(pa.table({"image": images, "label": pa.array([1, 0], pa.int64())}), HERE / "images.parquet")
