"""Limits, their change while a container runs, and what engines measure."""

from __future__ import annotations

import pytest

MIB = 1 << 20
MEMORY_TOO = "writes the memory limit as well, when Docker changes another"


class Resources:
    @pytest.mark.smoke
    def test_limits_reach_the_cgroups(self, engine):
        name = engine.detached(options=["--memory", "64m", "--pids-limit", "77", "--cpu-shares", "512",
                                        "--cpu-period", "50000", "--cpu-quota", "25000"])
        assert engine.knob(name, "memory", "memory.limit_in_bytes") == str(64 * MIB)
        assert engine.knob(name, "pids", "pids.max") == "77"
        assert engine.knob(name, "cpu", "cpu.shares") == "512"
        assert engine.knob(name, "cpu", "cpu.cfs_period_us") == "50000"
        assert engine.knob(name, "cpu", "cpu.cfs_quota_us") == "25000"

    def test_cpus(self, engine):
        name = engine.detached(options=["--cpus", "0.5"])
        quota, period = (int(engine.knob(name, "cpu", f"cpu.cfs_{word}_us")) for word in ("quota", "period"))
        assert quota * 2 == period

    def test_cpuset(self, engine):
        name = engine.detached(options=["--cpuset-cpus", "0", "--cpuset-mems", "0"])
        assert engine.knob(name, "cpuset", "cpuset.cpus") == "0"
        assert "Cpus_allowed_list:\t0\n" in engine.proc(name, "status")

    def test_reservation_and_swap(self, engine):
        name = engine.detached(options=["--memory", "64m", "--memory-reservation", "32m", "--memory-swap", "64m"])
        assert engine.knob(name, "memory", "memory.soft_limit_in_bytes") == str(32 * MIB)

    def test_more_processes_than_allowed(self, engine):
        out = engine.run("/payload", "forkbomb", "50", options=["--pids-limit", "10"])
        assert '"made":9,"errno":11' in out.replace(" ", "")

    def test_more_memory_than_allowed(self, engine):
        engine.sh("x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done", "--memory", "16m", "--memory-swap", "16m", rc=137)

    def test_devices_not_listed_are_refused(self, engine):
        assert engine.denied("mknod-null", "/tmp/null", "open", "/tmp/null", "mknod-disk", "/tmp/disk",
                             "open", "/tmp/disk", options=["--cap-add", "MKNOD"])[-1] in (1, 2)
        name = engine.detached()
        assert "c 1:3 rwm" in engine.knob(name, "devices", "devices.list") or \
            "c 1:3 rw" in engine.knob(name, "devices", "devices.list")

    def test_a_device_of_the_host(self, engine):
        assert engine.sh("ls -l /dev/given | cut -c1; echo x > /dev/given && echo written",
                         "--device", "/dev/null:/dev/given").split() == ["c", "written"]

    @pytest.mark.smoke
    def test_update_of_a_running_container(self, engine):
        name = engine.detached(options=["--memory", "64m", "--pids-limit", "50"])
        engine.call("update", "--memory", "128m", "--memory-swap", "256m", "--cpu-shares", "333", name)
        assert engine.knob(name, "memory", "memory.limit_in_bytes") == str(128 * MIB)
        assert engine.knob(name, "cpu", "cpu.shares") == "333"
        assert engine.knob(name, "pids", "pids.max") == "50"

    @pytest.mark.known(crun=MEMORY_TOO)
    def test_update_of_the_quota(self, engine):
        name = engine.detached()
        engine.call("update", "--cpu-period", "100000", "--cpu-quota", "30000", name)
        assert engine.knob(name, "cpu", "cpu.cfs_quota_us") == "30000"

    @pytest.mark.known(crun=MEMORY_TOO)
    def test_update_of_the_cpuset(self, engine):
        name = engine.detached()
        engine.call("update", "--cpuset-cpus", "0", name)
        assert engine.knob(name, "cpuset", "cpuset.cpus") == "0"

    def test_stats_measure(self, engine):
        name = engine.detached("/payload", "children", "3")
        engine.wait_log(name, "ready")
        line = engine.call("stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", name).word
        assert line.split()[0] == "4"
        assert not line.split()[1].startswith("0B")

    def test_top_lists_the_processes(self, engine):
        name = engine.detached("sh", "-c", "sleep 777 & echo ready; sleep 778")
        engine.wait_log(name, "ready")
        out = engine.call("top", name).out
        assert "sleep 777" in out and "sleep 778" in out
