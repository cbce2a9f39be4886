"""Partition files are mapped, in order and scaled. The fault of another file is named."""

import hashlib
import json
import struct

import numpy as np
import pytest

from fedpipe import DataError, ModelError, Partition


def write(path, pad=64, **tensors):
    header, data = {}, b""
    for name, (dtype, array) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % pad)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


IMAGES = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
LABELS = np.array([2, 0, 1], "<u4")


def test_examples_come_in_order_and_scaled(tmp_path):
    partition = Partition(write(tmp_path / "p", labels=("U32", LABELS), examples=("U8", IMAGES)))
    assert len(partition) == 3 and isinstance(partition.rows.base, (np.ndarray, np.memmap))
    first, second = partition.examples(np.array([2, 0, 1])).batches(2)
    assert first.labels.tolist() == [1, 2] and second.labels.tolist() == [0] and first.inputs.shape == (2, 2, 2)
    assert first.inputs.dtype == np.float32 and first.inputs[0, 0, 1] == np.float32(9) / np.float32(255)


def test_floats_are_used_as_they_are_and_unaligned_ones_copied(tmp_path):
    values = np.array([[0.5], [-1], [1e-30]], "<f4")
    for pad in 64, 1:
        odd = np.zeros(1, np.uint8)
        path = write(tmp_path / str(pad), pad, odd=("U8", odd), examples=("F32", values), labels=("U32", LABELS))
        assert Partition(path).examples().all().inputs.tolist() == values.tolist()


@pytest.mark.parametrize(
    ("says", "contents"),
    [
        ("no tensor `labels`", {"examples": ("U8", IMAGES)}),
        ("`labels` U32", {"examples": ("U8", IMAGES), "labels": ("U8", LABELS.astype(np.uint8))}),
        (r"not \(n, …\) and \(n\)", {"examples": ("U8", IMAGES), "labels": ("U32", LABELS[:2])}),
        ("must be U8 or F32", {"examples": ("U32", LABELS), "labels": ("U32", LABELS)}),
        ("not a safetensors file: 'BF16'", {"examples": ("BF16", IMAGES), "labels": ("U32", LABELS)}),
    ],
)
def test_the_fault_of_a_file_that_is_not_a_partition_is_named(tmp_path, says, contents):
    with pytest.raises(DataError, match=says):
        Partition(write(tmp_path / "p", **contents))


HEADERS = [struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 9) + b'{"a":{}}x']


@pytest.mark.parametrize("contents", [b"", b"short", b"\xff" * 100, *HEADERS])
def test_bytes_that_are_not_safetensors_are_refused(tmp_path, contents):
    (tmp_path / "p").write_bytes(contents)
    with pytest.raises(DataError, match="is not a safetensors file"):
        Partition(tmp_path / "p")


def test_a_truncated_file_is_refused(tmp_path):
    whole = write(tmp_path / "p", labels=("U32", LABELS), examples=("U8", IMAGES)).read_bytes()
    for end in range(len(whole)):
        (tmp_path / "p").write_bytes(whole[:end])
        with pytest.raises(DataError):
            Partition(tmp_path / "p")


def test_another_task_is_refused(tmp_path):
    partition = Partition(write(tmp_path / "p", labels=("U32", LABELS), examples=("U8", IMAGES)))
    with pytest.raises(DataError, match=r"shape \(2, 2\), the task says \(4,\)"):
        partition.check((4,), 3)
    with pytest.raises(DataError, match="the label 2 at row 0, only 0 to 1 exist"):
        partition.check((2, 2), 2)


@pytest.mark.parametrize(("dtype", "values"), [("U8", IMAGES), ("F32", IMAGES.astype("<f4"))])
@pytest.mark.parametrize("pad", [64, 1])
def test_the_hash_is_that_of_the_labels_and_then_the_examples(tmp_path, dtype, values, pad):
    odd = ("U8", np.zeros(1, np.uint8))
    path = write(tmp_path / "p", pad, odd=odd, examples=(dtype, values), labels=("U32", LABELS))
    expected = hashlib.sha256(LABELS.tobytes() + values.tobytes()).hexdigest()
    assert Partition(path).sha256() == expected
    Partition(path).check_sha256(expected)
    Partition(path).check_sha256(None)


def test_another_content_than_expected_is_named_with_both_hashes_and_the_remedy(tmp_path):
    partition = Partition(write(tmp_path / "p", labels=("U32", LABELS), examples=("U8", IMAGES)))
    hashes = f"p has contents with SHA-256 {partition.sha256()[:16]}, the run's have 0123456789abcdef: "
    with pytest.raises(DataError, match=f"{hashes}.*; delete the cache entry {tmp_path} and run again"):
        partition.check_sha256("0123456789abcdef0123")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot read .*nonesuch: No such file"):
        Partition(tmp_path / "nonesuch")


TARGETS = np.array([0.5, -2, 1e-30], "<f4")


def test_real_targets_come_in_order(tmp_path):
    partition = Partition(write(tmp_path / "p", targets=("F32", TARGETS), examples=("U8", IMAGES)))
    first, second = partition.examples(np.array([2, 0, 1])).batches(2)
    assert first.targets.dtype == np.float32 and first.targets.tolist() == TARGETS[[2, 0]].tolist()
    assert second.targets.tolist() == [-2] and len(second) == 1
    with pytest.raises(ModelError, match="real targets and no labels; use batch.targets"):
        first.labels
    labels = Partition(write(tmp_path / "q", labels=("U32", LABELS), examples=("U8", IMAGES))).examples().all()
    with pytest.raises(ModelError, match="labels and no real targets; use batch.labels"):
        labels.targets


def test_targets_of_the_other_kind_and_infinite_ones_are_refused(tmp_path):
    real = Partition(write(tmp_path / "p", targets=("F32", TARGETS), examples=("U8", IMAGES)))
    real.check((2, 2), None)
    with pytest.raises(DataError, match="p has real targets, the task says classes"):
        real.check((2, 2), 3)
    with pytest.raises(DataError, match="use `targets`"):
        real.labels
    labels = Partition(write(tmp_path / "q", labels=("U32", LABELS), examples=("U8", IMAGES)))
    with pytest.raises(DataError, match="q has labels, the task says a real target"):
        labels.check((2, 2), None)
    infinite = np.array([1, np.inf, np.nan], "<f4")
    with pytest.raises(DataError, match="the target inf at row 1, only finite numbers"):
        Partition(write(tmp_path / "r", targets=("F32", infinite), examples=("U8", IMAGES))).check((2, 2), None)
    with pytest.raises(DataError, match="it has both `labels` and `targets`"):
        Partition(write(tmp_path / "s", targets=("F32", TARGETS), labels=("U32", LABELS), examples=("U8", IMAGES)))
