"""Each config of the corpus, given to the runtime: its line, exit status 1, and the host as it was."""

from __future__ import annotations

import pytest
from helpers.broken import CASES, TEXTS
from helpers.config import encoded
from helpers.requires import requires
from helpers.runtime import one_line

pytestmark = [requires("root", "runtime", "busybox", "gcc"),
              pytest.mark.rival(runc="other words, and some is accepted", crun="other words, and some is accepted",
                                strict=False)]

DOCUMENTS = [(encoded(*edits), path, cause) for edits, path, cause in CASES] + TEXTS


@pytest.mark.parametrize("part", range(20))
def test_a_broken_config_changes_nothing(capsule, bundle, leaks, part):
    box = bundle()
    for text, path, cause in DOCUMENTS[part::20]:
        box.text = text
        line = one_line(capsule.create(box, rc=1)).replace('\\"', '"')
        assert (f"config.json {path}: {cause}" if path else f"config.json: {cause}") in line
        assert capsule.ids() == []
    leaks.check(0.5)
