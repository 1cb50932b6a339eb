"""A function called in a process of its own, so that the memory and the time that it takes are its own.

The new process imports nothing but what the function needs, and ends when its caller does, however that
ends. What goes in and comes out is JSON, through its stdin and stdout; stderr is the caller's.
"""

import importlib
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

from ragdistill.errors import UserError


class Died(RuntimeError):
    """The process ended without an answer: its exit status, below 0 the signal that ended it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"ended with status {status}")
        self.status = status


def call(target: str, asked: Any) -> Any:
    """What ``target`` (``"package.module:function"``) returns for ``asked``.

    Raises:
        Died: the process was killed, or the function raised: the traceback is on stderr.
        UserError: the function raised one.
    """
    command = [sys.executable, "-P", "-m", "ragdistill.alone"]
    # It shall find the packages and plugins that this process has found.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, env=environment, encoding="utf-8"
    ) as child:
        try:
            answer = _talk(child, json.dumps({"target": target, "asked": asked}))
        except BaseException:
            child.kill()
            raise
    try:
        told = json.loads(answer)
    except ValueError as error:  # none, or one that was cut off
        raise Died(child.returncode) from error
    if "refused" in told:
        raise UserError(told["refused"])
    return told["said"]


def _talk(child: "subprocess.Popen[str]", line: str) -> str:
    if child.stdin is None or child.stdout is None:
        raise ValueError("no pipes to the process")
    try:
        child.stdin.write(line + "\n")
        child.stdin.flush()  # and left open: that it ends tells the process to
    except BrokenPipeError:
        with suppress(BrokenPipeError):  # of what is not written yet
            child.stdin.close()
        return ""
    return child.stdout.read()


def main() -> None:
    """The other end: answer the line on stdin."""
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no part of the answer
    line = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_caller, daemon=True).start()
    module, _, name = line["target"].partition(":")
    try:
        answer = {"said": getattr(importlib.import_module(module), name)(line["asked"])}
    except UserError as error:
        answer = {"refused": error.message}
    except KeyboardInterrupt:  # the caller got it, too, and says so
        sys.exit(130)
    with told:
        json.dump(answer, told)


def _end_with_caller() -> None:
    # Not sys.stdin.read: a lock that a thread holds when Python ends is fatal to it.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
