"""A launcher without containers: it answers requests from a script of answers (argv: `_serve FD`).

`answers.json` beside this file maps a verb to {"ok"|"error": ..., "exit": status, "report": wait status,
"silent": true, "hold": true}. The request and what the process looks like from inside go to `seen-PID.json`.
"""

import json
import os
import struct
import sys
from pathlib import Path

HERE = Path(sys.argv[0]).parent
sys.path.insert(0, os.environ.get("CAPSULE_TREE") or (HERE / "tree").read_text())

from capsule.protocol import request  # noqa: E402


def signal_line(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1], 16)
    return None


fd = int(sys.argv[2])
document = request.receive(fd)
seen = {
    "request": document,
    "fds": sorted(int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")),
    "environ": dict(os.environ),
    "blocked": signal_line("SigBlk"),
    "session": os.getsid(0) == os.getpid(),
}
temporary = HERE / f"new-{os.getpid()}"
temporary.write_text(json.dumps(seen))
temporary.rename(HERE / f"seen-{os.getpid()}.json")

answer = json.loads((HERE / "answers.json").read_text()).get(document["verb"], {"ok": None})
if not answer.get("silent"):
    reply = {"log": answer.get("log", [])}
    reply.update({key: answer[key] for key in ("ok", "error") if key in answer})
    request.send(fd, reply)
if answer.get("say"):
    os.write(1, answer["say"].encode())
if answer.get("hold"):
    os.read(0, 1)
if "report" in answer:
    os.write(fd, struct.pack("=IIiI", 12, 8, 4711, answer["report"]))
os._exit(answer.get("exit", 0))
