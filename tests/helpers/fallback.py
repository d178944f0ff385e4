"""capsule under an ordinary Python, which has a path finder: with a mistake put into it, if wanted.

The program takes words before the command line:
  import   an initializer that imports a module just before it becomes the tail
  raise    an initializer that raises an exception nobody expects there
  unsealed the seal is left out
  apparmor, selinux  the machine is taken to have that module
  resctrl=DIR  that directory is the resctrl file system: its groups come and go with their files
"""

import sys

ROOT = __file__.rpartition("/tests/")[0]
sys.path.insert(0, ROOT)


def spoil(kind: str) -> None:
    from capsule.init import steps

    before_tail = steps.before_tail

    def spoilt(*arguments: object) -> None:
        if kind == "raise":
            raise RuntimeError("a mistake")
        import colorsys  # noqa: F401 - nothing else loads it
        before_tail(*arguments)

    steps.before_tail = spoilt


def main() -> None:
    words = sys.argv[1:]
    import capsule.cli.main
    import capsule.init.exec
    import capsule.init.standard  # noqa: F401
    from capsule._ext import nsexec

    while words and words[0].partition("=")[0] in ("import", "raise", "unsealed", "resctrl", "apparmor", "selinux"):
        word = words.pop(0)
        if word in ("apparmor", "selinux"):
            from capsule.security.plan import labels

            setattr(labels, f"has_{word}", lambda: True)
            continue
        if word.startswith("resctrl="):
            sys.path.insert(1, f"{ROOT}/tests")
            from helpers import resctrl

            resctrl.install(word.partition("=")[2])
        elif word == "unsealed":
            nsexec.seal = lambda: None
        else:
            spoil(word)
    sys.argv[1:] = words
    import capsule.__main__ as program

    program.main()


main()
