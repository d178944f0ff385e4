"""Files: volumes, tmpfs, read-only roots, copies in and out, images of containers."""

from __future__ import annotations

import json
import os

import pytest

from ..kit.facts import field_of_mount

EROFS = 30


class Storage:
    @pytest.mark.smoke
    def test_a_directory_of_the_host(self, engine, workdir):
        (workdir / "file").write_text("shared")
        out = engine.sh("cat /data/file; echo back > /data/new", "--volume", f"{workdir}:/data")
        assert out == "shared"
        assert (workdir / "new").read_text() == "back\n"
        (workdir / "new").unlink()

    def test_a_directory_read_only(self, engine, workdir):
        assert engine.denied("create", "/data/new", options=["--volume", f"{workdir}:/data:ro"]) == [EROFS]
        assert os.listdir(workdir) == []

    def test_a_file_of_the_host(self, engine, workdir):
        (workdir / "file").write_text("one")
        assert engine.sh("cat /etc/given", "--mount", f"type=bind,source={workdir}/file,target=/etc/given,readonly"
                         ) == "one"

    def test_a_missing_source_is_125(self, engine):
        engine.run("true", options=["--mount", "type=bind,source=/no/such/source,target=/data"], rc=125)

    def test_a_shared_mount_propagates(self, engine):
        def tags(propagation: str) -> str:
            facts = engine.probe("--mount", f"type=bind,source=/run,target=/data,bind-propagation={propagation}")
            return field_of_mount(facts, "/data", 6)

        assert tags("rprivate") == "-"
        engine.inside("mount", "--make-shared", "/run")
        try:
            assert tags("rslave").startswith("master:")
            assert tags("rshared").startswith("shared:")
        finally:
            engine.inside("mount", "--make-private", "/run")

    def test_a_named_volume_outlives_its_container(self, engine):
        engine.call("volume", "create", "kept")
        engine.sh("echo first > /data/file", "--volume", "kept:/data")
        assert engine.sh("cat /data/file", "--volume", "kept:/data") == "first\n"
        engine.call("volume", "rm", "kept")

    def test_a_new_volume_has_the_images_files(self, engine):
        engine.call("volume", "create", "filled")
        assert "passwd" in engine.sh("ls /etc", "--volume", "filled:/etc").split()

    def test_volumes_of_another_container(self, engine):
        name = engine.detached("sh", "-c", "echo mine > /data/file; echo ready; sleep 1000",
                               options=["--volume", "/data"])
        engine.wait_log(name, "ready")
        assert engine.sh("cat /data/file", "--volumes-from", name) == "mine\n"

    def test_a_read_only_root_with_tmpfs(self, engine):
        assert engine.denied("create", "/file", "create", "/scratch/file",
                             options=["--read-only", "--tmpfs", "/scratch"]) == [EROFS, 0]

    def test_options_of_a_tmpfs(self, engine):
        facts = engine.probe("--tmpfs", "/scratch:rw,size=64k,mode=700,noexec")
        assert "noexec" in field_of_mount(facts, "/scratch", 5)
        assert {"size=64k", "mode=700"} <= set(field_of_mount(facts, "/scratch", -1).split(","))

    def test_shared_memory_of_a_size(self, engine):
        assert "size=2048k" in field_of_mount(engine.probe("--shm-size", "2m"), "/dev/shm", -1)

    def test_the_root_is_the_containers_own(self, engine):
        first = engine.detached("sh", "-c", "echo mine > /file; echo ready; sleep 1000")
        engine.wait_log(first, "ready")
        assert engine.denied("stat", "/file") == [2]

    def test_copy_in_and_out(self, engine, workdir):
        (workdir / "in").write_text("copied")
        name = engine.detached()
        engine.call("cp", f"{workdir}/in", f"{name}:/tmp/out")
        assert engine.exec(name, "cat", "/tmp/out").out == "copied"
        engine.call("cp", f"{name}:/tmp/out", f"{workdir}/back")
        assert (workdir / "back").read_text() == "copied"

    def test_the_differences_to_the_image(self, engine):
        name = engine.create("sh", "-c", "echo x > /tmp/added; rm /etc/plain")
        engine.call("start", "--attach", name)
        lines = engine.call("diff", name).lines
        assert "A /tmp/added" in lines and "D /etc/plain" in lines

    def test_an_image_of_a_container(self, engine):
        name = engine.create("sh", "-c", "echo kept > /kept")
        engine.call("start", "--attach", name)
        engine.call("commit", name, "localhost/made")
        try:
            assert engine.call("run", "--rm", *engine.OFFLINE, "localhost/made", "cat", "/kept").out == "kept\n"
        finally:
            engine.call("rmi", "localhost/made")

    def test_export_of_a_container(self, engine, workdir):
        name = engine.create("true")
        engine.call("export", "--output", str(workdir / "tar"), name)
        assert b"etc/plain" in (workdir / "tar").read_bytes()

    def test_the_hosts_file_names_the_container(self, engine):
        text = engine.sh("cat /etc/hosts", "--add-host", "elsewhere:192.0.2.7", "--network", "bridge")
        assert ["192.0.2.7", "elsewhere"] in [line.split() for line in text.splitlines()]

    def test_the_payload_sees_the_mounts_of_an_engine(self, engine):
        facts = json.loads(engine.run("/payload", "probe"))
        points = {line.split()[4] for line in facts["mountinfo"].splitlines()}
        assert {"/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup",
                "/etc/hosts", "/etc/hostname"} <= points
