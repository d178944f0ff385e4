"""What a command in `capsule sandbox` may see and do: nothing that is the machine's own."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from helpers.requires import requires
from helpers.runtime import FAILS, Runtime
from helpers.sandbox import Sandbox

pytestmark = requires("root", "runtime")


@pytest.fixture
def sandbox(capsule, tmp_path) -> Sandbox:
    return Sandbox(capsule, tmp_path / "project")


def status_of(sandbox: Sandbox) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in sandbox("cat", "/proc/self/status").lines if ":\t" in line)


@pytest.fixture
def planted():
    """Make a secret at a path for the test."""
    made: list[Path] = []

    def plant(path: str, mode: int = 0o600) -> Path:
        place = Path(path)
        made.append(place)
        place.write_text("top secret\n")
        place.chmod(mode)
        return place

    yield plant
    for place in made:
        place.unlink(missing_ok=True)


@pytest.mark.parametrize("path", [
    "/root/.capsule-test-secret", "/home/capsule-test-secret", "/etc/capsule-test-secret", "/run/capsule-test-secret",
    "/var/lib/capsule-test-secret", "/tmp/capsule-test-secret", "/var/backups/capsule-test-secret",
    "/capsule-test-secret", "/etc/ssh/ssh_host_capsule-test_key", "/opt/capsule-test-secret",
    "/etc/default/capsule-test-secret", "/etc/ssl/certs/capsule-test-secret", "/var/lib/misc/capsule-test-secret",
])
def test_secrets_cannot_be_read(sandbox, planted, path) -> None:
    if not os.path.isdir(os.path.dirname(path)):
        pytest.skip("this machine has no such directory")
    planted(path)
    result = sandbox("cat", path, rc=FAILS)

    assert result.out == "" and "No such file" in result.err


@pytest.mark.parametrize("path", ["/etc/shadow", "/etc/gshadow", "/etc/shadow-", "/etc/machine-id"])
def test_the_machines_own_secrets_are_not_there(sandbox, path) -> None:
    assert sandbox.sh(f"test -e {path}", rc=1).out == ""


def test_a_home_as_the_working_directory_is_empty(sandbox, planted) -> None:
    planted("/root/capsule-test-secret", 0o644)
    result = sandbox.sh("pwd; ls -A", cwd="/root")
    assert "capsule-test-secret" not in result.out and result.lines[0] == "/root"


def test_hidden_directories_of_a_home_are_hidden_as_a_working_directory(sandbox) -> None:
    place = Path("/root/.capsule-test")
    place.mkdir()
    try:
        (place / "key").write_text("x")
        assert "key" not in sandbox.sh("ls -A", cwd=place).out
    finally:
        shutil.rmtree(place)


def test_the_host_is_unchanged(sandbox) -> None:
    watched = ["/etc", "/usr/bin", "/bin", "/var/lib/dpkg"]

    def state() -> str:
        text = subprocess.run(["find", *watched, "-maxdepth", "1", "-printf", "%p %m %U %G %s %T@ %l\\n"],
                              capture_output=True, text=True, check=True).stdout
        return hashlib.sha256("\n".join(sorted(text.splitlines())).encode()).hexdigest()

    before = state(), Path("/proc/self/mountinfo").read_text()
    sandbox.sh("rm -rf /etc /usr/share/doc; echo x > /usr/bin/x; chmod 777 /; mkdir /new; rm -rf /var/lib/dpkg; true")
    assert (state(), Path("/proc/self/mountinfo").read_text()) == before and not os.path.exists("/new")


def test_it_has_no_capability_and_gets_none(sandbox) -> None:
    status = status_of(sandbox)
    assert all(int(status[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"


def test_a_set_user_id_program_gains_nothing(sandbox) -> None:
    result = sandbox.sh("cp /bin/cat c; chmod 4755 c; ./c /proc/self/status")
    assert "CapEff:\t0000000000000000" in result.out


def test_the_network_is_its_own_and_empty(sandbox) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        names = sandbox.sh("cat /proc/net/dev | tail -n +3 | cut -d: -f1")
        assert [name.strip() for name in names.lines if name.strip() not in ("tunl0", "sit0", "ip6tnl0", "gre0")
                and not name.strip().endswith("0")] == ["lo"]
        assert sandbox("bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}", rc=FAILS).out == ""


PYTHON_CONNECT = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1].replace("@", "\\0"))
except OSError as err:
    print(err.__class__.__name__)
else:
    print("connected")
"""


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_sockets_of_the_host_do_not_answer(sandbox, kind) -> None:
    name = str(sandbox.project / "socket") if kind == "path" else f"@capsule-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name.replace("@", "\0"))
        listener.listen()
        assert sandbox("/usr/bin/python3", "-c", PYTHON_CONNECT, name).out == "ConnectionRefusedError\n"


def test_devices_are_the_harmless_ones(sandbox) -> None:
    names = set(sandbox.sh("find /dev -type b -o -type c | sort").lines)
    harmless = ("null", "zero", "full", "random", "urandom", "tty", "pts/ptmx")
    assert names <= {f"/dev/{name}" for name in harmless}


def test_no_device_can_be_made(sandbox) -> None:
    assert sandbox.sh("mknod disk b 254 0 2>&1; test -e disk", rc=1).out


@pytest.mark.parametrize("path", ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches",
                                  "/sys/kernel/uevent_helper", "/sys/power/state"])
def test_the_kernels_switches_are_read_only(sandbox, path) -> None:
    if os.path.exists(path):
        assert sandbox.sh(f"echo x > {path}", rc=FAILS).out == ""


def test_processes_of_the_host_are_not_seen(sandbox) -> None:
    assert all(int(pid) < 20 for pid in sandbox.sh("ls /proc | grep '^[0-9]*$'").lines)


def test_nothing_of_the_host_is_above_the_root(sandbox) -> None:
    assert len({line.split()[0] for line in sandbox.sh("ls -di / /.. /../..").lines}) == 1


@pytest.mark.parametrize("call", [165, 272, 308, 248, 250, 321, 425, 101 + 209, 169, 155])
def test_dangerous_calls_are_refused(sandbox, call) -> None:
    """mount, unshare, setns, add_key, keyctl, bpf, io_uring_setup, process_vm_readv, reboot, pivot_root."""
    script = ("import ctypes; l = ctypes.CDLL(None, use_errno=True);"
              f"print(l.syscall({call}, 0, 0, 0, 0, 0), ctypes.get_errno())")
    result, number = sandbox("/usr/bin/python3", "-c", script).out.split()
    assert result == "-1" and number in ("1", "38")


def test_namespaces_cannot_be_made_by_clone(sandbox) -> None:
    script = ("import ctypes; l = ctypes.CDLL(None, use_errno=True);"
              "print(l.syscall(56, 0x10000000 | 17, 0, 0, 0, 0), ctypes.get_errno())")
    assert sandbox("/usr/bin/python3", "-c", script).out.split()[0] == "-1"


def test_descriptors_of_the_caller_are_closed(sandbox, tmp_path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("top secret\n")
    fd = os.open(secret, os.O_RDONLY)
    try:
        result = sandbox.sh(f"cat <&{fd}", rc=FAILS, pass_fds=(fd,))
        assert "top secret" not in result.out
    finally:
        os.close(fd)


def test_kept_changes_cannot_be_reached_by_other_users(sandbox) -> None:
    """A set-user-ID file that the sandbox made for itself would be root's for whoever could execute it."""
    sandbox.sh("cp /bin/cat c; chmod 4755 c", "--keep")
    (id,) = sandbox.kept()
    place = Path(sandbox.runtime.root) / ".sandbox" / id
    assert list(place.rglob("c")) and place.stat().st_mode & 0o777 == 0o700
    sandbox.runtime.call("sandbox", "discard", id)


def test_names_cannot_forge_lines_of_a_diff(sandbox) -> None:
    script = r"""touch "$(printf 'x\nD etc')" "$(printf 'y\033[2K')" "$(printf 'z\302\233')" """
    base = sandbox.project
    assert sandbox.sh(script, "--diff").out.split("\n") == [
        rf'A "{base}/x\nD etc"', rf'A "{base}/y\u001b[2K"', rf'A "{base}/z\u009b"', ""]


def test_apply_follows_no_link_out_of_its_path(sandbox, tmp_path) -> None:
    """The host's directory has become a link since: what was meant for it goes nowhere else."""
    decoy = tmp_path / "decoy"
    decoy.mkdir()
    (sandbox.project / "tree").mkdir()
    sandbox.sh("echo x > tree/file", "--keep")
    (sandbox.project / "tree").rmdir()
    (sandbox.project / "tree").symlink_to(decoy)
    assert "the way there has changed" in sandbox.apply(rc=1).err
    assert list(decoy.iterdir()) == []
    sandbox.runtime.call("sandbox", "discard", sandbox.kept()[0])


def test_apply_never_touches_what_was_hidden(sandbox) -> None:
    sandbox.sh("echo x > /root/capsule-test-planted; echo y > /etc/shadow; mkdir -p /home/x; echo z > ok", "--keep")
    shadow = Path("/etc/shadow").read_bytes()
    assert sandbox.apply().lines == [f"A {sandbox.project}/ok"]
    assert Path("/etc/shadow").read_bytes() == shadow and not os.path.exists("/root/capsule-test-planted")


def test_apply_refuses_set_user_id_files(sandbox) -> None:
    sandbox.sh("cp /bin/cat c; chmod 4755 c", "--keep")
    assert "never applied" in sandbox.apply(rc=1).err
    assert not (sandbox.project / "c").exists()
    sandbox.runtime.call("sandbox", "discard", sandbox.kept()[0])


def apart(sandbox: Sandbox, script: str) -> Sandbox:
    """Return a sandbox of a machine of its own mounts, which a shell script makes."""
    before = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script + '\nexec "$@"', "sh"]
    runtime = sandbox.runtime
    return Sandbox(Runtime([*before, *runtime.argv], runtime.root, runtime.workdir), sandbox.project)


MOUNTS = """
mount -t tmpfs -o mode=755 capsule-test /opt
mkdir -p /opt/shut /opt/way/deep/in /opt/plain /opt/bound /opt/part /opt/all /opt/software /opt/again
mount -t tmpfs -o mode=700 capsule-test /opt/shut
echo secret > /opt/shut/key
mkdir -p /opt/way/deep/in/point
mount -t tmpfs -o mode=755 capsule-test /opt/way/deep/in/point
echo secret > /opt/way/deep/in/point/key
chmod 700 /opt/way/deep/in
mount -t tmpfs -o mode=755 capsule-test /opt/plain
echo software > /opt/plain/file
mount -t tmpfs -o mode=755 capsule-test /home
mkdir -p /home/part
echo secret > /home/key
echo secret > /home/part/key
mount --bind /home /opt/bound
mount --bind /home/part /opt/part
mount --bind / /opt/all
mkdir -p /srv
mount -t tmpfs -o mode=755 capsule-test /srv
mkdir /srv/data
mount -t tmpfs -o mode=755 capsule-test /srv/data
echo secret > /srv/data/key
mount --bind /srv/data /opt/again
mount --bind /opt/plain /opt/software
"""


def test_mounts_among_the_software_show_nothing_that_is_hidden(sandbox) -> None:
    """Shut ones, ones behind a shut directory, and binds of what is hidden where it belongs."""
    sandbox = apart(sandbox, MOUNTS)
    result = sandbox.sh("cat /opt/shut/* /opt/way/deep/in/point/* /opt/bound/* /opt/part/* /opt/again/* "
                        "/opt/all/etc/shadow 2>/dev/null; ls /opt/all/home /opt/all/srv;"
                        "cat /opt/plain/file /opt/software/file;"
                        "test -e /opt/all/usr/bin/env && test -e /usr/bin/env && echo shown")
    assert result.lines == ["/opt/all/home:", "", "/opt/all/srv:", "software", "software", "shown"]


def test_what_deep_directories_of_services_shut_away_is_not_there(sandbox) -> None:
    sandbox = apart(sandbox, "mount -t tmpfs -o mode=755 capsule-test /opt; mkdir -p /opt/a/b/c; umask 077;"
                             "echo secret > /opt/a/b/c/key; echo secret > /opt/a/b/key; echo secret > /opt/a/key;"
                             "mount -t tmpfs -o mode=755 capsule-test /var/lib; cd /var/lib; umask 022; mkdir -p a/b/c;"
                             "umask 077; echo secret > a/b/c/key")
    assert sandbox.sh("find /opt /var/lib -type f", cwd="/").out == ""


FEDORA = """
mount -t tmpfs capsule-test "$place"
cd "$place"
mkdir upper work root
ln -s var/home upper/home
ln -s var/data upper/srv
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work capsule-test root
cd root
mkdir -p var/home/me/project var/home/me/.keys var/data
echo secret > var/home/me/key
echo secret > var/home/me/.keys/key
echo secret > var/data/key
echo work > var/home/me/project/file
for name in proc sys dev run; do mount --rbind /$name $name; done
pivot_root . mnt
umount -l /mnt
cd "$cwd"
"""


@pytest.mark.parametrize(("cwd", "shown"), [
    ("/", []), ("/home", []), ("/home/me", []), ("/home/me/project", ["work"]), ("/home/me/.keys", []),
])
def test_hidden_places_that_are_links_are_hidden_where_they_lead(sandbox, workdir, cwd, shown) -> None:
    place = workdir / "place"
    place.mkdir()
    sandbox = apart(sandbox, f"place={place} cwd={cwd}" + FEDORA)
    result = sandbox.sh("find /var/home /var/data/ /home/ /srv/ -type f -exec cat {} + | sort -u")
    assert result.lines == shown
