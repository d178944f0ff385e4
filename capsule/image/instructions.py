"""Instructions that change an image's configuration, as a Dockerfile and `import --change` have them."""

from __future__ import annotations

import json
import shlex

from capsule.errors import ImageError

WORDS = ("ENV", "LABEL", "WORKDIR", "USER", "ENTRYPOINT", "CMD", "EXPOSE", "VOLUME", "STOPSIGNAL")
SHELL = ["/bin/sh", "-c"]


def apply_change(config: dict, text: str) -> None:
    """Change a configuration by one instruction.

    Raises ImageError.
    """
    word, _, rest = text.strip().partition(" ")
    word, rest = word.upper(), rest.strip()
    if word not in WORDS:
        raise ImageError("apply", repr(text), f"the instructions are {', '.join(WORDS)}")
    if not rest:
        raise ImageError("apply", repr(text), "it lacks its argument")
    _APPLY[word](config.setdefault("config", {}), rest, text)


def command(rest: str, text: str) -> list[str]:
    """Read a command: a JSON list of words, or a line for the shell. Raises ImageError."""
    if not rest.startswith("["):
        return [*SHELL, rest]
    return json_words(rest, text)


def json_words(rest: str, text: str) -> list[str]:
    """Read a JSON list of words. Raises ImageError."""
    try:
        words = json.loads(rest)
    except ValueError as err:
        raise ImageError("apply", repr(text), f"not a JSON list: {err}") from err
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ImageError("apply", repr(text), "not a JSON list of words")
    return words


def pairs(rest: str, text: str) -> list[tuple[str, str]]:
    """Read NAME=VALUE words with quotes, or the old form NAME VALUE. Raises ImageError."""
    try:
        words = shlex.split(rest)
    except ValueError as err:
        raise ImageError("apply", repr(text), str(err).lower()) from err
    if words and "=" not in words[0]:
        name, _, value = rest.partition(" ")
        words = [f"{name}={value.strip()}"]
        if not value:
            raise ImageError("apply", repr(text), "it wants NAME=VALUE")
    found = [(name, value) for name, _, value in (word.partition("=") for word in words)]
    if any("=" not in word for word in words) or any(not name for name, _ in found):
        raise ImageError("apply", repr(text), "it wants NAME=VALUE")
    return found


def set_env(config: dict, name: str, value: str) -> None:
    """Set a variable of the image's environment, in its old place if it has one."""
    env = config.setdefault("Env", [])
    for index, entry in enumerate(env):
        if entry.partition("=")[0] == name:
            env[index] = f"{name}={value}"
            return
    env.append(f"{name}={value}")


def _env(config: dict, rest: str, text: str) -> None:
    for name, value in pairs(rest, text):
        set_env(config, name, value)


def _label(config: dict, rest: str, text: str) -> None:
    config.setdefault("Labels", {}).update(pairs(rest, text))


def _workdir(config: dict, rest: str, text: str) -> None:
    base = "" if rest.startswith("/") else config.get("WorkingDir") or "/"
    parts: list[str] = []
    for part in f"{base}/{rest}".split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    config["WorkingDir"] = "/" + "/".join(parts)


def _user(config: dict, rest: str, text: str) -> None:
    config["User"] = rest


def _entrypoint(config: dict, rest: str, text: str) -> None:
    config["Entrypoint"] = command(rest, text)


def _cmd(config: dict, rest: str, text: str) -> None:
    config["Cmd"] = command(rest, text)


def _expose(config: dict, rest: str, text: str) -> None:
    for word in rest.split():
        port, _, protocol = word.partition("/")
        first, _, last = port.partition("-")
        if not all(item.isascii() and item.isdigit() and 0 < int(item) < 65536 for item in (first, last or first)):
            raise ImageError("apply", repr(text), "a port is NUMBER[-NUMBER][/PROTOCOL]")
        if protocol not in ("", "tcp", "udp", "sctp"):
            raise ImageError("apply", repr(text), "the protocols are tcp, udp, sctp")
        for number in range(int(first), int(last or first) + 1):
            config.setdefault("ExposedPorts", {})[f"{number}/{protocol or 'tcp'}"] = {}


def _volume(config: dict, rest: str, text: str) -> None:
    for path in json_words(rest, text) if rest.startswith("[") else rest.split():
        config.setdefault("Volumes", {})[path] = {}


def _stop_signal(config: dict, rest: str, text: str) -> None:
    config["StopSignal"] = rest


_APPLY = {"ENV": _env, "LABEL": _label, "WORKDIR": _workdir, "USER": _user, "ENTRYPOINT": _entrypoint, "CMD": _cmd,
          "EXPOSE": _expose, "VOLUME": _volume, "STOPSIGNAL": _stop_signal}
