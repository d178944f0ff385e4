"""The table of `capsule image`: docs/images.md."""

from __future__ import annotations

from capsule.cli.grammar import FLAG, NETWORK, TEXT, TEXTS

SUMMARY = "images: what containers are made of"
ALIASES = {"ls": "list", "rm": "delete", "inspect": "get", "unmount": "umount", "runc": "run"}

_QUIET = ("quiet", ("quiet", "q"), FLAG, "", "print ids only")
_JSON = ("format", ("format", "f"), TEXT, "FORMAT", "table (default) or json")
_FORMAT = ("format", ("format", "f"), TEXT, "FORMAT", "table (default), json, or text with {{.Key}} in it")
_CHANGES = (
    ("change", ("change", "c"), TEXTS, "INSTRUCTION", "apply 'ENTRYPOINT [\"/app\"]', 'ENV A=b' or the like"),
    ("message", ("message", "m"), TEXT, "TEXT", "comment in the image's history"),
)
_ACCESS = (
    ("creds", ("creds",), TEXT, "USER[:PASSWORD]", "credentials for this call"),
    ("authfile", ("authfile",), TEXT, "FILE", "file of credentials, as podman and skopeo keep it"),
    ("tls_verify", ("tls-verify",), TEXT, "true|false", "whether the registry must be reached by verified HTTPS"),
)
_SILENT = ("quiet", ("quiet", "q"), FLAG, "", "tell nothing of the progress")
_PLATFORM = ("platform", ("platform",), TEXT, "OS/ARCH[/VARIANT]", "image for another machine, such as linux/arm64")

_RUN = (
    ("name", ("name", "id"), TEXT, "NAME", "name of the container (default: made up)"),
    ("rm", ("rm",), FLAG, "", "remove it at its end"),
    ("interactive", ("interactive", "i"), FLAG, "", "pass on standard input"),
    ("tty", ("tty", "t"), FLAG, "", "allocate a terminal"),
    ("env", ("env", "e"), TEXTS, "NAME[=VALUE]", "set or pass an environment variable"),
    ("env_file", ("env-file",), TEXTS, "FILE", "read variables from FILE, one a line"),
    ("cwd", ("workdir", "w", "cwd"), TEXT, "DIR", "working directory in the container"),
    ("user", ("user", "u"), TEXT, "USER[:GROUP]", "user and group of the program"),
    ("entrypoint", ("entrypoint",), TEXT, "PROGRAM", "replace the image's entrypoint"),
    ("label", ("label", "l"), TEXTS, "KEY=VALUE", "annotate the container"),
    ("volume", ("volume", "v"), TEXTS, "[NAME|PATH:]DIR[:ro]", "mount a volume, or show a path of the host"),
    ("mount", ("mount",), TEXTS, "KEY=VALUE,...", "type=bind, volume or tmpfs, source=, target=, readonly"),
    ("tmpfs", ("tmpfs",), TEXTS, "DIR[:OPTIONS]", "mount a tmpfs"),
    ("readonly", ("read-only",), FLAG, "", "make the root read-only"),
    ("memory", ("memory", "m"), TEXT, "SIZE", "memory limit"),
    ("cpus", ("cpus",), TEXT, "N", "CPU time per time, such as 1.5"),
    ("cpushare", ("cpushare", "cpu-shares", "c"), TEXT, "N", "relative weight, 1024 is usual"),
    ("pids_limit", ("pids-limit",), TEXT, "N", "limit of processes (2048)"),
    ("cap_add", ("cap-add",), TEXTS, "CAPABILITY", "add a capability, or ALL"),
    ("cap_drop", ("cap-drop",), TEXTS, "CAPABILITY", "drop a capability, or ALL"),
    ("security_opt", ("security-opt",), TEXTS, "OPTION",
     "no-new-privileges, seccomp=unconfined, apparmor=, label=disable, mask=, unmask="),
    *NETWORK,
    ("link", ("link",), TEXTS, "CONTAINER[:ALIAS]", "find a container of the same network by a further name"),
    ("timeout", ("timeout",), TEXT, "SECONDS", "end it after so long, with exit status 124"),
    ("detach", ("detach", "d"), FLAG, "", "run it in the background, with a monitor, and print its id"),
    ("log_driver", ("log-driver",), TEXT, "NAME", "k8s-file (default), json-file or none"),
    ("log_opt", ("log-opt",), TEXTS, "KEY=VALUE", "path=FILE, max-size=SIZE, max-file=NUMBER"),
    ("restart", ("restart",), TEXT, "POLICY", "no (default), on-failure[:TRIES], always or unless-stopped"),
    ("stop_signal", ("stop-signal",), TEXT, "SIGNAL", "what stop sends first (default: the image's, or TERM)"),
    ("stop_timeout", ("stop-timeout",), TEXT, "SECONDS", "how long after it stop sends KILL (10)"),
    ("health_cmd", ("health-cmd",), TEXT, "COMMAND", "shell command that tells whether it is well; none"),
    ("health_interval", ("health-interval",), TEXT, "DURATION", "time between two looks (30s)"),
    ("health_timeout", ("health-timeout",), TEXT, "DURATION", "longest look (30s)"),
    ("health_retries", ("health-retries",), TEXT, "N", "how many bad looks make it unhealthy (3)"),
    ("health_start_period", ("health-start-period",), TEXT, "DURATION", "time in which bad looks do not count (0s)"),
    ("init", ("init",), FLAG, "", "have an init (tini or catatonit of this machine) reap processes, pass on signals"),
    ("device", ("device",), TEXTS, "HOST[:DIR][:rwm]", "let it use a device of this machine, or a directory of them"),
)

BUILD = (
    ("tag", ("tag", "t"), TEXTS, "NAME", "name of the image; may be repeated"),
    ("file", ("file", "f"), TEXT, "FILE", "the Dockerfile (default: Dockerfile or Containerfile in DIR), or -"),
    ("build_arg", ("build-arg",), TEXTS, "NAME[=VALUE]", "value of an ARG, or one of our variables"),
    ("target", ("target",), TEXT, "STAGE", "build this stage and what it needs"),
    ("network", ("network",), TEXT, "NAME", "of RUN: none (default) or host"),
    ("no_cache", ("no-cache",), FLAG, "", "make every step anew"),
    ("label", ("label",), TEXTS, "KEY=VALUE", "add a label"),
    ("layers", ("from-layers",), FLAG, "", "each tar and directory in DIR is a layer, in the order of names"),
    _CHANGES[0],
    _SILENT,
)
COMMIT = (
    *_CHANGES,
    ("author", ("author", "a"), TEXT, "TEXT", "who made it"),
    ("pause", ("pause", "p"), TEXT, "true|false", "freeze the container meanwhile (true)"),
)
_BUILD_TEXT = "make an image by a Dockerfile and the files of a directory"
_COMMIT_TEXT = "make an image of a container's changes"

COMMANDS = (
    ("image build", "cmd_image_build", (1, 1), True, "<dir>", _BUILD_TEXT, BUILD),
    ("image commit", "cmd_image_commit", (1, 2), True, "<container> [name]", _COMMIT_TEXT, COMMIT),
    ("image run", "cmd_image_run", (1, -1), False, "<image> [command...]", "run a program of an image", _RUN),
    ("image create", "cmd_image_bring", (2, 2), True, "<name> <tar>", "make an image of a root file system's tar", ()),
    ("image import", "cmd_image_bring", (1, 2), True, "<tar> [name]", "as create, with a configuration", _CHANGES),
    (
        "image list", "cmd_image_show", (0, 1), True, "[name]", "list images",
        (
            _QUIET, _FORMAT,
            ("filter", ("filter",), TEXTS, "KEY=VALUE", "reference (a pattern), label, or dangling=true|false"),
            ("no_trunc", ("no-trunc",), FLAG, "", "print whole ids"),
            ("digests", ("digests",), FLAG, "", "add the DIGEST column, of manifests"),
        ),
    ),
    ("image get", "cmd_image_show", (1, -1), True, "<image...>", "print all that is known of images, as JSON",
     (("format", ("format", "f"), TEXT, "FORMAT", "json (default), or text with {{.Key.Key}} in it"),)),
    (
        "image history", "cmd_image_show", (1, 1), True, "<image>", "tell how an image was made, the last step first",
        (_JSON, ("no_trunc", ("no-trunc",), FLAG, "", "print whole commands")),
    ),
    (
        "image load", "cmd_image_archive", (0, 0), True, "", "bring in the images of an archive, OCI's or docker's",
        (("input", ("input", "i"), TEXT, "FILE", "read FILE instead of standard input"), _SILENT, _PLATFORM),
    ),
    (
        "image save", "cmd_image_archive", (1, -1), True, "<image...>", "write images as an archive",
        (
            ("output", ("output", "o"), TEXT, "FILE", "write FILE instead of standard output"),
            ("format", ("format",), TEXT, "FORMAT", "oci-archive (default) or docker-archive"),
        ),
    ),
    (
        "image pull", "cmd_image_registry", (1, 1), True, "<name>", "fetch an image from a registry",
        (*_ACCESS, _SILENT, _PLATFORM),
    ),
    (
        "image push", "cmd_image_registry", (1, 2), True, "<image> [name]", "send an image to a registry",
        (*_ACCESS, _SILENT),
    ),
    (
        "image login", "cmd_image_registry", (1, 1), True, "<registry>", "keep credentials for a registry",
        (
            ("username", ("username", "u"), TEXT, "NAME", "user name"),
            ("password_stdin", ("password-stdin",), FLAG, "", "read the password from standard input"),
            *_ACCESS[1:],
        ),
    ),
    ("image logout", "cmd_image_registry", (1, 1), True, "<registry>", "forget credentials", _ACCESS[1:]),
    ("image mount", "cmd_image_mount", (0, 1), True, "[image]", "mount an image read-only, or list those mounted", ()),
    ("image umount", "cmd_image_mount", (1, -1), True, "<image...>", "undo mount", ()),
    (
        "image diff", "cmd_image_mount", (1, 1), True, "<image>", "tell what the top layer adds, changes, deletes",
        (_JSON,),
    ),
    ("image tag", "cmd_image_change", (2, 2), True, "<image> <name>", "give an image a further name", ()),
    (
        "image delete", "cmd_image_change", (1, -1), True, "<image...>", "remove names, and images with their last one",
        (("force", ("force", "f"), FLAG, "", "also where it has several names or is in use; fine when there is none"),),
    ),
    (
        "image destroyc", "cmd_life", (1, -1), True, "<container...>", "remove containers, as `rm` does (original)",
        (
            ("force", ("force", "f"), FLAG, "", "kill them first; fine when there is none"),
            ("volumes", ("volumes", "v"), FLAG, "", "with their volumes without a name"),
        ),
    ),
    (
        "image prune", "cmd_image_change", (0, 0), True, "", "remove images without a name that nobody uses",
        (("all", ("all", "a"), FLAG, "", "also those that have names"),
         ("force", ("force", "f"), FLAG, "", "accepted; nothing is asked")),
    ),
)
