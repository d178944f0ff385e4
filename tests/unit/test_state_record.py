"""The record: what is written is what is read, and anything else is a CorruptRecord."""

import json

import pytest
from hypothesis import given, settings, strategies as st

from capsule.errors import CorruptRecord
from capsule.state import journal, record
from capsule.state.record import StateStorage

# The JSON reader refuses NUL in any string, so none reaches a record.
TEXT = st.text(alphabet=st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=20)


def make(**fields):
    storage = StateStorage("web")
    storage.config = b'{\n  "ociVersion": "1.0.2",\n  "root": {"path": "rootfs"}\n}\n'
    storage.create_time = "2024-01-01T00:00:00Z"
    for name, value in fields.items():
        setattr(storage, name, value)
    return storage


@settings(deadline=None)
@given(
    paths=st.dictionaries(TEXT, TEXT, max_size=4),
    bundle=TEXT,
    pid=st.integers(0, 2**31),
    start=st.integers(0, 2**64 - 1),
    config=st.dictionaries(TEXT, TEXT | st.integers(-(2**53), 2**53), max_size=4),
    endpoint=st.none() | st.dictionaries(TEXT, TEXT, max_size=2),
    indent=st.sampled_from([None, 2]),
)
def test_record_survives_the_round_trip(paths, bundle, pid, start, config, endpoint, indent):
    before = make(cgroup_paths=paths, bundle=bundle, init_process_pid=pid, init_process_start_time=start)
    before.endpoint = endpoint
    before.config = json.dumps(config, indent=indent).encode()

    after = record.from_bytes(before.to_bytes(), "web")

    assert after.to_dict() == before.to_dict()
    assert after.config == before.config


def test_stored_bytes_are_one_json_object_with_the_original_keys():
    stored = json.loads(make().to_bytes())

    assert stored["config"] == {"ociVersion": "1.0.2", "root": {"path": "rootfs"}}
    assert {
        "id", "init_process_pid", "init_process_start_time", "create_time", "config", "cgroup_paths",
        "namespace_paths", "endpoint",
    } <= set(stored)  # fmt: skip


def test_every_truncation_is_refused():
    data = make().to_bytes()
    for size in range(len(data)):
        with pytest.raises(CorruptRecord):
            record.from_bytes(data[:size], "web")


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused(data):
    with pytest.raises(CorruptRecord):
        record.from_bytes(data, "web")


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2}, {"schema_version": "1"}, {"init_process_pid": "1"}, {"init_process_pid": True},
        {"cgroup_paths": []}, {"endpoint": 3}, {"id": "other"}, {"id": None},
    ],
)  # fmt: skip
def test_record_of_another_shape_is_refused(change):
    head, border, rest = make().to_bytes().partition(b',\n"config":')
    changed = json.loads(head + b"}") | change

    with pytest.raises(CorruptRecord, match="web"):
        record.from_bytes(json.dumps(changed).encode()[:-1] + border + rest, "web")


def test_newer_schema_says_so():
    data = make(schema_version=7).to_bytes()
    with pytest.raises(CorruptRecord, match="schema version is 7"):
        record.from_bytes(data, "web")


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (1_700_000_000_120_000_000, "2023-11-14T22:13:20.12Z"),
        (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
    ],
)
def test_time_is_rfc3339_with_nanoseconds(time_ns, text):
    assert record.format_time(time_ns) == text


def test_namespace_paths_have_the_keys_of_the_record():
    assert record.namespace_paths(7)["NEWNS"] == "/proc/7/ns/mnt"
    assert set(record.namespace_paths(7)) == {
        "NEWIPC", "NEWNET", "NEWNS", "NEWPID", "NEWUTS", "NEWUSER", "NEWCGROUP", "NEWTIME",
    }  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.tuples(TEXT, st.lists(TEXT | st.integers(0, 2**40), max_size=3)), max_size=4), st.integers(0, 60))
def test_journal_cut_short_keeps_every_whole_line(entries, lost):
    lines = [journal.to_line(kind, tuple(values)) for kind, values in entries]
    data = b"".join(lines)
    data = data[: max(0, len(data) - lost)]

    whole, size = [], 0
    for entry, line in zip(entries, lines, strict=True):
        size += len(line)
        if size - 1 <= len(data):
            whole.append(entry)

    assert journal.from_bytes(data) == whole


def test_journal_with_a_bad_line_keeps_the_others():
    data = b'{"kind":"pid","values":[5,6]}\nnoise\n[]\n{"kind":"cgroup","values":["/a","/a/b"]}\n'
    entries = journal.from_bytes(data)

    assert journal.processes(entries) == [(5, 6)]
    assert journal.cgroups(entries) == ["/a", "/a/b"]
