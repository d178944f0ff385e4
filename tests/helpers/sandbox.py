"""Run `capsule sandbox` as its users do: in a directory of theirs."""

from __future__ import annotations

from pathlib import Path

from .runtime import Result, Runtime


class Sandbox:
    """A project directory, and sandboxes started in it."""

    def __init__(self, runtime: Runtime, project: Path) -> None:
        self.runtime, self.project = runtime, project
        project.mkdir(parents=True, exist_ok=True)

    def __call__(self, *command: str | Path, flags: tuple[str | Path, ...] = (), **how: object) -> Result:
        """Run a command; how is that of Runtime.call."""
        how.setdefault("cwd", self.project)
        return self.runtime.call("sandbox", *flags, "--", *command, **how)  # type: ignore[arg-type]

    def sh(self, script: str, *flags: str | Path, **how: object) -> Result:
        """Run a shell script."""
        return self("/bin/sh", "-c", script, flags=flags, **how)

    def kept(self) -> list[str]:
        """Return the ids of kept changes."""
        return self.runtime.call("sandbox", "kept").lines

    def apply(self, **how: object) -> Result:
        """Apply the only kept changes."""
        (id,) = self.kept()
        return self.runtime.call("sandbox", "apply", id, **how)  # type: ignore[arg-type]
