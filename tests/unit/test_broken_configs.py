"""Each config of the corpus is refused by the loader with its JSON path, what was expected and what was there."""

from __future__ import annotations

import json

import pytest
from helpers.broken import CASES, ID, TEXTS, rule, seccomp
from helpers.config import encoded

from capsule.errors import SpecError, Unsupported
from capsule.spec.load import load_config, load_process, load_resources


def test_the_corpus_has_300_configs():
    assert len({(repr(edits), path) for edits, path, _ in CASES}) + len(TEXTS) >= 300


@pytest.mark.row(1, 2, 3, 4, 5, 6)
@pytest.mark.row(30, 31, 36, 37, 40)
@pytest.mark.row(51, 52, 54, 56, 57, 61, 64, 66)
@pytest.mark.row(80, 81, 83, 85, 89, 90, 94, 95, 96, 97, 98, 99, 100, 101, 102, 103)
@pytest.mark.parametrize(("edits", "path", "cause"), CASES, ids=[f"{n}-{case[1]}" for n, case in enumerate(CASES)])
def test_config_is_refused_with_its_path(edits: list, path: str, cause: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_config(encoded(*edits))
    assert (caught.value.operation, caught.value.subject, caught.value.cause) == ("config.json", path, cause)


@pytest.mark.parametrize("word", ["SCMP_ACT_FOO", "allow", ""])
def test_unknown_seccomp_words_are_refused(word: str) -> None:
    with pytest.raises(SpecError, match=r"^config.json linux.seccomp.defaultAction: expected one of SCMP_ACT_KILL, "):
        load_config(encoded(seccomp(defaultAction=word)))
    with pytest.raises(SpecError, match=r"^config.json linux.seccomp.architectures\[0\]: expected one of "):
        load_config(encoded(seccomp(architectures=[word])))
    with pytest.raises(SpecError, match=r"args\[0\].op: expected one of "):
        load_config(encoded(rule(args=[{"index": 0, "op": word}])))


def test_unknown_rlimit_is_refused() -> None:
    with pytest.raises(SpecError, match=r'process.rlimits\[0\].type: expected one of RLIMIT_CPU, .*got .*"RLIMIT_X"'):
        load_config(encoded(("process.rlimits", [{"type": "RLIMIT_X", "soft": 1, "hard": 1}])))


def test_an_enormous_string_does_not_fill_the_message() -> None:
    with pytest.raises(SpecError) as caught:
        load_config(encoded(("process.cwd", "x\n" * 100000)))
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.row(24, 25, 26, 67, 69)
@pytest.mark.parametrize("empty", [{}, None])
@pytest.mark.parametrize("path", ["process.scheduler", "process.ioPriority", "process.execCPUAffinity",
                                  "linux.personality", "linux.memoryPolicy"])
def test_an_empty_object_asks_for_nothing(path: str, empty: object) -> None:
    config = load_config(encoded((path, empty)))
    process = config.process
    assert process is not None
    assert (process.scheduler, process.io_priority, process.cpu_affinity) == (None, None, None)
    assert (config.personality, config.memory_policy) == (None, None)


@pytest.mark.row(24)
def test_a_policy_that_no_kernel_has_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="no Linux kernel has SCHED_ISO") as caught:
        load_config(encoded(("process.scheduler", {"policy": "SCHED_ISO"})))
    assert caught.value.subject == "process.scheduler.policy"


@pytest.mark.parametrize(("text", "path", "cause"), TEXTS)
def test_text_is_refused_with_its_place(text: bytes, path: str, cause: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_config(text)
    assert (caught.value.subject, caught.value.cause) == (path, cause)


def test_every_string_of_a_config_refuses_nul() -> None:
    """Walk a config and plant a NUL in each string and each key in turn."""
    text = encoded(("annotations", {"k": "v"}), ("linux.cgroupsPath", "/c"), ("linux.sysctl", {"net.x": "1"}))
    places = [n for n in range(len(text) - 1) if text[n:n + 1] == b'"' and text[n + 1:n + 2].isalnum()]
    assert len(places) > 40
    for place in places:
        with pytest.raises(SpecError, match="NUL in a string"):
            load_config(text[:place + 1] + b"\\u0000" + text[place + 1:])


def test_a_process_document_has_paths_from_its_top() -> None:
    document = {"cwd": "/", "args": ["sh"], "user": {"uid": True}}
    with pytest.raises(SpecError) as caught:
        load_process(json.dumps(document).encode())
    assert str(caught.value) == "process.json user.uid: " + ID + "true"
    with pytest.raises(SpecError, match=r"^process.json cwd: is required$"):
        load_process(b'{"args":["sh"]}')
    with pytest.raises(SpecError, match=r"^process.json rlimits\[0\].hard: is required$"):
        load_process(b'{"cwd":"/","args":["sh"],"rlimits":[{"type":"RLIMIT_CPU","soft":1}]}')
    with pytest.raises(Unsupported, match=r"^process.json scheduler.policy: no Linux kernel has SCHED_ISO$"):
        load_process(b'{"cwd":"/","args":["sh"],"scheduler":{"policy":"SCHED_ISO"}}')
    with pytest.raises(SpecError, match=r"^process.json: the document is empty"):
        load_process(b"")


def test_a_resources_document_has_paths_from_its_top() -> None:
    with pytest.raises(SpecError, match=r'^resources unified\["cgroup.procs"\]: moves, stops or ends processes'):
        load_resources(b'{"unified":{"cgroup.procs":"1"}}')
    with pytest.raises(SpecError, match=r"^resources cpu.idle: expected an integer from 0 to 1, got 7$"):
        load_resources(b'{"CPU":{"Idle":7}}')


def test_a_document_over_the_limit_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^config.json: larger than 16 MiB$"):
        load_config(b" " * (16 << 20) + b"{")
