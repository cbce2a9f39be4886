"""The example order and the transforms, against the test vectors of `crates/random/README.md` and its independent `vectors.py`; and the tables of
test vectors in the READMEs, against the programs that print them."""

import numpy as np
import pytest

from conftest import REPOSITORY, load
from fedpipe.init import he_normal
from fedpipe.order import chacha8, order, scored_rows, unit
from fedpipe.transform import Transforms

vectors = load("crates/random/vectors.py")


def test_the_readmes_have_the_vectors_that_the_programs_print():
    tables = {
        "random": vectors.streams(),
        "data": vectors.partitions(),
        **{crate: load(f"crates/{crate}/vectors.py").vectors() for crate in ("protocol", "strategy", "nn")},
    }
    for crate, table in [*tables.items(), ("data", vectors.generated())]:
        assert table in (REPOSITORY / "crates" / crate / "README.md").read_text(), crate


def test_the_first_words_are_the_published_ones():
    assert chacha8(bytes(32), 4).tobytes().hex() == "3e00ef2f895f40d67f5bb8e81f09a5a1"
    key = vectors.Stream(1, 4, client=3, round=5, epoch=2).key
    assert [f"{word:08x}" for word in chacha8(key, 4)] == ["be4368b3", "bbbfa2a1", "1f62f619", "2529ca7a"]


def test_orders_are_those_of_the_specification():
    assert order(1, 3, 5, 2, 10).tolist() == [5, 4, 2, 9, 3, 8, 1, 0, 6, 7]
    for seed, client, round, epoch, n in (0, 0, 1, 1, 10), (2**64 - 1, 2**32 - 1, 2**63, 7, 1001), (3, 1, 2, 0, 17):
        assert order(seed, client, round, epoch, n).tolist() == vectors.Stream(seed, 4, client, round, epoch).order(n)
    assert order(0, 0, 1, 0, 0).tolist() == [] and order(0, 0, 1, 0, 1).tolist() == [0]


def test_a_long_order_is_that_of_the_specification():
    expected = vectors.Stream(2**64 - 1, 4, client=2**32 - 1, round=2**63, epoch=7).order(60_000)
    assert order(2**64 - 1, 2**32 - 1, 2**63, 7, 60_000).tolist() == expected


def test_scored_rows_and_uniform_numbers_are_those_of_the_specification():
    expected = vectors.Stream(5, 7, client=2).order(600)[:512]
    assert scored_rows(5, 2, 600).tolist() == expected and len(scored_rows(5, 2, 40)) == 40
    key = bytes.fromhex("00000000000000006e6e2d696e69740000000000000000000000000000000000")
    assert [f"{number:.12g}" for number in unit(key, 3)] == ["0.919394734837", "0.822341563195", "0.967861775919"]


def test_transforms_have_the_vectors_of_the_protocol():
    readme = (REPOSITORY / "crates/protocol/README.md").read_text()

    def written(name):
        (row,) = [line for line in readme.splitlines() if line.startswith(f"| {name} | ")]
        return np.array(row.split("|")[2].split(), np.float32).tolist()

    def encoded(*texts):
        change, residual = np.array(written("change"), np.float32), np.array(written("residual"), np.float32)
        return Transforms.read(texts).encode(change, residual, seed=1, client=2, round=3)

    for text in "int8:bucket=4,l2=false", "int8:bucket=4,l2=true":
        parts = encoded(text)
        assert parts["levels"].view(np.int8).tolist() == written(f"levels under `{text}`")
        assert parts["scales"].tolist() == written(f"scales under `{text}`")
    assert encoded("clip:norm=10")["change"].tolist() == written("change under `clip:norm=10`")
    text = "topk:fraction=0.2,feedback=true"
    names = {"indices": "indices", "values": "values", "residual": "new residual"}
    assert {name: values.tolist() for name, values in encoded(text).items()} == {
        name: written(f"{row} under `{text}`") for name, row in names.items()
    }


def test_what_is_not_finite_is_sent_so_that_the_host_sees_it():
    for bad in np.nan, np.inf, -np.inf:
        change = np.array([1, bad, np.finfo(np.float32).max], np.float32)
        parts = Transforms.read(["clip:norm=1", "topk:fraction=0.1"]).encode(change, None, 1, 2, 3)
        assert parts["indices"].tolist() == [1] and not np.isfinite(parts["values"]).any()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("int4", "'int4' is not known here; known are clip, int8, topk"),
        ("int8:bucket=0", "'0' is not a whole number from 1"),
        ("int8:bucket=x", "'x' is not a whole number from 1"),
        ("int8:l2=1", "'1' is neither true nor false"),
        ("int8:bits=4", "int8 has no parameter bits=4; known are bucket, l2"),
        ("clip", "clip needs the parameter norm"),
        ("clip:norm=inf", "'inf' is not a number above 0"),
        ("topk:feedback=true", "topk needs the parameter fraction"),
        ("topk:fraction=1.5", "'1.5' is not a number above 0 and at most 1"),
        ("int8+clip:norm=1", "int8+clip:norm=1 have an encoding that is not the last"),
        ("int8+topk:fraction=1", "have an encoding that is not the last"),
    ],
)
def test_another_transform_is_refused_by_name(text, says):
    with pytest.raises(ValueError) as error:
        Transforms.read(text.split("+"))
    assert says in str(error.value)


def test_initial_weights_are_those_of_nn():
    # As in crates/nn/src/init.rs.
    assert he_normal((4,), 2, 0, 0).tolist() == np.array([1.4010118, 0.92432547, 1.8502575, -0.3338481], np.float32).tolist()
