"""Many ids at once: lists, and numpy's arrays."""

import oncelog
import pytest
from oncelog import Verdict

F, D, P = Verdict.FRESH, Verdict.DUPLICATE, Verdict.IN_PROGRESS


def test_a_list_is_marked_in_order(store):
    store.mark("b")
    marked = store.mark_batch(["a", b"b", "a", "ä"])
    assert marked.verdicts == [F, D, D, F]
    assert marked.verdicts[0] is F
    assert list(marked.lsns) == [store.find(id).lsn for id in ("a", "b", "a", "ä")]
    assert marked.newest == store.find("ä").lsn
    assert store.contains_batch(("a", "ä", "c")) == [True, True, False]
    found = store.find_batch(id for id in ("a", "c"))
    assert found == [store.find("a"), None]


def test_no_ids_are_no_ids(store):
    assert store.mark_batch([]).verdicts == [] and store.mark_batch([]).newest == 0
    assert store.contains_batch([]) == [] and store.find_batch([]) == []
    assert store.begin_batch([], lease=30).verdicts == []


def test_what_are_no_ids_is_refused_and_nothing_is_marked(store):
    for wrong in ("abc", b"abc", ["a", 7], bytearray(b"abc"), memoryview(b"abc"), None):
        with pytest.raises(TypeError):
            store.mark_batch(wrong)
    with pytest.raises(oncelog.InvalidArgumentError):
        store.contains_batch(["a", ""])
    assert store.contains_batch(["a", "b", "c"]) == [False] * 3


def test_claims_of_many_complete_at_the_end_of_their_block(store):
    store.mark("b")
    held = store.begin("c", lease=30)
    with store.begin_batch(["a", "b", "c", "d"], lease=30) as batch:
        assert batch.verdicts == [F, D, P, F]
        batch.abandon_from(3)
        assert batch.verdicts == [F, D, P]
    assert batch.newest == store.find("a").lsn
    assert store.contains_batch(["a", "c", "d"]) == [True, False, False]
    held.abandon()
    failed = store.begin_batch(["c", "d"], lease=3600)
    with pytest.raises(KeyError):
        with failed:
            raise KeyError("work")
    assert store.contains_batch(["c", "d"]) == [False, False] and store.claims() == []
    with pytest.raises(oncelog.ClaimLostError, match="^1 "):
        with store.begin_batch(["c", "d"], lease=30):
            store.release("c")
    assert store.contains_batch(["c", "d"]) == [False, True]


def test_an_array_of_fixed_width_bytes_is_its_ids(store):
    numpy = pytest.importorskip("numpy")
    ids = numpy.array([b"a", b"longer", b"a"])
    marked = store.mark_batch(ids)
    assert marked.verdicts.dtype == numpy.uint8 and marked.verdicts.tolist() == [0, 0, 1]
    assert ((marked.verdicts == Verdict.FRESH) == [True, True, False]).all()
    assert marked.lsns.dtype == numpy.uint64 and marked.newest == store.find("longer").lsn
    assert store.find("a").id == b"a"
    known = store.contains_batch(numpy.array([b"a", b"z"]))
    assert known.dtype == bool and known.tolist() == [True, False]
    assert store.find_batch(ids)[1].id == b"longer"
    assert store.mark_batch(ids[:0]).newest == 0


def test_rows_of_bytes_are_ids_as_they_are(store):
    numpy = pytest.importorskip("numpy")
    rows = numpy.array([[1, 0], [0, 0]], dtype=numpy.uint8)
    with store.begin_batch(rows, lease=30) as batch:
        assert batch.verdicts.tolist() == [0, 0]
    assert b"\x01\x00" in store and b"\x00\x00" in store and b"\x01" not in store


def test_other_arrays_are_refused(store):
    numpy = pytest.importorskip("numpy")
    for wrong in (
        numpy.array(["text"]),
        numpy.arange(3),
        numpy.array([["a", "b"]], dtype="S1"),
        numpy.zeros((2, 2), dtype=numpy.int32),
        numpy.array([b"a", None], dtype=object),
        numpy.array(b"scalar"),
    ):
        with pytest.raises(TypeError):
            store.mark_batch(wrong)
    with pytest.raises((ValueError, BufferError)):  # Not contiguous.
        store.mark_batch(numpy.array([b"a", b"b", b"c", b"d"])[::2])


def test_a_list_may_change_while_it_is_marked(store):
    import threading

    ids = [f"id-{i}" for i in range(20000)]
    changing = threading.Event()

    def change():
        changing.set()
        ids.clear()

    thread = threading.Thread(target=change)
    thread.start()
    changing.wait()
    for _ in range(20):
        store.mark_batch(ids)
    thread.join()
