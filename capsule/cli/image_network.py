"""The network of `image run`: what create and run take as `network`, with links and the names of engine containers.

Loaded where an option of it is used.
"""

from __future__ import annotations

import posix

from capsule.bundle.containers import Containers
from capsule.cli import network_options
from capsule.cli.paths import containers_root, runtime_root
from capsule.cli.scanner import Invocation
from capsule.errors import NetworkError, NotFound
from capsule.linux import namespaces
from capsule.network import attachment, names
from capsule.network.store import Networks


def read(invocation: Invocation, name: str) -> dict | None:
    """Return what runtime.networking takes, as JSON values; None where the container has no network of ours.

    `name` is what the others in its networks find it by. Raises CapsuleError for what cannot be meant.
    """
    options = invocation.options
    texts = [_with_id(invocation, text) for text in options["network"]]
    if not texts and (options["publish"] or options["publish_all"] or options["link"]):
        texts = [_default(options["link"])]
    found = network_options.read({**options, "network": texts})
    wanted = found["networks"]
    requests = wanted.requests if wanted is not None else []
    publishes = bool(requests) or wanted is not None and wanted.kind in attachment.USER_MODE
    if (found["ports"] or found["publish_all"]) and not publishes:
        raise NetworkError("publish ports", "", f"not with --network {texts[0]}, which joins no network")
    links = [_link(invocation, text, requests) for text in options["link"]]
    for request in requests:
        if names.is_name(name) and name not in request["aliases"]:
            request["aliases"].append(name)
        request["links"] = links
    if wanted is not None and wanted.kind in ("none", "host"):
        wanted = None  # the configuration says it already
    if wanted is None and not (found["add_hosts"] or found["dns"]):
        return None
    return {**found, "networks": attachment.to_dict(wanted)}


def _default(links: list[str]) -> str:
    """Return the network of a container that is to be reached and names none: an ordinary user's is not a bridge."""
    if links or posix.geteuid() == 0 and namespaces.is_initial_user():
        return attachment.DEFAULT_NETWORK
    from capsule.network import user_mode

    return user_mode.installed() or attachment.DEFAULT_NETWORK


def _with_id(invocation: Invocation, text: str) -> str:
    """Return a value of --network; the container of container:NAME by its id."""
    kind, _, word = text.partition(":")
    if kind != "container":
        return text
    try:
        return f"container:{Containers(containers_root(invocation)).find(word)}"
    except NotFound:
        return text  # a container of the runtime's, or the runtime says that there is none


def _link(invocation: Invocation, text: str, requests: list[dict]) -> list[str]:
    """Return [name of the container in the network, its alias for us] of --link (original). Raises NetworkError."""
    word, alias = names.parse_link(text)
    id = word
    try:
        containers = Containers(containers_root(invocation))
        id = containers.find(word)
        word = containers.load(id).name
    except NotFound:
        pass  # a container of the runtime's
    joined = [endpoint["network"] for endpoint in Networks(runtime_root(invocation)).endpoints()
              if endpoint["container"] == id]
    if not joined:
        raise NetworkError("link to container", word, "there is none of that name that runs in a network")
    if not any([request["network"] in joined for request in requests]):
        raise NetworkError("link to container", word, f"no network in common; --network {joined[0]} joins one of its")
    return [word, alias]
