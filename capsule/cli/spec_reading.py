"""spec --check and spec --explain: read a config.json, start nothing, change nothing."""

from __future__ import annotations

import posix

from capsule.cli import output
from capsule.cli.paths import absolute, runtime_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError
from capsule.spec import checkup
from capsule.spec.load import load_config, read_file

PROBLEMS = 1  # exit status of a check that found some
_ID = "explained"  # stands for the id that create would be given


def run(invocation: Invocation) -> int:
    """Check or explain the file that is named, config.json of the bundle otherwise.

    Raises CapsuleError.
    """
    options = invocation.options
    if options["format"] not in ("", "text", "json"):
        raise CapsuleError(f"invalid format option: {options['format']}")
    if options["check"] and options["explain"]:
        raise CapsuleError("spec", "--check", "cannot be given with --explain")
    bundle = absolute(options["bundle"] or ".")
    path = absolute(invocation.positionals[0]) if invocation.positionals else f"{bundle}/config.json"
    if invocation.positionals and not options["bundle"]:
        bundle = path.rpartition("/")[0] or "/"
    data = read_file(path)
    as_json = options["format"] == "json"
    return _check(data, path, bundle, as_json) if options["check"] else _explain(invocation, data, bundle, as_json)


def _check(data: bytes, path: str, bundle: str, as_json: bool) -> int:
    from capsule.runtime import hostcheck

    problems, config = checkup.examine(data)
    if config is not None:
        told = [problem.path for problem in problems]
        problems += [problem for problem in hostcheck.examine(config, bundle) if problem.path not in told]
    failed = any([problem.kind != checkup.NOTE for problem in problems])
    if as_json:
        rows = [{name: getattr(problem, name) for name in ("path", "kind", "cause", "suggestion")
                 if getattr(problem, name)} for problem in problems]
        output.print_json({"file": path, "ok": not failed, "complete": config is not None, "problems": rows},
                          pretty=True)
    else:
        output.print_out("".join([_line(problem) + "\n" for problem in problems]))
    return PROBLEMS if failed else 0


def _line(problem: checkup.Problem) -> str:
    mark = "" if problem.kind == checkup.CONFIG_PROBLEM else f"[{problem.kind}] "
    hint = f"; did you mean {problem.suggestion}?" if problem.suggestion else ""
    return f"{mark}{problem.path or 'config.json'}: {problem.cause}{hint}"


def _explain(invocation: Invocation, data: bytes, bundle: str, as_json: bool) -> int:
    from capsule.runtime import explanation

    if posix.geteuid() != 0:
        raise CapsuleError("spec", "--explain", "the plan is drawn as create draws it, which needs root")
    steps = explanation.explain(runtime_root(invocation), _ID, load_config(data), bundle)
    if as_json:
        output.print_json(steps, pretty=True)
    else:
        width = max([len(step["step"]) for step in steps])
        output.print_out("".join([f"{step['step']:<{width}}  {step['text']}\n" for step in steps]))
    return 0
