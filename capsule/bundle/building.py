"""A Dockerfile and a context → an image (docs/build-images.md).

Every step that can change files is a layer: made once for what decides it, then taken from the cache. Steps that
change the configuration alone are done anew each time; their time is that of the step before, so that a build that
finds everything made makes the very same image.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable

from capsule._ext import proc
from capsule.bundle import build_copy, build_words
from capsule.bundle.build_run import NETWORKS, Runner
from capsule.bundle.build_tree import Context, Copier, Tree
from capsule.errors import ImageError, Unsupported
from capsule.image import cache, dockerfile, healthcheck, instructions, names, words
from capsule.image.adopt import Builder, compose
from capsule.image.dockerfile import Dockerfile, Instruction
from capsule.image.importing import new_config, now
from capsule.image.layertar import Stream
from capsule.image.layout import Staging
from capsule.image.lookup import Image
from capsule.image.progress import Progress
from capsule.image.store import Store

#: Arguments that need no ARG, and that are no part of an image.
PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY",
           "NO_PROXY", "ALL_PROXY")


class Wish:
    """What a build is asked for."""

    def __init__(self, context: str, names: list[str]) -> None:
        self.context = context
        self.names = names
        self.arguments: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.target = ""
        self.network = "none"
        self.use_cache = True
        self.runtime_root = ""


class Stage:
    """An image in the making."""

    def __init__(self, builder: Builder, config: dict) -> None:
        self.builder = builder
        self.config = config
        self.arguments: dict[str, str] = {}
        self.has_command = False  # CMD of this file's own: ENTRYPOINT leaves it

    @property
    def values(self) -> dict[str, str]:
        """Variables for the words of instructions: of the image, before arguments."""
        env = dict(entry.partition("=")[::2] for entry in self.inner.get("Env") or [])
        return {**self.arguments, **env}

    @property
    def inner(self) -> dict:
        return self.config.setdefault("config", {})

    @property
    def chain(self) -> str:
        """The layers so far, in a word."""
        return self.builder.layers[-1]["chain"] if self.builder.layers else ""


class Build:
    """One build, in a staging area of its own."""

    def __init__(self, store: Store, staging: Staging, wish: Wish, file: Dockerfile, context: Context,
                 progress: Progress) -> None:
        self.store, self.staging, self.wish, self.file, self.context = store, staging, wish, file, context
        self.progress = progress
        self.runner = Runner(staging, wish.runtime_root, wish.network, quiet=progress.quiet)
        self.stages: list[Stage | None] = []
        self.globals: dict[str, str] = {}
        self.used: set[str] = set()  # arguments of the call that some ARG has named
        self._trees = 0

    def run(self) -> Image:
        """Build the target and publish it. Raises ImageError, Unsupported."""
        for argument in self.file.arguments:
            self._argument(argument, self.globals, {})
        target = self._target()
        wanted = self._wanted(target)
        for index in range(target + 1):
            self.stages.append(self._build_stage(index) if index in wanted else None)
        stage = self.stages[target]
        assert stage is not None
        unknown = sorted(set(self.wish.arguments) - self.used - set(PROXIES))
        if unknown:
            self.progress.line(f"no ARG names the build argument {', '.join(unknown)}")
        if self.wish.labels:
            stage.inner.setdefault("Labels", {}).update(self.wish.labels)
        try:
            made = compose(stage.builder, stage.config)
        except OSError as err:
            raise ImageError("write", self.staging.path, errno=err.errno) from err
        image = self.store.publish(self.staging, made, self.wish.names[0] if self.wish.names else "")
        for name in self.wish.names[1:]:
            self.store.tag(image.id, name)
        return image

    def _target(self) -> int:
        if not self.wish.target:
            return len(self.file.stages) - 1
        found = self._stage_named(self.wish.target, len(self.file.stages))
        if found < 0:
            raise ImageError("build", f"--target {self.wish.target}", "no stage has that name or number")
        return found

    def _stage_named(self, word: str, before: int) -> int:
        """Return the index of an earlier stage by its name or number, -1 if there is none."""
        for index in range(before - 1, -1, -1):
            if self.file.stages[index].name == word.lower() or word == str(index):
                return index
        return -1

    def _wanted(self, target: int) -> set[int]:
        """List the stages that the target is made of."""
        found: set[int] = set()
        pending = [target]
        while pending:
            index = pending.pop()
            if index in found or index < 0:
                continue
            found.add(index)
            stage = self.file.stages[index]
            base = words.expand(stage.base, self.globals, self.file.escape)
            pending.append(self._stage_named(base, index) if not base.isdigit() else -1)
            pending += [self._stage_named(one.flags["from"], index)
                        for one in stage.instructions if "from" in one.flags]
        return found

    def _build_stage(self, index: int) -> Stage:
        parsed = self.file.stages[index]
        stage = self._begin(index)
        todo = [*self._triggers(stage, parsed.line), *parsed.instructions]
        total = len(todo)
        for number, instruction in enumerate(todo, 1):
            self.progress.line(f"step {number}/{total}: {instruction}"[:200])
            try:
                self._perform(stage, index, instruction)
            except (ImageError, Unsupported) as err:
                cause = f"{err.subject}: {err.cause}" if err.subject else err.cause
                raise type(err)(f"build line {instruction.line}", instruction.word, cause, errno=err.errno) from err
            except OSError as err:
                where = f" ({err.filename})" if err.filename else ""
                raise ImageError(f"build line {instruction.line}", instruction.word,
                                 f"{os.strerror(err.errno or 0).lower()}{where}", errno=err.errno) from err
        return stage

    def _begin(self, index: int) -> Stage:
        parsed = self.file.stages[index]
        base = words.expand(parsed.base, self.globals, self.file.escape)
        builder = Builder(self.store.root, self.staging)
        earlier = self._stage_named(base, index) if not base.isdigit() else -1
        self.progress.line(f"from {base}" + (f" as {parsed.name}" if parsed.name else ""))
        if earlier >= 0:
            other = self.stages[earlier]
            assert other is not None
            builder.reuse(other.builder.layers)
            stage = Stage(builder, copy.deepcopy(other.config))
        elif base == "scratch":
            stage = Stage(builder, {**new_config(), "created": "1970-01-01T00:00:00Z"})
        elif base == names.HOST:
            raise Unsupported(f"build line {parsed.line}", "FROM host",
                              "this machine's own root is never part of an image: its secrets would be")
        else:
            found = self._image(base, parsed.line)
            builder.reuse(found.record["layers"])
            stage = Stage(builder, copy.deepcopy(found.config))
        stage.config.setdefault("history", [])
        stage.config.setdefault("created", now())
        return stage

    def _triggers(self, stage: Stage, line: int) -> list[Instruction]:
        """Return what the base image wants done first, by ONBUILD; what is made of it wants it no more."""
        found = stage.inner.pop("OnBuild", None) or []
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
            raise ImageError(f"build line {line}", "FROM", "the image's OnBuild is no list of instructions")
        return [dockerfile.trigger(line, text) for text in found]

    def _image(self, name: str, line: int) -> Image:
        try:
            return self.store.find(name)
        except ImageError as err:
            raise ImageError(f"build line {line}", f"FROM {name}",
                             f"{err.cause}; `capsule image pull` fetches one") from err

    def _perform(self, stage: Stage, index: int, one: Instruction) -> None:
        if one.word == "ARG":
            self._argument(one, stage.arguments, stage.values)
        elif one.word == "RUN":
            self._run(stage, one)
        elif one.word in ("COPY", "ADD"):
            self._copy(stage, index, one)
        else:
            self._configure(stage, one)
            if one.word == "WORKDIR":
                self._make_workdir(stage, one)
            else:
                _history(stage, str(one))

    def _argument(self, one: Instruction, into: dict[str, str], values: dict[str, str]) -> None:
        for word in words.split(one.rest, {**self.globals, **values, **into}, self.file.escape):
            name, has_default, default = word.partition("=")
            if not name.isidentifier():
                raise ImageError(f"build line {one.line}", "ARG", f"{name!r} is no name of a variable")
            self.used.add(name)
            if name in self.wish.arguments:
                into[name] = self.wish.arguments[name]
            elif has_default:
                into[name] = default
            elif name in self.globals:
                into[name] = self.globals[name]

    def _configure(self, stage: Stage, one: Instruction) -> None:
        """Do what changes the configuration alone."""
        inner, values, escape = stage.inner, stage.values, self.file.escape
        if one.word in ("ENV", "LABEL"):
            for name, value in build_words.pairs(one.rest, values, escape):
                if one.word == "ENV":
                    instructions.set_env(inner, name, value)
                else:
                    inner.setdefault("Labels", {})[name] = value
        elif one.word == "SHELL":
            inner["Shell"] = instructions.json_words(one.rest, str(one))
        elif one.word == "HEALTHCHECK":
            inner["Healthcheck"] = healthcheck.parse(one.flags, one.rest)
        elif one.word == "ONBUILD":
            inner.setdefault("OnBuild", []).append(one.rest)
        elif one.word == "MAINTAINER":
            stage.config["author"] = one.rest
        elif one.word in ("CMD", "ENTRYPOINT"):
            inner["Cmd" if one.word == "CMD" else "Entrypoint"] = build_words.command(one.rest, inner)
            if one.word == "CMD":
                stage.has_command = True
            elif not stage.has_command:
                inner.pop("Cmd", None)  # the base image's was meant for its own entrypoint
        else:
            is_list = one.word == "VOLUME" and one.rest.startswith("[")
            rest = one.rest if is_list else words.expand(one.rest, values, escape)
            instructions.apply_change(stage.config, f"{one.word} {rest}")

    # -- steps that make layers ------------------------------------------------------------------------------

    def _layer(self, stage: Stage, text: str, key: str, make: Callable[[Tree], str | None]) -> None:
        """Take a step's layer from the cache, or make it; `make` may return another key by which it is kept."""
        known = cache.find(self.store.root, key) if self.wish.use_cache else None
        if known is not None:
            self.progress.line("  as before")
            if known["layer"] is not None:
                stage.builder.layers.append(known["layer"])
            _history(stage, text, known["created"], empty=known["layer"] is None)
            return
        tree = Tree(self._place(), stage.builder.directories())
        key = make(tree) or key
        proc.stop_point("engine-step-made")
        layer = None
        if tree.is_changed:
            fd = os.open(tree.upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                with Stream(fd, root=tree.root_changed) as source:
                    layer = stage.builder.add(source)
            finally:
                os.close(fd)
        created = now()
        proc.stop_point("engine-step-packed")
        cache.keep(self.staging, key, layer, created)
        proc.stop_point("engine-step-kept")
        _history(stage, text, created, empty=layer is None)

    def _run(self, stage: Stage, one: Instruction) -> None:
        given = {name: value for name, value in self.wish.arguments.items() if name in PROXIES}
        inner = stage.inner
        args = build_words.command(one.rest, inner)
        env = [f"{name}={value}" for name, value in stage.arguments.items()]
        key = cache.key_of("RUN", stage.chain, args, env, inner.get("Env"), inner.get("User"), inner.get("WorkingDir"),
                           self.wish.network)
        env += [f"{name}={value}" for name, value in given.items()]
        text = f"RUN {' '.join([*(f'{name}={value}' for name, value in stage.arguments.items()), *args])}"
        self._layer(stage, text, key, lambda tree: self.runner.run(tree, inner, args, env))

    def _make_workdir(self, stage: Stage, one: Instruction) -> None:
        path = stage.inner["WorkingDir"]

        def make(tree: Tree) -> None:
            root_fd = tree.open()
            try:
                Copier(root_fd, (0, 0)).directory(path)
            finally:
                os.close(root_fd)

        self._layer(stage, str(one), cache.key_of("WORKDIR", stage.chain, path), make)

    def _copy(self, stage: Stage, index: int, one: Instruction) -> None:
        sources, target = build_copy.sources(one, stage.values, self.file.escape)
        source_image, context = self._context_of(stage, index, one)
        try:
            paths = [path for source in sources for path in context.find(source)]
            told = source_image or [context.digest(path) for path in paths]
            mode = build_words.mode(one.flags.get("chmod", ""))
            owner = words.expand(one.flags.get("chown", ""), stage.values, self.file.escape)
            is_directory = target.endswith("/") or len(paths) > 1
            target = build_words.absolute(target, stage.inner.get("WorkingDir") or "/")

            def key_of(contents: str | list[str]) -> str:
                return cache.key_of(one.word, stage.chain, contents, paths, target, is_directory, mode, owner)

            def make(tree: Tree) -> str:
                root_fd = tree.open()
                try:
                    copier = Copier(root_fd, build_words.owner(root_fd, owner), mode)
                    copied = build_copy.copy(context, paths, copier, target, is_directory=is_directory,
                                             unpack_in=self._place if one.word == "ADD" else None)
                finally:
                    os.close(root_fd)
                # They may have changed since we looked: the layer is kept as what it was made of.
                return key_of(source_image or copied)

            self._layer(stage, str(one), key_of(told), make)
        finally:
            if context is not self.context:
                os.close(context.root_fd)

    def _place(self) -> str:
        """Return a path in the staging area that nothing has."""
        self._trees += 1
        return f"{self.staging.path}/step-{self._trees}"

    def _context_of(self, stage: Stage, index: int, one: Instruction) -> tuple[str, Context]:
        """Return ("" or what tells an image's content, the context) of a COPY."""
        if "from" not in one.flags:
            return "", self.context
        word = one.flags["from"]
        earlier = self._stage_named(word, index)
        other = self.stages[earlier] if earlier >= 0 else None
        if other is not None:
            chain, directories = other.chain, other.builder.directories()
        else:
            if word == names.HOST:
                raise Unsupported("copy", "--from=host", "this machine's own files are never part of an image")
            found = self._image(word, one.line)
            chain, directories = found.record["layers"][-1]["chain"] if found.layers else "", found.layers
        tree = Tree(self._place(), directories)
        return f"image {chain}", Context(tree.look())


def _history(stage: Stage, text: str, created: str = "", *, empty: bool = True) -> None:
    if created:
        stage.config["created"] = max(created, stage.config["created"])
    entry = {"created": created or stage.config["created"], "created_by": text}
    stage.config["history"].append({**entry, "empty_layer": True} if empty else entry)


def check(wish: Wish) -> None:
    """Refuse what cannot be meant, before anything is made. Raises ImageError, Unsupported."""
    for name in wish.names:
        names.parse(name)
    if wish.network not in NETWORKS:
        raise Unsupported("build", f"--network {wish.network}", f"is not built; {' and '.join(NETWORKS)} are")

