"""Networks of ordinary users: real traffic through pasta and slirp4netns, and that they end with the container."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from helpers import process, stops
from helpers.images import bring, busybox_root
from helpers.ordinary import SUBIDS, UID, User, UserRuntime, mapped, single
from helpers.requires import binary, requires, variant
from helpers.runtime import DEADLINE, FAILS, Runtime, one_line
from helpers.wait import wait_until

from .kit_firewall import Space
from .test_network_dns import Upstream, ask

pytestmark = requires("root", "runtime", "busybox", "gcc", "ip", "userns", "uidmap", "tun")

HOST, OUTSIDE = "192.0.2.1", "192.0.2.2"
HOST6, OUTSIDE6 = "2001:db8:1::1", "2001:db8:1::2"


class Surroundings:
    """A host with a way out to a peer, whose name server it uses."""

    def __init__(self) -> None:
        self.host, self.outside = Space("host"), Space("outside")
        for space in (self.host, self.outside):
            process.own(space.pid)
        self.host.ip(f"link add out0 type veth peer name eth0 netns {self.outside.pid}",
                     f"addr add {HOST}/24 dev out0", f"addr add {HOST6}/64 dev out0 nodad", "link set out0 up")
        self.outside.ip(f"addr add {OUTSIDE}/24 dev eth0", f"addr add {OUTSIDE6}/64 dev eth0 nodad",
                        "link set eth0 up")
        self.host.ip(f"route add default via {OUTSIDE}")
        self.host.run("ip", "-6", "route", "add", "default", "via", OUTSIDE6)
        for kind in ("tcp", "udp"):
            self.outside.listen(kind, OUTSIDE, 700, "outside")
            self.outside.listen(kind, OUTSIDE6, 700, "outside6")
        self.host.listen("tcp", HOST, 8099, "host")
        self.host.listen("tcp", "127.0.0.1", 8098, "loopback")
        self.names = Upstream(Path(f"/proc/{self.outside.pid}/ns/net"), OUTSIDE, "198.51.100.7")

    def close(self) -> None:
        self.names.close()
        for space in (self.host, self.outside):
            space.close()
            process.disown(space.pid)


class HostUser(User):
    """An ordinary user of that host, who may open /dev/net/tun as on other machines."""

    def __init__(self, place: Path, host: Space) -> None:
        super().__init__(place)
        self.host = host
        self.cover("/etc/resolv.conf", f"nameserver {OUTSIDE}\nsearch corp.example\n")
        node = place / "tun"
        os.mknod(node, 0o020666, os.makedev(10, 200))
        node.chmod(0o666)
        self.covers["/dev/net/tun"] = node

    def scene(self, *before: str, drop=()) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.host.pid}/ns/net", "--", *super().scene(*before, drop=drop)]


@pytest.fixture(scope="module")
def around():
    made = Surroundings()
    yield made
    made.close()


def _runtime(argv, user, workdir):
    (workdir / "calls").mkdir()
    made = UserRuntime(argv, user, workdir)
    yield made
    made.clean()
    assert not made.states_left()
    assert not programs(user), "a program of the network is left"


@pytest.fixture
def user(workdir, around):
    return HostUser(workdir, around.host)


@pytest.fixture
def rootless(user, workdir, leaks):
    yield from _runtime(binary(), user, workdir)


@pytest.fixture
def stopping(user, workdir, leaks):
    yield from _runtime([str(variant("stop"))], user, workdir)


def programs(user: HostUser) -> dict[str, int]:
    """The pids of the user's attendants and programs of networks in that host, by name."""
    found = {}
    home = os.readlink(f"/proc/{user.host.pid}/ns/net")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            name = Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()
            if name.startswith(("capsule-pasta", "capsule-slirp", "pasta", "passt", "slirp4netns")) and (
                    os.readlink(f"/proc/{pid}/ns/net") == home) and process.state(int(pid)) != "Z":
                found[name.partition(".")[0].replace("passt", "pasta")] = int(pid)
        except FileNotFoundError:
            continue
    return found


def started(rootless, box, *flags):
    """Run a container detached; returns its network namespace's agent."""
    pid = rootless.start_container(box, *flags)
    return Space("container", f"/proc/{pid}/ns/net")


@requires("pasta")
def test_pasta_carries_both_ways(rootless, around, bundle):
    box = single(bundle(["/payload", "pause"]))
    inside = started(rootless, box, "--network", "pasta", "-p", "8080:80", "-p", "127.0.0.1:8053:8053/udp")
    try:
        for kind in ("tcp", "udp"):
            assert inside.ask(kind, OUTSIDE, 700) == f"outside {HOST}"
            assert inside.ask(kind, OUTSIDE6, 700) == f"outside6 {HOST6}"
        assert inside.ask("tcp", "127.0.0.1", 8098) == "refused", "the host's loopback is not the container's"

        netns = f"/proc/{rootless.pid(box)}/ns/net"
        assert ask(netns, "example.org", at="169.254.1.1").records == ["198.51.100.7"]
        assert rootless.exec(box, "cat", "/etc/resolv.conf").out == "nameserver 169.254.1.1\nsearch corp.example\n"
        assert "198.51.100.7" in rootless.exec(box, "/bin/busybox", "nslookup", "-type=a", "example.org").out

        inside.listen("tcp", "0.0.0.0", 80, "web")
        inside.listen("tcp", "::", 80, "web6")
        inside.listen("udp", "0.0.0.0", 8053, "names")
        assert around.host.ask("tcp", "127.0.0.1", 8080).startswith("web ")
        assert around.host.ask("tcp", "::1", 8080).startswith("web6 ")
        assert around.outside.ask("tcp", HOST, 8080).startswith("web ")
        assert around.outside.ask("tcp", HOST6, 8080).startswith("web6 ")
        assert around.host.ask("udp", "127.0.0.1", 8053).startswith("names ")
        assert around.outside.ask("udp", HOST, 8053, 0.5) in ("silence", "refused")
        assert rootless.call("port", box.id).lines == ["80/tcp -> 0.0.0.0:8080", "8053/udp -> 127.0.0.1:8053"]
    finally:
        inside.close()
    rootless.delete(box, "--force")
    assert programs(rootless.user) == {}
    assert around.host.ask("tcp", "127.0.0.1", 8080) == "refused"


@requires("slirp4netns")
def test_slirp4netns_carries_both_ways(rootless, around, bundle):
    box = single(bundle(["/payload", "pause"]))
    inside = started(rootless, box, "--network", "slirp4netns", "--publish", "8081:80", "--publish", "8054:53/udp")
    try:
        for kind in ("tcp", "udp"):
            assert inside.ask(kind, OUTSIDE, 700) == f"outside {HOST}"
        assert inside.ask("tcp", "10.0.2.2", 8098) != "loopback", "the host's loopback is not the container's"
        netns = f"/proc/{rootless.pid(box)}/ns/net"
        assert ask(netns, "example.org", at="10.0.2.3").records == ["198.51.100.7"]
        assert rootless.exec(box, "cat", "/etc/resolv.conf").out == "nameserver 10.0.2.3\nsearch corp.example\n"
        inside.listen("tcp", "0.0.0.0", 80, "web")
        inside.listen("udp", "0.0.0.0", 53, "names")
        assert around.host.ask("tcp", "127.0.0.1", 8081).startswith("web ")
        assert around.outside.ask("tcp", HOST, 8081).startswith("web ")
        assert around.outside.ask("udp", HOST, 8054).startswith("names ")
    finally:
        inside.close()
    rootless.delete(box, "--force")
    assert programs(rootless.user) == {}
    assert around.host.ask("tcp", "127.0.0.1", 8081) == "refused"


@requires("pasta")
@pytest.mark.parametrize("victim", ["container", "attendant", "program"])
def test_whatever_is_killed_nothing_is_left(rootless, around, bundle, victim):
    box = single(bundle(["/payload", "pause"]))
    pid = rootless.start_container(box, "--network", "pasta", "--publish", "8082:80")
    found = programs(rootless.user)
    assert set(found) == {"capsule-pasta", "pasta"}
    os.kill({"container": pid, "attendant": found["capsule-pasta"], "program": found["pasta"]}[victim], signal.SIGKILL)
    wait_until(lambda: not programs(rootless.user), 10, f"the end of both: {programs(rootless.user)}")
    assert around.host.ask("tcp", "127.0.0.1", 8082) == "refused"
    assert rootless.status(box) == ("stopped" if victim == "container" else "running")
    rootless.delete(box, "--force")


@requires("pasta", "stop")
@pytest.mark.parametrize("point", ["net-attend", "net-attended"])
def test_a_killed_create_leaves_no_program(stopping, bundle, point):
    box = single(bundle(["/payload", "pause"]))
    stopped = stops.stop_at(stopping, point, *stopping.words_for("create", box, ["--network", "pasta"]))
    assert stopped is not None
    stopped.kill()
    stopped.running.wait()
    stopping.delete(box, "--force")
    wait_until(lambda: not programs(stopping.user), 10, "the end of both")


@requires("pasta")
def test_a_foreground_run_ends_with_its_program_ended(rootless, around, bundle):
    box = single(bundle(["/bin/busybox", "nslookup", "-type=a", "example.org"]))
    assert "198.51.100.7" in rootless.run(box, "--network", "pasta", "--publish", "8083:80").out
    assert programs(rootless.user) == {}
    assert not rootless.exists(box)


@requires("pasta")
def test_a_port_in_use_is_refused_before_anything_is_made(rootless, around, bundle):
    box = single(bundle(["/payload", "pause"]))
    refused = rootless.create(box, "--network", "pasta", "--publish", "8099:80", rc=FAILS)
    assert "8099" in one_line(refused)
    assert "listens there" in one_line(refused)
    refused = rootless.create(box, "--network", "pasta", "--publish", "80:80", rc=FAILS)
    assert "ip_unprivileged_port_start" in one_line(refused)
    assert programs(rootless.user) == {}
    assert rootless.ids() == []


@requires("pasta")
def test_a_random_port_is_told(rootless, around, bundle):
    box = single(bundle(["/payload", "pause"]))
    inside = started(rootless, box, "--network", "pasta", "--publish", "80")
    try:
        inside.listen("tcp", "0.0.0.0", 80, "web")
        shown = rootless.call("port", box.id, "80").out.strip()
        assert around.host.ask("tcp", "127.0.0.1", int(shown.rpartition(":")[2])).startswith("web ")
    finally:
        inside.close()


def test_what_users_cannot_have_is_said(rootless, user, bundle):
    box = single(bundle(["/payload", "pause"]))
    assert "--network pasta" in one_line(rootless.create(box, "--network", "bridge", rc=FAILS))
    assert "sctp" in one_line(rootless.create(box, "--network", "pasta", "-p", "5000:5000/sctp", rc=FAILS))
    assert "takes no argument" in one_line(rootless.create(box, "--network", "pasta:-t,all", rc=FAILS))
    user.covers["/dev/net/tun"].chmod(0o600)
    assert "/dev/net/tun" in one_line(rootless.create(box, "--network", "pasta", rc=FAILS))
    for kind, package in (("pasta", "passt"), ("slirp4netns", "slirp4netns")):
        user.cover(f"/usr/bin/{kind}", "", 0o644)
        assert f"package {package}" in one_line(rootless.create(box, "--network", kind, rc=FAILS))
    user.grant()
    box = mapped(bundle(["/payload", "pause"]), [(0, SUBIDS[0], 1000)])
    assert f"must be uid {UID}" in one_line(rootless.create(box, "--network", "pasta", rc=FAILS))
    assert rootless.ids() == []


@requires("pasta")
def test_root_of_a_user_namespace_has_it_too(user, rootless, around, bundle):
    """As images of ordinary users have it: the caller is uid 0 of a user namespace."""
    user.grant()
    box = bundle(["/payload", "pause"])
    scene = ["unshare", "--user", "--map-root-user", "--map-auto", "--mount"]
    words = rootless.words_for("run", box, ["--detach", "--network", "pasta", "--publish", "8084:80"])
    rootless.call(*words, scene=scene)
    inside = Space("container", f"/proc/{rootless.call('state', box.id, scene=scene).json['pid']}/ns/net")
    try:
        assert inside.ask("tcp", OUTSIDE, 700) == f"outside {HOST}"
        inside.listen("tcp", "0.0.0.0", 80, "web")
        assert around.outside.ask("tcp", HOST, 8084).startswith("web ")
    finally:
        inside.close()
    rootless.call("delete", "--force", box.id, scene=scene)
    assert programs(user) == {}


@requires("pasta")
def test_an_image_is_published_by_pasta_where_there_are_no_bridges(workdir, leaks, around, tmp_path):
    """Detached, in a user namespace: -p alone chooses pasta; both end with `rm`."""
    (workdir / "calls").mkdir()
    scene = ["nsenter", f"--net=/proc/{around.host.pid}/ns/net", "unshare", "--user", "--map-root-user", "--mount"]
    engine = Runtime([*scene, *binary()], workdir / "state", workdir / "calls")
    bring(engine, busybox_root(tmp_path), "box", 'ENTRYPOINT ["/bin/sh","-c"]')
    serve = "mkdir /www; echo hello > /www/index.html; busybox httpd -f -h /www -p 80"
    engine.call("image", "run", "--detach", "--name", "web", "-p", "8085:80", "box", serve)
    try:
        fetch = ["busybox", "wget", "-q", "-O", "-", f"http://{HOST}:8085/"]
        wait_until(lambda: around.outside.run(*fetch)[1] == "hello\n", DEADLINE, "the page")
        assert engine.call("port", "web").lines == ["80/tcp -> 0.0.0.0:8085"]
        row, = engine.call("ps", "--format", "json").json
        assert (row["Networks"], row["Ports"]) == (["pasta"], ["0.0.0.0:8085->80/tcp"])
        assert engine.call("inspect", "web").json[0]["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"] == "8085"
    finally:
        engine.call("rm", "--force", "web")
    assert around.host.ask("tcp", "127.0.0.1", 8085) == "refused"
