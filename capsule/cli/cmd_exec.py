"""exec: run another process in a container."""

from __future__ import annotations

from capsule import verbs
from capsule.cli.paths import absolute, runtime_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError


def run(invocation: Invocation) -> int:
    """Run the process; in the foreground this process becomes its relay and does not return."""
    options = invocation.options
    container_id = invocation.positionals[0]
    args = invocation.positionals[1:]
    if not args and not options["process"]:
        raise CapsuleError("exec", container_id, "process args cannot be empty")
    return verbs.exec_(
        runtime_root(invocation),
        container_id,
        process_file=absolute(options["process"]) or None,
        args=args,
        cwd=options["cwd"] or None,
        env=options["env"],
        user=options["user"] or None,
        additional_gids=options["additional_gids"],
        caps=options["cap"],
        tty=options["tty"],
        detach=options["detach"],
        pid_file=absolute(options["pid_file"]) or None,
        console_socket=absolute(options["console_socket"]) or None,
        pidfd_socket=absolute(options["pidfd_socket"]) or None,
        preserve_fds=options["preserve_fds"],
        cgroup=options["cgroup"],
        ignore_paused=options["ignore_paused"],
        no_new_privs=options["no_new_privs"] or None,
        apparmor=options["apparmor"] or None,
        process_label=options["process_label"] or None,
    )
