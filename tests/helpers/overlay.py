"""Run a bundle on an overlay root through the library's verbs: PROGRAM ROOT ID BUNDLE OVERLAY(JSON) [SECCOMP]."""

import sys

sys.path.insert(0, __file__.rpartition("/tests/")[0])


def main() -> int:
    from capsule import verbs
    from capsule._ext import json
    from capsule.cli import output
    from capsule.errors import CapsuleError

    root, id, bundle, overlay = sys.argv[1:5]
    try:
        return verbs.run(root, id, bundle=bundle, overlay=json.loads(overlay.encode()))
    except CapsuleError as err:
        output.open_log("", "", False)
        output.report(err)
        return 1


sys.exit(main())
