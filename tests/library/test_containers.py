"""The library with the real launcher: a container's life from a Python program."""

import asyncio
import gc
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.requires import binary, requires
from helpers.wait import wait_until

import capsule
from capsule import ContainerStatus, Factory, Process
from capsule.client import launcher

pytestmark = requires("root", "runtime", "busybox")


def no_orphan_is_left():
    launcher.reap_finished()
    return not launcher._orphans


@pytest.fixture(autouse=True)
def real_launcher(monkeypatch, leaks):
    """Let the library start the runtime under test; every relay has ended before leaks are counted."""
    monkeypatch.setenv(launcher.LAUNCHER_VARIABLE, binary()[0])
    yield
    gc.collect()
    wait_until(no_orphan_is_left, 5)


@pytest.fixture
def factory(workdir, real_launcher):
    """A factory with a root of its own; its containers are destroyed after the test."""
    made = Factory(workdir / "root")
    yield made
    for name in made.list():
        made.load(name).destroy(force=True)


@pytest.fixture
def make(factory, bundle):
    """Make containers that run a command."""

    def prepare(*args):
        box = bundle(list(args))
        return factory.create(box.id, bundle=box.write())

    return prepare


@pytest.fixture
def pipe():
    """Both ends of a pipe, the second for a container to write to."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def read(fd):
    return os.read(fd, 4096).decode()


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 0)])
def test_run_and_wait_give_the_exit_status(make, script, status):
    container = make("/bin/sh", "-c", script)
    container.run()
    # Signals that a first process sends itself have no effect (man 7 pid_namespaces).
    assert container.wait(10) == status
    assert container.status() is ContainerStatus.STOPPED


def test_a_life_from_created_to_gone(make, factory):
    container = make("/bin/sleep", "100")
    container.create()
    assert container.status() is ContainerStatus.CREATED
    container.start()
    assert container.status() is ContainerStatus.RUNNING
    assert container.processes() == [container.state().init_process_pid]
    with pytest.raises(capsule.BadTransition):
        container.destroy()
    container.pause()
    assert container.status() is ContainerStatus.PAUSED
    container.resume()
    container.signal(signal.SIGKILL)
    assert container.wait(10) == 128 + signal.SIGKILL
    container.destroy()

    assert factory.list() == []
    with pytest.raises(capsule.NotFound, match="does not exist"):
        container.status()


def test_what_a_process_writes_arrives_at_the_given_descriptor(make, pipe):
    container = make("/bin/true")
    container.run(Process(["/bin/sh", "-c", "echo $WORD; pwd"], env={"WORD": "hello"}, cwd="/tmp", stdout=pipe[1]))
    assert container.wait(10) == 0

    assert read(pipe[0]) == "hello\n/tmp\n"


def test_exec_runs_beside_the_first_process(make, pipe):
    container = make("/bin/sleep", "100")
    container.run()
    handle = container.exec(Process(["/bin/sh", "-c", "echo $A; exit 5"], env=["A=1"], stdout=pipe[1]))

    assert handle.wait(10) == 5
    assert read(pipe[0]) == "1\n"
    assert container.status() is ContainerStatus.RUNNING


def test_preserved_descriptors_are_found_from_three_on(make, pipe):
    container = make("/bin/sh", "-c", "echo through >&3")
    container.run(Process(preserve_fds=[pipe[1]]))
    assert container.wait(10) == 0

    assert read(pipe[0]) == "through\n"


def test_a_detached_container_is_waited_for_without_a_status(make, factory):
    container = make("/bin/sleep", "100")
    container.run(Process(detach=True))
    stranger = factory.load(container.id)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(stranger.wait, 10)
        container.signal(signal.SIGKILL)
        assert waiting.result() is None


def test_a_program_that_is_not_there_is_an_error_and_leaves_nothing(make, factory):
    container = make("/nosuch")
    with pytest.raises(capsule.CapsuleError, match="no such file or directory"):
        container.run()

    assert factory.list() == []


def test_an_event_loop_learns_of_the_end(make):
    container = make("/bin/true")
    container.run()

    async def ended():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.add_reader(container.init, lambda: (loop.remove_reader(container.init), future.set_result(None)))
        await asyncio.wait_for(future, 10)

    asyncio.run(ended())
    assert container.wait(0) == 0


def test_many_threads_run_containers_at_once(make):
    containers = [make("/bin/sh", "-c", f"exit {number}") for number in range(4)]
    barrier = threading.Barrier(4)

    def life(container):
        barrier.wait()
        container.run()
        return container.wait(20)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(life, containers)) == [0, 1, 2, 3]


def test_the_command_line_sees_what_the_library_made(make, capsule, factory):
    container = make("/bin/sleep", "100")
    container.run()
    listed = capsule.call("--root", factory.runtime_root, "list", "-q", root=False)

    assert listed.lines == [container.id]
