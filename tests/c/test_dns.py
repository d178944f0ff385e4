"""What the DNS responder says to a message: names of the table, what is forwarded and to whom, hostile bytes."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from helpers import dns
from helpers.budget import times
from tail_kit import BUILD, ROOT

pytestmark = pytest.mark.requires("gcc")

SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
TABLE = """subnet 0a050000 24
subnet fd050000000000000000000000000000 64
public 08080808 08080404
name db 0a050002
name db fd050000000000000000000000000002
name web.front_1 0a050003
client 0a050004 c0000235
view 0a050003 far 0a060009
"""
DB, FRONT, OTHER = "0a050002", "0a050003", "0a050004"


def compile_target(name: str, *flags: str) -> Path:
    BUILD.mkdir(parents=True, exist_ok=True)
    target = BUILD / name
    subprocess.run(["gcc", "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-Icsrc", *flags, "-o", target,
                    "tests/c/fuzz_dns.c", "csrc/dns.c"], check=True, cwd=ROOT)
    return target


@pytest.fixture(scope="module")
def checker() -> Path:
    return compile_target("dns-check")


@pytest.fixture
def ask(checker, tmp_path):
    """Return a function that puts a message to the responder: (verdict and servers, answer)."""
    def run(message: bytes, client: str = DB, *, table: str = TABLE, conf: str = "nameserver 192.0.2.53\n",
            stream: bool = False) -> tuple[str, bytes]:
        (tmp_path / "table").write_text(table)
        (tmp_path / "conf").write_text(conf)
        done = subprocess.run([checker, tmp_path / "table", tmp_path / "conf", client, "tcp" if stream else "udp"],
                              input=message, capture_output=True, check=True)
        verdict, _, answer = done.stdout.partition(b"\n")
        return verdict.decode(), answer
    return run


@pytest.mark.parametrize(("name", "kind", "records"), [
    ("db", "A", ["10.5.0.2"]),
    ("DB", "AAAA", ["fd05::2"]),
    ("db", "ANY", ["10.5.0.2", "fd05::2"]),
    ("web.front_1", "A", ["10.5.0.3"]),
    ("web.front_1", "AAAA", []),
    ("db", "TXT", []),
    ("2.0.5.10.in-addr.arpa", "PTR", ["db"]),
    ("3.0.5.10.in-addr.arpa", "PTR", ["web.front_1"]),
    ("2." + 27 * "0." + "5.0.d.f.ip6.arpa", "PTR", ["db"]),
])
def test_a_member_is_answered_for(ask, name, kind, records):
    verdict, answer = ask(dns.query(name, kind))
    assert verdict.startswith("answer")
    assert dns.parse(answer) == ("NOERROR", records, False, True, 0x1234)


@pytest.mark.parametrize("name", ["example.org", "d", "dbb", "db.example", "web", "9.0.5.10.in-addr.arpa", "", "d b"])
def test_what_is_no_member_is_forwarded(ask, name):
    assert ask(dns.query(name)) == ("forward c0000235", b"")


def test_names_of_other_networks_are_for_those_who_are_in_them(ask):
    assert dns.parse(ask(dns.query("far"), FRONT)[1]).records == ["10.6.0.9"]
    assert ask(dns.query("far"), DB)[0].startswith("forward")


def test_who_is_not_in_the_network_is_refused(ask):
    for client in ("0a060002", "7f000001", "fd060000000000000000000000000002"):
        assert dns.parse(ask(dns.query("db"), client)[1]).rcode == "REFUSED"


def test_an_internal_network_knows_its_members_and_nothing_else(ask):
    table = "internal\n" + TABLE
    assert dns.parse(ask(dns.query("db"), table=table)[1]).records == ["10.5.0.2"]
    verdict, answer = ask(dns.query("example.org"), table=table)
    assert (verdict, dns.parse(answer).rcode) == ("answer", "NXDOMAIN")


@pytest.mark.parametrize(("client", "conf", "servers"), [
    (DB, "nameserver 192.0.2.53\nnameserver fd00::35\n", ["c0000235", "fd000000000000000000000000000035"]),
    (DB, "# nameserver 192.0.2.1\nsearch nameserver\nnameserver 1.2.3\nnameserver\t127.0.0.53 \n", ["7f000035"]),
    (DB, "nameserver ::\nnameserver 1::\nnameserver ::1\nnameserver 1:2:3:4:5:6:7:8\n",
     ["0" * 32, "0001" + "0" * 28, "0" * 31 + "1"]),
    (DB, "nameserver fe80::1%eth0\nnameserver 1:2\nnameserver ::1::\nnameserver 1:\nnameserver 256.1.1.1\n"
         "nameserver 1.1.1.1.1\nnameserver 12345::\nnameserver 1:2:3:4:5:6:7:8:9", ["08080808", "08080404"]),
    (DB, "", ["08080808", "08080404"]),
    (OTHER, "nameserver 192.0.2.1\n", ["c0000235"]),
])
def test_who_is_asked(ask, client, conf, servers):
    assert ask(dns.query("example.org"), client, conf=conf)[0].split() == ["forward", *servers]


def test_a_long_answer_is_cut_by_udp_and_whole_by_tcp(ask):
    table = TABLE + "".join(f"name many 0a0500{number:02x}\n" for number in range(100))
    cut = ask(dns.query("many"), table=table)[1]
    assert (len(cut) <= 512, dns.parse(cut).truncated) == (True, True)
    more = ask(dns.query("many", edns=4096), table=table)[1]
    assert (512 < len(more) <= 1232, dns.parse(more).truncated) == (True, True)
    whole = dns.parse(ask(dns.query("many"), table=table, stream=True)[1])
    assert (len(whole.records), whole.truncated) == (100, False)


@pytest.mark.parametrize(("message", "rcode"), [
    (dns.query("db")[:4] + struct.pack("!4H", 2, 0, 0, 0) + dns.query("db")[12:], "FORMERR"),
    (dns.query("db")[:12], "FORMERR"),
    (dns.query("db")[:-1], "FORMERR"),
    (dns.query("x" * 64), "FORMERR"),
    (dns.query(".".join(["x" * 63] * 4)), "FORMERR"),
    (dns.query("db")[:12] + b"\xc0\x0c" + dns.query("db")[-4:], "FORMERR"),
    (b"\x12\x34\x28\x00" + dns.query("db")[4:], "NOTIMP"),
])
def test_a_message_that_is_none_is_named_so(ask, message, rcode):
    assert dns.parse(ask(message)[1])[:2] == (rcode, [])


def test_an_answer_and_a_stub_are_dropped(ask):
    assert ask(dns.reply(dns.query("db")))[0].startswith("drop")
    assert ask(b"\0" * 11)[0].startswith("drop")


def test_hostile_bytes_are_read_within_their_bounds(tmp_path):
    seeds = {"a": dns.query("db"), "p": dns.query("2.0.5.10.in-addr.arpa", "PTR", edns=1232),
             "b": dns.query("a.b-c_d") + dns.reply(dns.query("a.b-c_d"), "10.0.0.1"),
             "c": b"nameserver 1.2.3.4\nnameserver ::1\nsearch x\n"}
    for name, data in seeds.items():
        (tmp_path / name).write_bytes(data)
    target = compile_target("dns-fuzz", *SANITIZE, "-DDNS_FUZZER", "tests/c/fuzz_main.c")
    subprocess.run([target, str(times(200_000)), "7", *[tmp_path / name for name in seeds]], check=True)
