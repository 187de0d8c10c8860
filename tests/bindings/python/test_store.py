"""What a store answers, an id at a time."""

import datetime
import gc
import pickle
import sys

import oncelog
import pytest
from oncelog import Ack, Verdict

UTC = datetime.timezone.utc


def test_an_id_is_fresh_once(store):
    assert store.mark("m-1").verdict is Verdict.FRESH
    again = store.mark("m-1")
    assert again.verdict is Verdict.DUPLICATE and not again
    assert store.contains("m-1") and "m-1" in store and "m-2" not in store


def test_text_is_its_bytes_in_utf_8(store):
    assert store.mark("Zürich")
    assert not store.mark("Zürich".encode())
    record = store.find("Zürich")
    assert record.id == b"Z\xc3\xbcrich" and record.id_text == "Zürich"
    assert store.mark(b"\xff\x00")
    with pytest.raises(UnicodeDecodeError):
        store.find(b"\xff\x00").id_text
    with pytest.raises(UnicodeEncodeError):
        store.mark("\ud800")


def test_a_record_keeps_what_was_given(store):
    before = datetime.datetime.now(UTC)
    source = oncelog.Source("topic", 3, 2**63)
    marked = store.mark("m-1", correlation="c-1", result=b"\x00r", source=source, fingerprint=2**64 - 1)
    record = store.find("m-1")
    assert record.scope == "orders" and record.lsn == marked.lsn and not record.forgotten
    assert (record.correlation, record.result, record.fingerprint) == (b"c-1", b"\x00r", 2**64 - 1)
    assert record.source == (b"topic", 3, 2**63)
    assert record.processed_at.tzinfo is UTC
    assert abs(record.processed_at - before) < datetime.timedelta(minutes=1)
    assert store.mark("m-1", source=source).redelivered
    assert store.contains("m-1", correlation="c-1") and not store.contains("m-1", correlation="c-2")
    assert [r.id for r in store.correlated("c-1")] == [b"m-1"]
    assert store.find("m-2") is None
    assert store.mark("plain") and store.find("plain").source is None


def test_another_payload_is_a_conflict(store):
    store.mark("m-1", fingerprint=oncelog.fingerprint(b"payload"))
    assert store.mark("m-1", fingerprint=oncelog.fingerprint("another")).verdict is Verdict.CONFLICT
    assert store.mark("m-1", fingerprint=oncelog.fingerprint("payload")).verdict is Verdict.DUPLICATE


def test_a_message_from_before_the_memory_is_too_old(store):
    long_ago = datetime.datetime(2001, 1, 1, tzinfo=UTC)
    assert store.mark("m-1", sent_at=long_ago).verdict is Verdict.TOO_OLD
    assert store.mark("m-1", sent_at=long_ago.timestamp()).verdict is Verdict.TOO_OLD
    assert store.mark("m-1", sent_at=datetime.datetime.now(UTC)).verdict is Verdict.FRESH
    with pytest.raises(ValueError, match="time zone"):
        store.mark("m-2", sent_at=datetime.datetime(2001, 1, 1))


def test_arguments_may_be_named(store):
    assert store.mark(id="m-1") and not store.mark(id="m-1")
    assert store.contains(id="m-1") and not store.contains("m-1", correlation="c")
    for wrong in (lambda: store.mark(), lambda: store.mark("a", "b"), lambda: store.mark("a", lease=3)):
        with pytest.raises(TypeError):
            wrong()


def test_calls_leave_nothing_behind(store):
    """Each reference that a call takes is given back, whether it succeeds or raises."""
    numpy = pytest.importorskip("numpy")
    id, correlation, ids, array = "m-" + "1" * 50, b"c" * 50, ["a" * 50, 7], numpy.array([b"z" * 50])
    store.mark(id, correlation=correlation, result=b"r")
    held = store.begin("held", lease=3600)

    def calls():
        store.mark(id), store.mark(id, correlation=correlation), store.contains(id), store.find(id)
        store.begin(id, lease=30).record, store.begin("held", lease=30).owner, store.find_batch([id, "absent"])
        store.mark_batch([id]), store.contains_batch(array), store.mark_batch(array), store.begin_batch([id], lease=3)
        store.scope("other"), store.scopes(), store.claims(), store.correlated(correlation), store.lock("l", lease=3)
        store.scan(lambda record: None)
        for wrong in (lambda: store.mark_batch(ids), lambda: store.mark(7), lambda: store.mark("")):
            with pytest.raises((TypeError, oncelog.Error)):
                wrong()

    kept = [id, correlation, ids, ids[0], array, Verdict.FRESH, Verdict.DUPLICATE, Verdict.IN_PROGRESS, True, None]
    kept = [o for o in kept if sys.getrefcount(o) < 2**30]  # What is immortal has no count.
    calls()
    before = [sys.getrefcount(o) for o in kept]
    blocks = sys.getallocatedblocks()
    for _ in range(1000):
        calls()
    gc.collect()
    for object, count in zip(kept, before):
        assert abs(sys.getrefcount(object) - count) < 500, object
    assert sys.getallocatedblocks() - blocks < 500
    assert held.complete()


def test_scopes_do_not_know_of_each_other(store):
    billing = store.scope("billing")
    assert store.mark("m-1") and billing.mark("m-1")
    assert store.scopes() == ["orders", "billing"]


def test_a_mark_on_disk_is_below_durable(store):
    marked = store.mark("m-1", ack=Ack.DISK)
    assert marked.lsn < store.durable()
    marked = store.mark("m-2")
    store.wait(marked.lsn)
    assert marked.lsn < store.durable()
    store.mark("m-3")
    store.sync()
    assert store.find("m-3").lsn < store.durable()


def test_a_store_remembers_when_it_is_opened_again(path):
    with oncelog.Store(path, retention=datetime.timedelta(hours=1)) as store:
        store.mark("m-1")
    with oncelog.Store(path, create=False) as store:
        assert "m-1" in store


def test_operators_can_forget_list_and_scan(store):
    store.mark("m-1")
    assert store.forget("m-1") and not store.forget("m-1")
    assert store.mark("m-1")
    store.scope("billing").mark("b-1")
    records = []
    store.scan(records.append, scope="orders")
    assert [(r.id, r.forgotten) for r in records] == [(b"m-1", False), (b"m-1", True), (b"m-1", False)]
    assert {r.scope for r in records} == {"orders"}
    first = []
    store.scan(lambda record: first.append(record.id) or False)
    assert len(first) == 1
    with pytest.raises(ZeroDivisionError):
        store.scan(lambda record: 1 // 0)
    later = []
    store.scan(later.append, since=datetime.datetime.now(UTC) + datetime.timedelta(days=1))
    assert later == []
    assert store.verify(deep=True) == (0, [])
    assert "oncelog_" in store.metrics() and "oncelog_" in store.metrics(host_only=True)
    assert store.expire() == (0, 0)
    assert store.known_since() < datetime.datetime.now(UTC)


def test_a_backup_is_a_store_once_it_is_restored(store, tmp_path):
    store.mark("m-1")
    below, size = store.backup(tmp_path / "copy")
    assert below > store.find("m-1").lsn and size > 0
    assert oncelog.restore(tmp_path / "copy", tmp_path / "restored") [0] == below
    with oncelog.Store(tmp_path / "restored", scope="orders", create=False) as restored:
        assert "m-1" in restored


def test_each_failure_has_its_exception(path, tmp_path):
    with pytest.raises(oncelog.NotFoundError) as absent:
        oncelog.Store(path, create=False)
    assert absent.value.code == 2 and str(path) in absent.value.path and str(path) in str(absent.value)
    assert isinstance(pickle.loads(pickle.dumps(absent.value)), oncelog.NotFoundError)
    with oncelog.Store(path, buckets=4) as store:
        with pytest.raises(oncelog.OptionsMismatchError):
            oncelog.Store(path, buckets=5)
        with pytest.raises(oncelog.InvalidArgumentError):
            store.mark("")
        with pytest.raises(ValueError):
            store.scope("x" * 256)
        store.sync()
    with oncelog.Store(path, read_only=True) as store:
        with pytest.raises(oncelog.ReadOnlyError):
            store.mark("m-1")
    (tmp_path / "file").write_text("no store")
    with pytest.raises(oncelog.Error):
        oncelog.Store(tmp_path / "file")
    with pytest.raises(oncelog.InvalidArgumentError, match="buckets"):
        oncelog.Store(path, buckets=-1)
    with pytest.raises(oncelog.InvalidArgumentError):
        oncelog.Store(path, retention=-1)


def test_what_is_no_id_is_refused(store):
    for wrong in (None, 7, bytearray(b"m"), ["m"]):
        with pytest.raises(TypeError, match="an id must be str or bytes"):
            store.mark(wrong)
        with pytest.raises(TypeError):
            store.contains(wrong)
    with pytest.raises(OverflowError):
        store.mark("m", source=("topic", 2**32, 0))
    with pytest.raises(OverflowError):
        store.mark("m", fingerprint=-1)
    with pytest.raises((ValueError, OverflowError)):
        store.begin("m", float("inf"))
    assert "m" not in store


def test_a_verdict_is_compared_not_tested(store):
    with pytest.raises(TypeError, match="Verdict.FRESH"):
        bool(store.mark("m-1").verdict)


def test_a_closed_store_says_so_and_its_scopes_stay(store):
    billing = store.scope("billing")
    store.close()
    for call in (lambda: store.mark("m"), store.sync, lambda: store.scope("x")):
        with pytest.raises(oncelog.InvalidArgumentError, match="closed"):
            call()
    assert repr(store) == "<oncelog.Store closed>"
    assert billing.mark("m")


def test_the_library_and_topics(store):
    assert oncelog.library_version().split(".")[0] == "0"
    assert oncelog.topic_matches("orders.*", "orders.new") and not oncelog.topic_matches("orders.*", "orders")


def test_an_address_needs_oncelog_remote():
    # Where that library is there: no server answers.
    with pytest.raises((oncelog.UnsupportedError, oncelog.IoError)) as failed:
        oncelog.Store("redis+unix:///no/such/socket", timeout=0.1)
    assert "oncelog-remote" in str(failed.value) or isinstance(failed.value, oncelog.IoError)
