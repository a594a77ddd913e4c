"""The tutorial's pickle is read in every protocol; a pickle that holds anything else is refused."""

import gzip
import os
import pickle
import struct

import numpy as np
import pytest

from dae_jax.datasets import pickles
from helpers import refused_file


class Harmful:
    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


PAIRS = tuple(
    (np.random.default_rng(n).random((n, 4), np.float32), np.arange(n)) for n in (5, 3, 2)
)


def assert_pairs(got, expected=PAIRS) -> None:
    for (x, y), (x_expected, y_expected) in zip(got, expected, strict=True):
        np.testing.assert_array_equal(x, x_expected)
        np.testing.assert_array_equal(y, y_expected)
        assert x.dtype == x_expected.dtype.newbyteorder("=")
        assert x.flags.writeable


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [False, True])
def test_pickles_of_every_protocol_are_read(tmp_path, protocol, zipped):
    content = pickle.dumps(PAIRS, protocol)
    (tmp_path / "x.pkl").write_bytes(gzip.compress(content) if zipped else content)
    assert_pairs(pickles.read_pickle(tmp_path / "x.pkl"))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pairs_may_be_lists_and_arrays_big_endian_in_fortran_order(tmp_path, protocol):
    pairs = [[np.asfortranarray(x.astype(">f8")), y.astype(np.uint8)] for x, y in PAIRS]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(pairs, protocol))
    assert_pairs(pickles.read_pickle(tmp_path / "x.pkl"), pairs)


def python2_array(array: np.ndarray) -> bytes:
    """The bytes that cPickle of Python 2 writes for an array in protocol 2, without the memo."""
    raw = array.tobytes()
    kind = array.dtype.str[1:].encode()
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + b"".join(b"J" + struct.pack("<i", n) for n in array.shape)
        + (b"\x86" if array.ndim == 2 else b"\x85")
        + b"cnumpy\ndtype\nU\x02" + kind + b"K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<I", len(raw)) + raw + b"tb"
    )  # fmt: skip


def test_a_pickle_of_python_2_is_read(tmp_path):
    pairs = b"".join(python2_array(x) + python2_array(y) + b"\x86" for x, y in PAIRS)
    (tmp_path / "mnist.pkl.gz").write_bytes(gzip.compress(b"\x80\x02" + pairs + b"\x87."))
    assert_pairs(pickles.read_pickle(tmp_path / "mnist.pkl.gz"))


def test_a_pickle_that_would_run_a_command_is_refused_without_running_it(tmp_path):
    pairs = (*PAIRS[:2], (Harmful(os.system, f"touch {tmp_path}/harm"), PAIRS[2][1]))
    for protocol in (0, 2, 4):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(pairs, protocol))
        refused_file(
            pickles.read_pickle, tmp_path / "x.pkl", "import posix.system", "nothing was run"
        )
    assert not (tmp_path / "harm").exists()


class WithState(Harmful):
    def __reduce__(self):
        return self.call, self.args[:-1], self.args[-1]


RECONSTRUCT, FROMBUFFER = np.zeros(1).__reduce__()[0], np.zeros(1).__reduce_ex__(5)[0]


def float_type(endian: str) -> WithState:
    return WithState(np.dtype, "f4", False, True, (3, endian, None, None, None, -1, -1, 0))


MALICIOUS = {
    "an allocation by _reconstruct": Harmful(RECONSTRUCT, np.ndarray, (10**12,), "f4"),
    "an allocation by ndarray": Harmful(np.ndarray, (10**12,)),
    "a buffer that is too small": Harmful(FROMBUFFER, b"1234", np.dtype("f4"), (10**12,), "C"),
    "a buffer of text": Harmful(FROMBUFFER, 7, np.dtype("f4"), (1,), "C"),
    "an object array": np.array([1, "a"], dtype=object),
    "a text array": np.array(["a"]),
    "a type without an array": np.dtype("f4"),
    "numbers": [1, 2, 3],
    "a dictionary": {"x": 1},
    "a set": {1},
    "another function of NumPy": Harmful(np.load, "x.npy"),
    "a frozen set": frozenset([1]),
    "a disguised object type": Harmful(FROMBUFFER, bytes(12), float_type("O,"), (1,), "C"),
    "a type of 100 values": Harmful(FROMBUFFER, bytes(400), float_type("100"), (1,), "C"),
    "a list as a size": Harmful(FROMBUFFER, b"1234", np.dtype("f4"), (10**12, [1]), "C"),
    "negative sizes": Harmful(FROMBUFFER, bytes(16), np.dtype("f4"), (-2, -2), "C"),
}


@pytest.mark.parametrize("case", MALICIOUS)
@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_is_refused_that_holds(tmp_path, case, protocol):
    pairs = (*PAIRS[:2], (MALICIOUS[case], PAIRS[2][1]))
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(pairs, protocol))
    refused_file(pickles.read_pickle, tmp_path / "x.pkl", "nothing was run")


WRONG_STATE = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
DAMAGED_PICKLES = {
    "nothing": b"",
    "half a pickle": pickle.dumps(PAIRS, 2)[:-40],
    "garbage": b"\x80\x02garbage",
    "an array with a wrong state": b"\x80\x02((" + WRONG_STATE + b"K\x07bNtNNt.",
    "an array without a state": b"\x80\x02(" + 3 * (b"(" + 2 * WRONG_STATE + b"t") + b"t.",
    "a persistent id": b"\x80\x02Px\n.",
    "a binary persistent id": b"\x80\x02K\x01Q.",
    "an extension": b"\x80\x02\x82\x01.",
    "a memo of 64 GiB": b"\x80\x02Nr\xff\xff\xff\xff.",
    "a bytearray longer than the file": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
    "bytes longer than the file": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".",
    "a call to a number": b"\x80\x02K\x01)R.",
    "a state for a number": b"\x80\x02K\x01K\x02b.",
    "two pairs": pickle.dumps(PAIRS[:2], 2),
    "a pair of three": pickle.dumps((*PAIRS[:2], (1, 2, 3)), 2),
    "half a gzip stream": gzip.compress(pickle.dumps(PAIRS, 2))[:-20],
}


@pytest.mark.parametrize("case", DAMAGED_PICKLES)
def test_a_pickle_is_refused_that_is(tmp_path, case):
    (tmp_path / "x.pkl").write_bytes(DAMAGED_PICKLES[case])
    refused_file(pickles.read_pickle, tmp_path / "x.pkl")


def test_a_pickle_that_is_too_large_when_decompressed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "_MAX_BYTES", 100)
    (tmp_path / "x.pkl").write_bytes(gzip.compress(pickle.dumps(PAIRS, 2)))
    refused_file(pickles.read_pickle, tmp_path / "x.pkl", "more than 100 bytes")
