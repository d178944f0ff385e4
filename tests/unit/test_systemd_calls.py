"""What is said to a service manager, and what becomes of its answers, over a real socket."""

from __future__ import annotations

import threading

import pytest
from helpers.fake_systemd import Failure, FakeSystemd

from capsule import log
from capsule.cgroups.systemd import bus, calls, driver, units
from capsule.errors import CgroupError, Unsupported

SCOPE = "capsule-web.scope"


@pytest.fixture
def manager(tmp_path, monkeypatch):
    fake = FakeSystemd(tmp_path / "private")
    monkeypatch.setattr(calls, "_addresses", lambda user: [(str(tmp_path / "none"), True), (str(fake.path), False)])
    yield fake
    fake.close()


@pytest.fixture
def systemd(manager):
    with calls.Systemd(user=False) as found:
        yield found


def test_version_and_root_are_read(systemd):
    assert (252, "") == (systemd.version(), systemd.root())


def test_we_say_who_we_are(manager, monkeypatch):
    monkeypatch.setattr(calls, "_identity", lambda: 10)
    with calls.Systemd(user=False) as systemd:
        systemd.version()
    assert [b"\0AUTH EXTERNAL 3130", b"BEGIN"] == manager.lines


def test_in_a_user_namespace_the_socket_tells_who_we_are(manager, monkeypatch):
    monkeypatch.setattr(calls, "_identity", lambda: None)
    with calls.Systemd(user=False) as systemd:
        assert systemd.version() == 252
    assert [b"\0AUTH EXTERNAL", b"DATA", b"BEGIN"] == manager.lines


def test_a_unit_is_started_with_its_properties(manager, systemd):
    systemd.start(SCOPE, [("PIDs", "au", [42]), ("Delegate", "b", True)])

    properties = [("PIDs", ("au", [42])), ("Delegate", ("b", True))]
    assert [("StartTransientUnit", [SCOPE, "replace", properties, []])] == manager.calls


def test_a_failed_unit_of_the_name_is_forgotten_first(manager, systemd):
    manager.units[SCOPE] = "failed"
    systemd.start(SCOPE, [])

    assert ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"] == manager.members()


def test_a_living_unit_of_the_name_is_an_error(manager, systemd):
    manager.units[SCOPE] = "active"
    with pytest.raises(CgroupError, match=f"start unit {SCOPE}: Unit {SCOPE} was already loaded"):
        systemd.start(SCOPE, [])

    assert manager.units[SCOPE] == "active"


def test_a_job_that_fails_is_an_error(manager, systemd):
    manager.job_result = "failed"
    with pytest.raises(CgroupError, match="its job ended with 'failed'"):
        systemd.start(SCOPE, [])

    assert manager.members()[-1] == "ResetFailedUnit"


@pytest.fixture
def placed(manager, tmp_path):
    place = units.place("system.slice:capsule:web", "web", user=False)
    made = driver.SystemdManager({"name": place.name, "user": False}, {"": str(tmp_path / "leaf")}, [], fresh=True)
    made.place, made.version = place, 252
    return made


def test_a_unit_that_was_started_as_the_connection_broke_is_stopped(manager, placed):
    def break_off(values):
        manager.units[values[0]] = "active"
        raise ConnectionError

    manager.answers["StartTransientUnit"] = break_off
    with pytest.raises(CgroupError, match="closed the connection"):
        placed.create()

    assert manager.units == {SCOPE: "inactive"}


def test_a_unit_that_was_started_as_the_time_was_over_is_stopped(manager, placed, monkeypatch):
    monkeypatch.setattr(calls, "_JOB_TIMEOUT_NS", 1)
    with pytest.raises(CgroupError):
        placed.create()

    assert "StopUnit" in manager.members()


@pytest.mark.parametrize("error", ["org.freedesktop.systemd1.UnitExists", "org.freedesktop.DBus.Error.AccessDenied"])
def test_a_unit_that_is_anothers_is_not_stopped(manager, placed, error):
    def refuse(values):
        raise Failure(error, "no")

    manager.units[SCOPE], manager.answers["StartTransientUnit"] = "active", refuse
    with pytest.raises(calls.Refused):
        placed.create()

    assert manager.units == {SCOPE: "active"} and "StopUnit" not in manager.members()


def test_stopping_waits_and_forgets(manager, systemd):
    manager.units[SCOPE] = "active"
    systemd.stop(SCOPE)

    assert [("StopUnit", [SCOPE, "replace"]), ("ResetFailedUnit", [SCOPE])] == manager.calls


def test_a_unit_that_is_not_there_is_stopped_already(manager, systemd):
    systemd.stop(SCOPE)

    assert ["StopUnit"] == manager.members()


def test_a_stop_that_fails_is_told(manager, systemd, monkeypatch):
    told = []
    monkeypatch.setattr(log, "warning", told.append)
    manager.units[SCOPE], manager.job_result = "active", "failed"
    systemd.stop(SCOPE)

    assert told == [f"stop unit {SCOPE}: its job ended with 'failed'"] and SCOPE not in manager.units


def test_properties_are_set_until_the_next_boot_and_waited_for(manager, systemd):
    systemd.set_properties(SCOPE, [("TasksMax", "t", 7)])

    assert [("SetUnitProperties", [SCOPE, True, [("TasksMax", ("t", 7))]]),
            ("Get", ["org.freedesktop.systemd1.Manager", "Version"])] == manager.calls


def test_a_property_that_is_refused_is_an_error(manager, systemd):
    def refuse(values):
        raise Failure("org.freedesktop.DBus.Error.PropertyReadOnly", "Cannot set property ExecStart")

    manager.answers["SetUnitProperties"] = refuse
    with pytest.raises(CgroupError, match=f"set properties of unit {SCOPE}: Cannot set property ExecStart"):
        systemd.set_properties(SCOPE, [("ExecStart", "s", "x")])


def test_states_of_units(manager, systemd):
    assert systemd.active_state(SCOPE) == ""
    manager.units[SCOPE] = "failed"
    assert systemd.active_state(SCOPE) == "failed"


def test_a_property_of_another_type_is_an_error(manager, systemd):
    manager.properties["Version"] = ("u", 252)
    with pytest.raises(CgroupError, match="not of its type"):
        systemd.version()


@pytest.mark.parametrize("raw", [b"", b"l", b"x" * 64, b"l\2\0\1\xff\xff\xff\x7f" + bytes(8),
                                 b"HTTP/1.1 400\r\n\r\n" * 4,
                                 b"l\2\0\1\0\0\0\0\1\0\0\0\x08\0\0\0" + bytes(8)], ids=repr)
def test_what_is_no_answer_is_an_error(manager, systemd, raw):
    manager.raw = raw
    with pytest.raises(CgroupError, match=f"speak to {manager.path}: "):
        systemd.version()


def test_silence_has_an_end(manager, systemd, monkeypatch):
    monkeypatch.setattr(bus, "TIMEOUT_NS", 50_000_000)
    answered = threading.Event()
    manager.answers["Get"] = lambda values: (answered.wait(60), ("v", [("s", "252")]))[1]
    with pytest.raises(CgroupError, match="no answer from it in time"):
        systemd.version()
    answered.set()


def test_a_peer_that_does_not_accept_us_is_an_error(tmp_path, monkeypatch):
    fake = FakeSystemd(tmp_path / "private")
    reject = b"REJECTED EXTERNAL\r\n"
    monkeypatch.setattr(fake, "_speak", lambda peer: (peer.recv(99), peer.sendall(reject), peer.recv(99)))
    monkeypatch.setattr(calls, "_addresses", lambda user: [(str(fake.path), False)])
    with pytest.raises(CgroupError, match="does not accept us"):
        calls.Systemd(user=False)
    fake.close()


def test_a_bus_is_joined_and_subscribed_to(tmp_path, monkeypatch):
    fake = FakeSystemd(tmp_path / "bus")
    monkeypatch.setattr(calls, "_addresses", lambda user: [(str(fake.path), True)])
    with calls.Systemd(user=True) as systemd:
        systemd.start(SCOPE, [])
    fake.close()

    assert ["Hello", "AddMatch", "Subscribe", "StartTransientUnit"] == fake.members()


def test_where_no_systemd_answers_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(calls, "_addresses", lambda user: [(str(tmp_path / "none"), False)])
    with pytest.raises(Unsupported, match="no system manager of systemd answers here"):
        calls.Systemd(user=False)


def test_the_user_manager_is_found_by_the_environment(monkeypatch):
    monkeypatch.setitem(calls.posix.environ, b"XDG_RUNTIME_DIR", b"/run/user/7")
    monkeypatch.setitem(calls.posix.environ, b"DBUS_SESSION_BUS_ADDRESS", b"unix:path=/x/bus,guid=5")
    expected = [("/run/user/7/systemd/private", False), ("/x/bus", True), ("/run/user/7/bus", True)]
    assert expected == calls._addresses(True)
    for name in (b"XDG_RUNTIME_DIR", b"DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.delitem(calls.posix.environ, name)
    with pytest.raises(Unsupported, match="XDG_RUNTIME_DIR"):
        calls._addresses(True)
