"""Makes the Parquet files of the tests: `python3 make.py`, with pyarrow and Pillow."""

import io
import json
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

# A table whose labels have names, as the package `datasets` writes it. The large numbers of clients differ in the last digit.
features = {"info": {"features": {"x": {"dtype": "float16", "_type": "Value"}, "label": {"names": ["dog", "cat", "emu"], "_type": "ClassLabel"}}}}
named = pa.table(
    {
        "x": pa.array([1.5, 2.5, 3.5], pa.float16()),
        "label": pa.array([1, 0, 1], pa.int64()),
        "who": pa.array([9007199254740993, 9007199254740992, 9007199254740993], pa.int64()),
        "list": pa.array([[0.5] * 100] * 3),
        "raw": pa.array([b"a", b"b", b"a"]),
        "colour": pa.array(["red", "blue", "red"]).dictionary_encode(),
        "gap": pa.array([1, None, 3]),
    }
).replace_schema_metadata({"huggingface": json.dumps(features)})
tables = {"named": ["x", "label", "who"], "odd": ["x", "list"], "bytes": ["x", "raw", "colour"], "gap": ["gap", "colour"]}
for name, columns in tables.items():
    pq.write_table(named.select(columns), HERE / f"{name}.parquet")
