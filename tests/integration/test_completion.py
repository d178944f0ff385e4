"""Completion in the shells themselves, at a terminal; and man pages as man(1) renders them."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import process
from helpers.requires import ROOT, requires
from helpers.terminal import Master

from capsule.cli import front, grammar, nouns
from capsule.image import lookup

pytestmark = requires("root", "runtime")
PROMPT = "READY> "
#: How each is started without anybody's settings, and what makes it ready. What is typed is echoed, so that it does not
#: hold the prompt in one word.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"],
             "bind 'set show-all-if-ambiguous on'; source <(capsule completion bash); PS1='REA''DY> '\n"),
    "zsh": (["zsh", "-f", "-i"],
            "bindkey -e; unsetopt prompt_cr prompt_sp; autoload -Uz compinit; compinit -u -D; "
            "source <(capsule completion zsh); PS1='REA''DY> '\n"),
    "fish": (["fish", "--no-config", "-i", "-C",
              "function fish_prompt; echo -n 'READY> '; end; capsule completion fish | source"], ""),
}
BUILT = [pytest.param(name, marks=requires(name)) for name in SHELLS]


class Shell(Master):
    """An interactive shell with the completion of this tree's program."""

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        argv, setup = SHELLS[name]
        self.pid, fd = pty.fork()
        if self.pid == 0:
            os.chdir(home)
            os.execvpe(argv[0], argv, {"PATH": f"{ROOT / 'build'}:{os.environ['PATH']}", "HOME": str(home),
                                       "TERM": "dumb", "LANG": "C.UTF-8", "XDG_CONFIG_HOME": str(home)})
        super().__init__(fd)
        self.resize(50, 200)
        self.type(setup)
        self.read_until(PROMPT)

    def complete(self, text: str) -> str:
        """Return what a line is after the key; ctrl-a makes an echo of it."""
        self.type(f"{text}\t\x01echo 'GO'T: \x05 END\n")
        self.read_until("\nGOT: ")
        return self.read_until("END").decode().removesuffix("END").strip()

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.close()


@pytest.fixture
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    found = Shell(request.param, tmp_path)
    yield found
    found.end()
    process.reap_orphans()


@pytest.fixture
def state(tmp_path: Path) -> str:
    """Make a state root with a container and an image, as far as names go."""
    (tmp_path / "s" / "webshop").mkdir(parents=True)
    store = tmp_path / "s" / ".storage"
    store.mkdir()
    digest = "sha256:" + "0" * 64
    row = {"digest": digest, "size": 1, "mediaType": "application/json",
           "annotations": {lookup.REF_NAME: "box:latest", lookup.IMAGE_ID: digest}}
    (store / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [row]}))
    return "capsule --root s"


@pytest.mark.parametrize("shell", BUILT, indirect=True)
def test_words_are_completed_by_the_key(shell: Shell, state: str) -> None:
    for typed, whole in {
        "capsule im": "capsule image", "capsule image his": "capsule image history",
        "capsule image run --health-c": "capsule image run --health-cmd",
        f"{state} state webs": f"{state} state webshop",
        f"{state} image run bo": f"{state} image run box:latest",
        f"{state} image run box:la": f"{state} image run box:latest",
    }.items():
        assert shell.complete(typed) == whole
    # Of several that fit each is shown; fish draws them where a dumb terminal cannot have them.
    shell.type("complete -C 'capsule image r'\n" if shell.name == "fish" else "capsule image r\t")
    shell.read_until("runc")


def commands() -> list[str]:
    """Name what has a page: commands, nouns, and the commands of nouns."""
    found = [command[0] for command in grammar.COMMANDS] + list(nouns.NOUNS)
    for part in (*nouns.ENGINE, *nouns.NOUNS):
        found += [command[0] for command in nouns.table(part).COMMANDS]
    return found


@requires("man")
def test_man_renders_every_page_without_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pages = []
    for name in ["", *commands()]:
        path = tmp_path / f"capsule{'-' if name else ''}{name.replace(' ', '-')}.8"
        assert not front.main(["capsule", "man", *name.split()])
        path.write_text(capsys.readouterr().out)
        pages.append(path)
    done = subprocess.run(["man", "--warnings", "--local-file", *pages], capture_output=True, text=True, check=False,
                          env={**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8", "PAGER": "cat"}, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\nSYNOPSIS\n") == len(pages)
