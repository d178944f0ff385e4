"""image list, get, history: what the store has."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable

from capsule.cli import filters, output, tables, templates, times
from capsule.cli.paths import storage_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError
from capsule.image import names, views
from capsule.image.store import Store

_SHORT = 12
_TIME = 35  # the longest of RFC 3339 with nanoseconds
_UNSAID = ("localhost/", "docker.io/library/", "docker.io/")


def run(invocation: Invocation) -> int:
    """Print what was asked for. Raises CapsuleError."""
    store = Store(storage_root(invocation))
    {"image list": _list, "image get": _get, "image history": _history}[invocation.command](store, invocation)
    return 0


def _list(store: Store, invocation: Invocation) -> None:
    options = invocation.options
    rows = views.rows(store)
    if invocation.positionals:
        wanted = names.spellings(names.parse(invocation.positionals[0]))
        tagged = ":" in invocation.positionals[0].rpartition("/")[2]
        rows = [row for row in rows if row["name"] in wanted
                or not tagged and row["name"].rpartition(":")[0] in [word.rpartition(":")[0] for word in wanted]]
    rows = filters.choose("image list", options["filter"], _FILTERS, rows)
    kind = templates.kind("image list", options["format"])
    if kind == "json":
        output.print_json([{key: value for key, value in row.items() if key != "labels"} for row in rows], pretty=True)
        return
    short = (lambda digest: digest) if options["no_trunc"] else (lambda digest: digest.partition(":")[2][:_SHORT])
    if options["quiet"]:
        output.print_out("".join(f"{id}\n" for id in dict.fromkeys(short(row["id"]) for row in rows)))
        return
    if kind == "template":
        output.print_out(templates.lines("image list", options["format"], [_words(row, short) for row in rows]))
        return
    head = ["ID", "LAYER_ID", "CREATED", "SIZE", "NAME"] + ["DIGEST"] * options["digests"]
    cells = [[short(row["id"]), short(row["layer_id"]), row["created"][:_TIME], views.size_text(row["size"]),
              row["name"] or "<none>", *[row["digest"]] * options["digests"]] for row in rows]
    output.print_out(tables.layout([head, *cells]))


def _words(row: dict, short: Callable[[str], str]) -> dict:
    """Return what `{{.Key}}` can name: Docker's and podman's keys."""
    repository, _, tag = row["name"].rpartition(":")
    created = times.parse(row["created"])
    since = f"{times.span(time.time_ns() - created)} ago" if created is not None else ""
    return {"ID": short(row["id"]), "Name": row["name"], "Repository": repository or "<none>", "Tag": tag or "<none>",
            "Digest": row["digest"], "Size": views.size_text(row["size"]), "CreatedAt": row["created"],
            "CreatedSince": since, "LayerID": short(row["layer_id"]), "Labels": row["labels"]}


def _is_like(row: dict, pattern: str) -> bool:
    """Tell whether a name fits a pattern of the shell, with or without its tag and what need not be said."""
    words = [row["name"], *[row["name"].removeprefix(prefix) for prefix in _UNSAID if row["name"].startswith(prefix)]]
    return any(fnmatch.fnmatchcase(part, pattern) for word in words for part in (word, word.rpartition(":")[0]))


_FILTERS: dict[str, filters.Match] = {
    "reference": _is_like, "label": lambda row, text: filters.has_label(row["labels"], text),
    "dangling": lambda row, text: (not row["name"]) == (text == "true"),
}


def _get(store: Store, invocation: Invocation) -> None:
    documents = [views.details(store, store.find(ref)) for ref in invocation.positionals]
    output.print_out(templates.documents("image inspect", invocation.options["format"], documents))


def _history(store: Store, invocation: Invocation) -> None:
    options = invocation.options
    steps = views.history(store.find(invocation.positionals[0]))
    if _format(options["format"]) == "json":
        output.print_json(steps, pretty=True)
        return
    cut = 10**6 if options["no_trunc"] else 60
    rows = [[step["created"][:_TIME], step["created_by"][:cut].replace("\n", " ").replace("\t", " ") or "-",
             views.size_text(step["size"]), step["comment"][:cut]] for step in steps]
    output.print_out(tables.layout([["CREATED", "CREATED BY", "SIZE", "COMMENT"], *rows]))


def _format(word: str) -> str:
    if word not in ("", "table", "json"):
        raise CapsuleError("print as", repr(word), "table and json are the formats")
    return word or "table"
