"""One interface, two places: capsule.Container in a program with eight threads, runtime.Container inside the launcher.

Each test is a scene, run as a program of its own: once with the public client, which starts the launcher, and once
as the launcher runs it, in an isolated interpreter of one thread. What the scene notes must be the same.
"""

import inspect
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from helpers.requires import binary, requires

import capsule
from capsule.client import launcher
from capsule.runtime import container as inside, factory as factory_inside, process as process_inside

pytestmark = requires("root", "runtime", "busybox")

TREE = str(Path(capsule.__file__).parents[1])
BEFORE = """
import json, signal, sys
tree, root, bundle, id, facts = sys.argv[1:]
sys.path.insert(0, tree)
noted = {}

def refusal(call, *args, **more):
    try:
        call(*args, **more)
    except Exception as err:
        return [type(err).__name__, str(err)]

def threads():
    with open("/proc/self/status") as file:
        return [int(line.split()[1]) for line in file if line.startswith("Threads:")][0]
"""
PLACES = {
    "client": """
import threading
never = threading.Event()
for _ in range(8):
    threading.Thread(target=never.wait, daemon=True).start()
from capsule import Factory, Process
factory = Factory(root)
""",
    "launcher": """
from capsule.init.start import start_initialization
from capsule.runtime.factory import Factory
from capsule.runtime.process import Process
factory = Factory(root, initialize=start_initialization)
""",
}
SCENE = """
try:
{scene}
finally:
    for left in factory.list():
        factory.load(left).destroy(force=True)
    with open(facts, "w") as file:
        json.dump(noted, file)
"""


@pytest.fixture(params=list(PLACES))
def play(request, workdir, bundle):
    """Run a scene in one of the two places; returns what it noted. `box` is its bundle."""

    def run(scene, *args, edit=None):
        box = bundle(list(args) or ["/bin/sleep", "100"])
        if edit is not None:
            box.edit(edit)
        facts = workdir / "facts"
        text = BEFORE + PLACES[request.param] + SCENE.format(scene=textwrap.indent(textwrap.dedent(scene), "    "))
        done = subprocess.run(
            [sys.executable, "-I", *(["-S"] if request.param == "launcher" else []), "-c", text,
             TREE, str(workdir / "root"), str(box.write()), box.id, str(facts)],
            env={**os.environ, launcher.LAUNCHER_VARIABLE: binary()[0]}, timeout=60, check=False,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )
        assert done.returncode == 0, done.stderr
        noted = json.loads(facts.read_text())
        noted["place"] = request.param
        return noted

    return run


def test_the_places_are_what_they_are_said_to_be(play):
    noted = play("noted['threads'] = threads()")
    assert noted["threads"] == {"client": 9, "launcher": 1}[noted["place"]]


def test_a_life_from_created_to_gone(play):
    noted = play("""
        container = factory.create(id, bundle=bundle)
        noted["before"] = [factory.exists(id), factory.list(), refusal(container.status)[0]]
        container.create()
        noted["seen"] = [int(container.status())]
        container.start()
        noted["seen"].append(int(container.status()))
        noted["pids"] = container.processes() == [container.state().init_process_pid]
        container.pause()
        noted["seen"].append(int(container.status()))
        container.resume()
        noted["seen"].append(int(container.status()))
        container.signal(signal.SIGKILL)
        noted["exit"] = [container.wait(10), container.wait()]
        noted["seen"].append(int(container.status()))
        container.destroy()
        noted["after"] = [factory.exists(id), factory.list()]
        noted["gone"] = [refusal(call)[0] for call in (
            container.status, container.state, container.oci_state, container.start, container.pause,
            container.resume, container.processes, container.destroy)]
        noted["gone"] += [refusal(container.signal, 9)[0], refusal(container.exec, Process(["true"]))[0]]
    """)
    assert noted["before"] == [False, [], "NotFound"]
    assert noted["seen"] == [0, 1, 3, 1, 2]
    assert noted["pids"] is True
    assert noted["exit"] == [137, 137]
    assert noted["after"] == [False, []]
    assert noted["gone"] == ["NotFound"] * 10


def test_a_process_changes_the_configs_own(play):
    noted = play("""
        container = factory.create(id, bundle=bundle)
        script = '[ "$WORD" = hello ] && [ "$PWD" = /tmp ] && exit 7'
        container.run(Process(["/bin/sh", "-c", script], env=["WORD=hello"], cwd="/tmp"))
        noted["exit"] = container.wait(10)
        noted["own"] = container.config.process.cwd
        noted["loaded"] = factory.load(id).config.process.cwd
    """, "/bin/false")
    assert (noted["exit"], noted["own"], noted["loaded"]) == (7, "/tmp", "/tmp")


def test_a_process_without_one_in_the_config_is_refused(play):
    noted = play("""
        noted["error"] = refusal(factory.create(id, bundle=bundle).create, Process(["true"]))
        noted["left"] = factory.list()
    """, edit=lambda config: config.pop("process"))
    assert noted["error"] == ["SpecError", "config.json process: there is none to change"]
    assert noted["left"] == []


def test_exec_runs_beside_the_first_process(play):
    noted = play("""
        container = factory.create(id, bundle=bundle)
        container.run()
        process = container.exec(Process(["/bin/sh", "-c", "sleep 99 & exit 5"]))
        noted["is another"] = process.pid not in (0, container.init.pid)
        noted["exit"] = [process.wait(10), process.wait()]
        noted["count"] = len(container.processes())
        noted["still"] = int(container.status())
        noted["error"] = refusal(container.exec, Process(["/nosuch"]))
    """)
    assert noted["is another"] is True
    assert noted["exit"] == [5, 5]
    assert (noted["count"], noted["still"]) == (2, 1)
    assert noted["error"][0] == "CapsuleError" and "no such file or directory" in noted["error"][1]


def test_waiting_ends_in_time(play):
    noted = play("""
        container = factory.create(id, bundle=bundle)
        container.run()
        stranger = factory.load(id)
        noted["errors"] = [refusal(container.wait, 0.05)[0], refusal(stranger.wait, 0.05)[0]]
        process = container.exec(Process(["/bin/sleep", "99"]))
        noted["exec"] = refusal(process.wait, 0.05)[0]
        noted["init"] = [container.init is not None, stranger.init]
        container.signal(signal.SIGKILL)
        # First the exec's: a pid namespace ends when the parents of all that was in it have reaped them.
        noted["exit"] = [process.wait(10), stranger.wait(10), container.wait(10)]
    """)
    assert (noted["errors"], noted["exec"]) == (["TimeoutError"] * 2, "TimeoutError")
    assert noted["init"] == [True, None]
    assert noted["exit"] == [137, None, 137]


def test_a_detached_process_tells_no_status(play):
    noted = play("""
        container = factory.create(id, bundle=bundle)
        container.run(Process(detach=True))
        container.signal(signal.SIGKILL, all=True)
        noted["exit"] = container.wait(10)
    """)
    assert noted["exit"] is None


def test_state_and_config_are_the_records(play):
    noted = play("""
        container = factory.create(id, bundle=bundle)
        container.create()
        state, record = container.oci_state(), container.state()
        noted["id"] = [container.id == id, state["id"] == id, record.id == id]
        noted["bundle"] = [path == bundle for path in (container.bundle, state["bundle"], record.bundle)]
        noted["pid"] = state["pid"] == record.init_process_pid == container.init.pid
        noted["status"] = state["status"]
        noted["keys"] = sorted(state)
        noted["hostname"] = [container.config.hostname, factory.load(id).config.hostname]
        noted["root"] = factory.runtime_root == root
    """)
    assert noted["id"] == noted["bundle"] == [True] * 3
    assert (noted["pid"], noted["root"], noted["status"]) == (True, True, "created")
    assert noted["keys"] == ["bundle", "created", "id", "ociVersion", "owner", "pid", "rootfs", "status"]
    assert noted["hostname"] == ["box", "box"]


def test_refusals_have_their_classes(play):
    noted = play("""
        noted["load"] = refusal(factory.load, "nosuch")
        noted["id"] = refusal(factory.create, "a/b", bundle=bundle)[0]
        container = factory.create(id, bundle=bundle)
        container.create()
        noted["twice"] = refusal(lambda: factory.create(id, bundle=bundle).create())
        noted["created"] = [refusal(call)[0] for call in (container.resume, container.create)]
        container.start()
        noted["running"] = [refusal(call)[0] for call in (container.start, container.resume, container.destroy)]
        container.pause()
        noted["paused"] = [refusal(call)[0] for call in (container.pause, container.start, container.destroy)]
        noted["exec"] = refusal(container.exec, Process(["true"]))
        container.signal(signal.SIGKILL)
        container.wait(10)
        noted["stopped"] = [refusal(call)[0] for call in (container.start, container.pause, container.resume)]
        noted["stopped"] += [refusal(container.signal, 15)[0], refusal(container.exec, Process(["true"]))[0]]
    """)
    assert noted["load"] == ["NotFound", 'container "nosuch" does not exist']
    assert noted["id"] == "StateError"
    assert noted["twice"][0] == "AlreadyExists"
    assert noted["created"] == ["BadTransition", "AlreadyExists"]
    assert noted["running"] == noted["paused"] == ["BadTransition"] * 3
    assert noted["exec"][0] == "BadTransition" and "paused container" in noted["exec"][1]
    assert noted["stopped"] == ["BadTransition"] * 5


@pytest.mark.parametrize("verb", ["create", "run"])
@pytest.mark.parametrize(("edit", "kind", "words"), [
    (lambda config: config["linux"].update(sysctl={"net.nosuch": "1"}), "KernelError", "write sysctl net/nosuch"),
    (lambda config: config["root"].update(path="nosuch"), "SpecError", "root.path"),
], ids=["system", "host"])
def test_what_fails_on_the_way_leaves_nothing(play, verb, edit, kind, words):
    noted = play(f"""
        container = factory.create(id, bundle=bundle)
        noted["error"] = refusal(container.{verb})
        noted["left"] = factory.list()
    """, edit=edit)
    assert noted["error"][0] == kind and words in noted["error"][1]
    assert noted["left"] == []


def test_a_run_that_cannot_start_leaves_nothing(play):
    noted = play("""
        container = factory.create(id, bundle=bundle)
        noted["error"] = refusal(container.run)
        noted["left"] = factory.list()
    """, "/nosuch")
    assert noted["error"][0] == "CapsuleError" and "no such file or directory" in noted["error"][1]
    assert noted["left"] == []


def test_a_config_that_is_not_valid_names_the_place(play):
    noted = play("""
        noted["error"] = refusal(factory.create, id, bundle=bundle)
    """, edit=lambda config: config["process"].update(cwd="relative"))
    assert noted["error"][0] == "SpecError" and "process.cwd" in noted["error"][1]


def public(kind):
    """The public names of a class, each method with the parameters that it can be called with."""
    found = {}
    for name in dir(kind):
        if not name.startswith("_"):
            value = inspect.getattr_static(kind, name)
            found[name] = list(inspect.signature(value).parameters) if inspect.isfunction(value) else None
    return found


#: Networks are joined by the verbs, around the container (docs/networking.md): inside, it knows none.
OF_NETWORKS = {"networks", "ports", "publish_all", "hostname", "add_hosts", "dns"}


@pytest.mark.parametrize(("client", "within", "only_inside"), [
    (capsule.Container, inside.Container, {}),
    (capsule.Factory, factory_inside.Factory,
     {"load": ["lock"], "start_initialization": ["config", "initializer_type"]}),
], ids=["Container", "Factory"])
def test_every_public_method_has_its_twin(client, within, only_inside):
    ours, theirs = public(client), public(within)
    if client is capsule.Container:
        del ours["endpoints"]
    else:
        ours["create"] = [name for name in ours["create"] if name not in OF_NETWORKS]
    assert set(ours) <= set(theirs)
    more = {name: sorted(set(theirs[name] or ()) - set(words or ())) for name, words in ours.items()}
    assert {name: words for name, words in more.items() if words} == only_inside
    assert all(set(words or ()) <= set(theirs[name] or ()) for name, words in ours.items())


def test_every_field_of_a_process_has_its_twin():
    # A process inside the launcher has the launcher's own streams; `spec`, process.json, is for the command line.
    assert set(capsule.Process.__slots__) - {"stdin", "stdout", "stderr"} <= set(process_inside.Process.__slots__)
