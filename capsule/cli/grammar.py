"""Every command and option of the command line, once, as plain tuples.

Two readers share this table: `scanner` on the hot path and `front` (click) for everything else.

An option is `(key, names, kind, metavar, help)`: names without dashes, the long one first; both `-name`
and `--name` reach it, as in Go's flag package, which engines and scripts were written for. Flags of one letter may
share a word, `-it`, as people are used to from Docker.
A command is `(name, module, (least, most), mixed, arguments, summary, options)`: `most` is -1 for "any
number"; `mixed` permits options after the first positional, which exec and ps leave to what they run.
"""

from __future__ import annotations

FLAG = "flag"  # bool; --flag, --flag=true, --flag=false
TEXT = "text"  # str, "" when absent; the last one wins
NUMBER = "number"  # int >= 0, 0 when absent
TEXTS = "texts"  # list[str], repeatable
NUMBERS = "numbers"  # list[int], repeatable

GLOBAL_OPTIONS = (
    ("root", ("root",), TEXT, "DIR", "directory of the containers' records"),
    ("log", ("log",), TEXT, "FILE", "append log records to FILE instead of standard error"),
    ("log_format", ("log-format",), TEXT, "FORMAT", "format of log records: text (default) or json"),
    ("debug", ("debug",), FLAG, "", "log each step"),
    ("systemd_cgroup", ("systemd-cgroup",), FLAG, "", "let systemd make the cgroups, in a unit for each container"),
    ("rootless", ("rootless",), TEXT, "WORD", "do without cgroups that may not be made: auto (default), true, false"),
    ("cgroup_manager", ("cgroup-manager",), TEXT, "NAME", "cgroupfs (default), systemd or disabled"),
    ("criu", ("criu",), TEXT, "FILE", "accepted; nothing here starts criu"),
    ("version", ("version", "v"), FLAG, "", "print the version and exit"),
)

_BUNDLE = ("bundle", ("bundle", "b"), TEXT, "DIR", "directory of config.json (default: the working directory)")
_PID_FILE = ("pid_file", ("pid-file",), TEXT, "FILE", "write the process id to FILE")
_CONSOLE = ("console_socket", ("console-socket",), TEXT, "SOCKET", "AF_UNIX socket that receives the terminal's master")
_PIDFD = ("pidfd_socket", ("pidfd-socket",), TEXT, "SOCKET", "AF_UNIX socket that receives the process's pidfd")
_PRESERVE = ("preserve_fds", ("preserve-fds",), NUMBER, "N", "pass N more file descriptors, counted from 3")
_NO_PIVOT = ("no_pivot", ("no-pivot",), FLAG, "", "move the root mount instead of pivot_root (initramfs)")
_NO_KEYRING = ("no_new_keyring", ("no-new-keyring",), FLAG, "", "keep the caller's session keyring")
_DETACH = ("detach", ("detach", "d"), FLAG, "", "return as soon as the process runs")
NETWORK = (
    ("network", ("network", "net"), TEXTS, "NETWORK[:KEY=VALUE,...]",
     "join a network; or none, host, container:ID, ns:PATH, pasta, slirp4netns (default: as config.json says)"),
    ("publish", ("publish", "p", "port"), TEXTS, "[[IP:]HOST:]CONTAINER[/PROTOCOL]", "publish ports on the host"),
    ("publish_all", ("publish-all", "P"), FLAG, "", "publish what the image exposes on free ports of the host"),
    ("ip", ("ip",), TEXTS, "ADDRESS", "IPv4 address in the first network"),
    ("ip6", ("ip6",), TEXTS, "ADDRESS", "IPv6 address in the first network"),
    ("mac_address", ("mac-address",), TEXT, "MAC", "hardware address in the first network"),
    ("network_alias", ("network-alias",), TEXTS, "NAME", "further name in the first network"),
    ("hostname", ("hostname",), TEXT, "NAME", "host name of the container"),
    ("add_host", ("add-host",), TEXTS, "NAME:ADDRESS", "line of /etc/hosts"),
    ("dns", ("dns",), TEXTS, "ADDRESS", "name server"),
)
_FORMAT = ("format", ("format", "f"), TEXT, "FORMAT", "table (default) or json")
_CRIU = (
    ("image_path", ("image-path",), TEXT, "DIR", "directory of the images"),
    ("work_path", ("work-path",), TEXT, "DIR", "directory of criu's working files and logs"),
    ("parent_path", ("parent-path",), TEXT, "DIR", "images of the previous dump, relative to --image-path"),
    ("tcp_established", ("tcp-established",), FLAG, "", "permit open tcp connections"),
    ("ext_unix_sk", ("ext-unix-sk",), FLAG, "", "permit external unix sockets"),
    ("shell_job", ("shell-job",), FLAG, "", "permit shell jobs"),
    ("lazy_pages", ("lazy-pages",), FLAG, "", "use userfaultfd to move pages on demand"),
    ("file_locks", ("file-locks",), FLAG, "", "permit file locks"),
    ("manage_cgroups_mode", ("manage-cgroups-mode",), TEXT, "MODE", "soft, full, strict or ignore"),
    ("empty_ns", ("empty-ns",), TEXTS, "NAMESPACE", "make the namespace, do not restore its contents"),
)

COMMANDS = (
    (
        "create", "cmd_create", (1, 1), True, "<container-id>", "create a container",
        (
            _BUNDLE, _CONSOLE, _PIDFD, _PID_FILE, _NO_PIVOT, _NO_KEYRING, _PRESERVE,
            ("detach", ("detach", "d"), FLAG, "", "accepted; create always returns at once"),
            *NETWORK,
        ),
    ),
    (
        "start", "cmd_start", (1, -1), True, "<container-id...>",
        "run the process of a created container, or a stopped container of the engine again",
        (
            ("every", ("all", "a"), FLAG, "", "every container of the engine that does not run"),
            ("filter", ("filter",), TEXTS, "KEY=VALUE", "with --all: only those; of ps, or should-start-on-boot=true"),
        ),
    ),
    (
        "run", "cmd_run", (1, 1), True, "<container-id>", "create and run a container",
        (
            _BUNDLE, _CONSOLE, _PIDFD, _DETACH, _PID_FILE,
            ("keep", ("keep",), FLAG, "", "do not delete the container when it exits"),
            ("timeout", ("timeout",), TEXT, "SECONDS", "end the container after so long, with exit status 124"),
            ("kill_after", ("kill-after",), TEXT, "SECONDS", "time from its SIGTERM to its SIGKILL (default: 10)"),
            ("no_subreaper", ("no-subreaper",), FLAG, "", "accepted; capsule never becomes a subreaper"),
            _NO_PIVOT, _NO_KEYRING, _PRESERVE, *NETWORK,
        ),
    ),
    (
        "exec", "cmd_exec", (1, -1), False, "<container-id> <command> [arguments...] | -p FILE <container-id>",
        "run another process in a container",
        (
            _CONSOLE, _PIDFD,
            ("cwd", ("cwd",), TEXT, "DIR", "working directory in the container"),
            ("env", ("env", "e"), TEXTS, "NAME=VALUE", "set an environment variable"),
            ("tty", ("tty", "t"), FLAG, "", "allocate a terminal"),
            ("user", ("user", "u"), TEXT, "UID[:GID]", "user and group of the process"),
            ("additional_gids", ("additional-gids", "g"), NUMBERS, "GID", "add a supplementary group"),
            ("process", ("process", "p"), TEXT, "FILE", "read the process from FILE (process.json)"),
            _DETACH, _PID_FILE,
            ("process_label", ("process-label",), TEXT, "LABEL", "SELinux label of the process"),
            ("apparmor", ("apparmor",), TEXT, "PROFILE", "AppArmor profile of the process"),
            ("no_new_privs", ("no-new-privs",), FLAG, "", "set no_new_privs"),
            ("cap", ("cap", "c"), TEXTS, "CAPABILITY", "add a capability"),
            _PRESERVE,
            ("cgroup", ("cgroup",), TEXTS, "[CONTROLLER:]PATH", "join a cgroup below the container's"),
            ("ignore_paused", ("ignore-paused",), FLAG, "", "permit exec in a paused container"),
        ),
    ),
    (
        "kill", "cmd_kill", (1, 2), True, "<container-id> [signal]", "send a signal (default: TERM) to a container",
        (("all", ("all", "a"), FLAG, "", "signal every process of the container"),),
    ),
    (
        "delete", "cmd_delete", (1, 1), True, "<container-id>", "remove a container and all it holds",
        (("force", ("force", "f"), FLAG, "", "kill it first; succeed if it does not exist"),),
    ),
    (
        "state", "cmd_state", (1, 1), True, "<container-id>", "print the state of a container",
        (("detail", ("detail", "d"), FLAG, "", "add the whole record"),),
    ),
    (
        "list", "cmd_list", (0, 0), True, "", "list containers",
        (
            _FORMAT,
            ("quiet", ("quiet", "q"), FLAG, "", "print ids only"),
            ("wide", ("wide",), FLAG, "", "add the IP column"),
        ),
    ),
    (
        "ps", "cmd_ps", (0, -1), False, "[container-id [ps options]]",
        "list containers, or the processes of one",
        (
            ("format", ("format", "f"), TEXT, "FORMAT", "table (default), json, or text with {{.Key}} in it"),
            ("all", ("all", "a"), FLAG, "", "also those that do not run"),
            ("latest", ("latest", "l"), FLAG, "", "only the container made last"),
            ("last", ("last", "n"), NUMBER, "N", "only the N containers made last"),
            ("quiet", ("quiet", "q"), FLAG, "", "print ids only"),
            ("filter", ("filter",), TEXTS, "KEY=VALUE",
             "name, id, status, label, ancestor, network, volume, health, restart-policy or exited"),
            ("no_trunc", ("no-trunc",), FLAG, "", "print whole ids and commands"),
        ),
    ),
    (
        "spec", "cmd_spec", (0, 1), True, "[file]", "write an example config.json, check one, or explain one",
        (
            _BUNDLE, ("rootless", ("rootless",), FLAG, "", "for a user without privileges"),
            ("check", ("check",), FLAG, "", "tell all problems of a config.json"),
            ("explain", ("explain",), FLAG, "", "tell what create and start would do, in order"),
            _FORMAT,
        ),
    ),
    (
        "why", "cmd_why", (0, 1), True, "[container-id]", "tell the last failure of a container, or of all",
        (("json", ("json",), FLAG, "", "print JSON"),),
    ),
    (
        "doctor", "cmd_doctor", (0, 0), True, "", "try what containers need of this machine",
        (("json", ("json",), FLAG, "", "print JSON"),),
    ),
    ("features", "cmd_features", (0, 0), True, "", "print what this build supports", ()),
    ("pause", "cmd_pause", (1, 1), True, "<container-id>", "suspend the processes of a container", ()),
    ("resume", "cmd_resume", (1, 1), True, "<container-id>", "resume the processes of a container", ()),
    (
        "update", "cmd_update", (1, 1), True, "<container-id>", "change the resource limits of a container",
        (
            ("resources", ("resources", "r"), TEXT, "FILE", "read the limits from FILE, - for standard input"),
            ("blkio_weight", ("blkio-weight",), TEXT, "N", "block I/O weight"),
            ("cpu_period", ("cpu-period",), TEXT, "USEC", "CFS period"),
            ("cpu_quota", ("cpu-quota",), TEXT, "USEC", "CFS quota"),
            ("cpu_burst", ("cpu-burst",), TEXT, "USEC", "CFS burst"),
            ("cpu_share", ("cpu-share",), TEXT, "N", "CPU shares"),
            ("cpu_rt_period", ("cpu-rt-period",), TEXT, "USEC", "real-time period"),
            ("cpu_rt_runtime", ("cpu-rt-runtime",), TEXT, "USEC", "real-time runtime"),
            ("cpu_idle", ("cpu-idle",), TEXT, "0|1", "SCHED_IDLE for the cgroup"),
            ("cpuset_cpus", ("cpuset-cpus",), TEXT, "LIST", "CPUs to use"),
            ("cpuset_mems", ("cpuset-mems",), TEXT, "LIST", "memory nodes to use"),
            ("memory", ("memory",), TEXT, "BYTES", "memory limit"),
            ("memory_reservation", ("memory-reservation",), TEXT, "BYTES", "soft memory limit"),
            ("memory_swap", ("memory-swap",), TEXT, "BYTES", "limit of memory and swap"),
            ("kernel_memory", ("kernel-memory",), TEXT, "BYTES", "obsolete"),
            ("kernel_memory_tcp", ("kernel-memory-tcp",), TEXT, "BYTES", "obsolete"),
            ("pids_limit", ("pids-limit",), TEXT, "N", "limit of processes"),
            ("l3_cache_schema", ("l3-cache-schema",), TEXT, "SCHEMA", "Intel RDT L3 cache"),
            ("mem_bw_schema", ("mem-bw-schema",), TEXT, "SCHEMA", "Intel RDT memory bandwidth"),
        ),
    ),
    (
        "events", "cmd_events", (0, 1), True, "[container-id]",
        "print events and statistics of a container, or what happens to those of the engine",
        (
            ("interval", ("interval",), TEXT, "DURATION", "time between statistics"),
            ("stats", ("stats",), FLAG, "", "print the statistics once"),
            ("format", ("format", "f"), TEXT, "FORMAT", "of the engine's: text (default) or json"),
            ("since", ("since",), TEXT, "TIME", "of the engine's: only what happened at TIME or later"),
            ("no_stream", ("no-stream",), FLAG, "", "of the engine's: only what is kept"),
        ),
    ),
    (
        "checkpoint", "cmd_unbuilt", (1, 1), True, "<container-id>",
        "checkpoint a running container (needs criu; not built yet)",
        _CRIU + (
            ("leave_running", ("leave-running",), FLAG, "", "leave the container running"),
            ("page_server", ("page-server",), TEXT, "HOST:PORT", "send the pages to a page server"),
            ("pre_dump", ("pre-dump",), FLAG, "", "dump memory only and keep running"),
            ("auto_dedup", ("auto-dedup",), FLAG, "", "deduplicate memory images"),
            ("status_fd", ("status-fd",), TEXT, "FD", "write a NUL byte to FD when lazy pages are ready"),
        ),
    ),
    (
        "restore", "cmd_unbuilt", (1, 1), True, "<container-id>",
        "restore a container from a checkpoint (needs criu; not built yet)",
        _CRIU + (
            _BUNDLE, _CONSOLE, _DETACH, _PID_FILE, _NO_PIVOT,
            ("no_subreaper", ("no-subreaper",), FLAG, "", "accepted; capsule never becomes a subreaper"),
            ("auto_dedup", ("auto-dedup",), FLAG, "", "deduplicate memory images"),
            ("lsm_profile", ("lsm-profile",), TEXT, "TYPE:NAME", "LSM profile of the restored processes"),
            ("lsm_mount_context", ("lsm-mount-context",), TEXT, "CONTEXT", "LSM context of the restored mounts"),
        ),
    ),
)

# What the library starts (docs/api.md); not for people, so absent from help.
HIDDEN_COMMANDS = (
    ("_serve", "cmd_serve", (1, 1), False, "<fd>", "execute one request of the library", ()),
    ("_monitor", "cmd_image_monitor", (4, 4), False, "<store> <containers> <id> <fd>", "run and look after it", ()),
    ("_ended", "cmd_image_ended", (3, 3), False, "<store> <containers> <id>", "clean up after a run", ()),
    ("_health", "cmd_image_health", (3, 3), False, "<store> <containers> <id>", "look after a container's health", ()),
    ("_step", "cmd_image_step", (3, 3), False, "<id> <file> <lock>", "run one step of a build", ()),
)


def find_verb(name: str) -> tuple | None:
    """Return the command tuple of the runtime's verb of that name."""
    for command in COMMANDS:
        if command[0] == name:
            return command
    for command in HIDDEN_COMMANDS:
        if command[0] == name:
            return command
    return None


def is_enough(count: int, least: int, values: dict) -> bool:
    """Tell whether there are arguments enough; the option `every` stands for names, and goes with none."""
    return count == 0 if values.get("every") else count >= least


def find_command(name: str) -> tuple | None:
    """Return the command tuple of that name; a noun's command has the noun before it."""
    verb = find_verb(name)
    if verb is not None:
        return verb
    # Imported here: no command of the runtime needs the others' tables.
    from capsule.cli import nouns

    return nouns.find(name)


def find_option(options: tuple, name: str) -> tuple | None:
    """Return the option tuple that one of its names reaches."""
    for option in options:
        if name in option[1]:
            return option
    return None


def find_flags(options: tuple, letters: str) -> list[tuple]:
    """Return the flags that the letters of one word stand for, as in `-it`; none if one of them is no flag's."""
    found = [find_option(options, letter) for letter in letters]
    return [option for option in found if option is not None and option[2] == FLAG] if all(found) else []


def defaults(options: tuple) -> dict:
    """Return what each option reads as when absent."""
    values: dict = {}
    for key, _names, kind, _metavar, _help in options:
        if kind == FLAG:
            values[key] = False
        elif kind == TEXT:
            values[key] = ""
        elif kind == NUMBER:
            values[key] = 0
        else:
            values[key] = []
    return values


def read_flag(text: str) -> bool | None:
    """Read the value of `--flag=VALUE`; None if it is not a truth value."""
    if text in ("true", "True", "TRUE", "t", "T", "1"):
        return True
    if text in ("false", "False", "FALSE", "f", "F", "0"):
        return False
    return None


def read_number(text: str) -> int | None:
    """Read a number as the command line takes it: ASCII digits, decimal; None if it is not one."""
    if text.isascii() and text.isdigit() and len(text) <= 10:
        return int(text)
    return None
