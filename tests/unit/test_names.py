"""The files by which containers find names (capsule/network/names.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from capsule.errors import NetworkError
from capsule.network import attachment, names


def test_hosts_names_the_container_and_what_was_added() -> None:
    text = names.hosts_text("box.example", ["10.89.0.2", "fd00::2"], [("db", "192.0.2.7"), ("host", "host-gateway")],
                            [("10.89.0.3", ["web", "www"])], gateway="10.89.0.1")
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert ["127.0.0.1", "localhost"] in lines
    assert ["::1", "localhost", "ip6-localhost", "ip6-loopback"] in lines
    assert ["10.89.0.2", "box.example", "box"] in lines
    assert ["fd00::2", "box.example", "box"] in lines
    assert ["192.0.2.7", "db"] in lines
    assert ["10.89.0.1", "host"] in lines
    assert ["10.89.0.3", "web", "www"] in lines


@pytest.mark.parametrize("bad", ["a\n10.0.0.1 evil", "a b", "a\tb", "", ".", "a..b", "-a", "a#b", "é", "a" * 64])
def test_no_name_writes_a_line_of_its_own(bad: str) -> None:
    """The original wrote the alias of a link as it came (D17)."""
    with pytest.raises(NetworkError):
        names.hosts_text("box", [], [], [("10.89.0.3", [bad])])
    if bad:
        with pytest.raises(NetworkError):
            names.hosts_text(bad, [], [], [])
    with pytest.raises(NetworkError):
        names.hosts_text("box", [], [(bad, "10.0.0.1")], [])
    with pytest.raises(NetworkError):
        names.parse_added(f"{bad}:10.0.0.1")
    with pytest.raises(NetworkError):
        names.parse_link(f"{bad}:alias")


@pytest.mark.parametrize("bad", ["db", "db:", "db:here", "db:10.0.0.1\n10.0.0.2 evil"])
def test_an_added_host_needs_an_address(bad: str) -> None:
    with pytest.raises(NetworkError):
        names.parse_added(bad)


def test_links_and_added_hosts_are_read() -> None:
    assert names.parse_link("web:www") == ("web", "www")
    assert names.parse_link("web") == ("web", "web")
    assert names.parse_added("db:fd00:0::7") == ("db", "fd00::7")
    assert names.parse_added("db:[fd00::7]") == ("db", "fd00::7")
    assert names.parse_added("host:host-gateway") == ("host", "host-gateway")


def test_members_come_and_go_and_the_rest_stays() -> None:
    text = names.hosts_text("box", ["10.89.0.2"], [], [("10.89.0.3", ["web"]), ("10.89.0.4", ["db"])])
    changed = names.replace_members(text + "192.0.2.9 mine\n", [("10.89.0.5", ["new"])])
    assert "web" not in changed and "db" not in changed
    assert "10.89.0.5\tnew" in changed and changed.endswith("192.0.2.9 mine\n") and "10.89.0.2\tbox" in changed
    assert names.replace_members("mine alone\n", [("10.89.0.5", ["new"])]) == "mine alone\n"


def test_a_container_keeps_its_name_at_other_addresses() -> None:
    text = names.hosts_text("db.example", ["10.89.0.2", "fd00::2"], [("far", "192.0.2.7")], [("10.89.0.3", ["web"])])
    moved = names.replace_own(text, ["10.89.0.2", "fd00::2"], ["10.90.0.2"])
    assert moved == names.hosts_text("db.example", ["10.90.0.2"], [("far", "192.0.2.7")], [("10.89.0.3", ["web"])])
    nowhere = names.replace_own(moved, ["10.90.0.2"], [])
    assert "127.0.1.1\tdb.example db\n" in nowhere
    assert names.replace_own(nowhere, [], ["10.90.0.2"]) == moved
    assert names.replace_own("mine alone\n", ["10.90.0.2"], ["10.90.0.3"]) == "mine alone\n"


def test_name_servers_are_replaced_where_the_old_ones_stood() -> None:
    text = "# mine\nnameserver 10.89.0.1\nsearch a\nnameserver 10.90.0.1\n"
    replaced = names.replace_servers(text, ["10.89.0.1", "10.90.0.1"], ["10.91.0.1"])
    assert replaced == "# mine\nnameserver 10.91.0.1\nsearch a\n"
    assert names.replace_servers(text, ["192.0.2.1"], ["10.91.0.1"]) == text
    assert names.servers_in(replaced) == ["10.91.0.1"]


HOST = """# comment
nameserver 127.0.0.1
nameserver 192.0.2.53
nameserver fd00::53 ; more
search a.example b.example
options ndots:2
nameserver nonsense
"""


def test_the_hosts_servers_are_taken_but_its_loopback(tmp_path: Path) -> None:
    assert names.resolv_text(HOST, [], [], [], responder=[]) == (
        "nameserver 192.0.2.53\nnameserver fd00::53\nsearch a.example b.example\noptions ndots:2\n")
    assert "fd00::53" not in names.resolv_text(HOST, [], [], [], responder=[], ipv6=False)
    assert names.resolv_text("nameserver ::1\nnameserver 127.0.0.53\n", [], [], [], responder=[]) == (
        "nameserver 8.8.8.8\nnameserver 8.8.4.4\n")


def test_what_is_asked_for_is_in_place_of_the_hosts() -> None:
    text = names.resolv_text(HOST, ["192.0.2.1"], ["c.example"], ["timeout:1", "rotate"], responder=[])
    assert text == "nameserver 192.0.2.1\nsearch c.example\noptions timeout:1 rotate\n"
    assert "search" not in names.resolv_text(HOST, [], ["."], [], responder=[])
    assert names.resolv_text(HOST, ["192.0.2.1"], [], [], responder=["10.89.0.1"]).startswith("nameserver 10.89.0.1\ns")


@pytest.mark.parametrize(("servers", "searches", "options"), [
    (["here"], [], []), (["192.0.2.1\nnameserver 192.0.2.2"], [], []),
    ([], ["a b"], []), ([], ["a\nnameserver 1.1.1.1"], []),
    ([], [], ["ndots:1\nnameserver"]), ([], [], [""]),
])
def test_no_option_writes_a_line_of_its_own(servers: list[str], searches: list[str], options: list[str]) -> None:
    with pytest.raises(NetworkError):
        names.resolv_text("", servers, searches, options, responder=[])


def test_the_stub_of_systemd_resolved_is_recognised(tmp_path: Path) -> None:
    """The original copied 127.0.0.53, which nobody answers in a container (H14)."""
    stub, real = tmp_path / "resolv.conf", tmp_path / "resolved"
    stub.write_text("nameserver 127.0.0.53\noptions edns0\n")
    real.write_text("nameserver 192.0.2.53\n")
    assert names.read_host(str(stub), str(real)) == "nameserver 192.0.2.53\n"
    stub.write_text("nameserver 192.0.2.1\n")
    assert names.read_host(str(stub), str(real)) == "nameserver 192.0.2.1\n"
    assert names.read_host(str(tmp_path / "none"), str(real)) == ""


@pytest.mark.parametrize("word", ["pasta", "slirp4netns"])
def test_user_mode_networking_stands_alone(word: str) -> None:
    found = attachment.parse([word], ip=[], mac="", aliases=[])
    assert found is not None and (found.kind, found.requests) == (word, [])
    with pytest.raises(NetworkError, match="no second network"):
        attachment.parse([word, "web"], ip=[], mac="", aliases=[])


def test_a_link_means_the_container_of_that_id_and_an_alias_where_there_is_none() -> None:
    one, two = {"container": "db", "aliases": []}, {"container": "other", "aliases": ["db", "store"]}
    assert names.linked_to("db", [two, one]) == [one]
    assert names.linked_to("store", [one, two]) == [two]


def test_nobody_is_called_as_everybody_calls_itself() -> None:
    assert not names.is_name("localhost") and not names.is_name("LocalHost") and names.is_name("local-host")
