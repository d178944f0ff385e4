"""What a shell is offered: commands with their aliases, words of the sandbox, and the names there are."""

import json

import pytest

from capsule.cli import front, grammar, nouns
from capsule.image import lookup


@pytest.fixture
def offered(capsys, monkeypatch):
    """Return what is offered for the last of the words."""
    def ask(*words):
        monkeypatch.setenv("COMP_WORDS", " ".join(["capsule", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        monkeypatch.setenv(front.COMPLETION_VARIABLE, "bash_complete")
        with pytest.raises(SystemExit) as end:
            front.main(["capsule"])
        assert end.value.code == 0
        return [line.partition(",")[2] for line in capsys.readouterr().out.split()]

    return ask


def test_aliases_are_offered(offered):
    assert {"list", "ls", "load"} <= set(offered("image", "l"))
    assert "runc" in offered("image", "ru")


@pytest.mark.parametrize("noun", nouns.NOUNS)
def test_every_command_of_a_noun_is_offered(noun, offered):
    assert set(offered(noun, "")) == set(nouns.names(noun))


def test_words_of_the_sandbox_and_kept_sandboxes_are_offered(offered, tmp_path):
    (tmp_path / ".sandbox" / "sandbox-0123").mkdir(parents=True)
    assert offered("sandbox", "") == ["apply", "discard", "kept"]
    assert offered("--root", str(tmp_path), "sandbox", "apply", "s") == ["sandbox-0123"]
    assert offered("--root", str(tmp_path), "sandbox", "make", "s") == []


def test_containers_are_offered_once_each(offered, tmp_path):
    for name in ("web", "webbed", ".storage"):
        (tmp_path / name).mkdir()
    assert offered("--root", str(tmp_path), "state", "") == ["web", "webbed"]
    assert offered("--root", str(tmp_path), "exec", "web") == ["web", "webbed"]
    assert offered("--root", str(tmp_path / "none"), "state", "") == []


def test_images_are_offered(offered, tmp_path):
    store = tmp_path / ".storage"
    store.mkdir()
    digest = "sha256:" + "0" * 64
    row = {"digest": digest, "size": 1, "mediaType": "application/json",
           "annotations": {lookup.REF_NAME: "localhost/box:latest", lookup.IMAGE_ID: digest}}
    (store / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [row]}))
    for words in (("image", "get"), ("image", "run")):
        assert offered("--root", str(tmp_path), *words, "lo") == ["localhost/box:latest"]
    assert offered("--root", str(tmp_path), "image", "create", "lo") == []


def test_a_line_that_is_not_whole_is_no_error(offered):
    assert offered("run", "--bundle", "") == []
    assert offered("run", "--nosuch", "x") == []


@pytest.mark.parametrize("command", ["man", "help"])
def test_pages_are_offered(command, offered):
    assert set(offered(command, "")) >= {"image", "sandbox", "run", *[each[0] for each in grammar.COMMANDS]}
    assert "_serve" not in offered(command, "") and "_sandbox" not in offered(command, "_")
