#!/usr/bin/env python3
"""Types lines into an interactive shell on a terminal of its own, each when the shell shows its prompt.

  type_keys.py PROMPT SHELL [ARGUMENT...] <LINES

In a line \\t is the Tab key. What the shell shows is passed to standard output."""

import os
import pty
import select
import sys
import time

prompt, shell = sys.argv[1].encode(), sys.argv[2:]
lines = [line.replace("\\t", "\t").encode() for line in sys.stdin.read().splitlines()]
process, terminal = pty.fork()
if process == 0:
    os.environ["TERM"] = "dumb"
    os.execvp(shell[0], shell)

deadline = time.monotonic() + 60
shown = b""
while time.monotonic() < deadline:
    if not select.select([terminal], [], [], 1)[0]:
        continue
    try:
        piece = os.read(terminal, 4096)
    except OSError:  # The shell has closed the terminal.
        break
    if not piece:
        break
    sys.stdout.buffer.write(piece)
    shown += piece
    if prompt in shown and lines:
        shown = b""
        os.write(terminal, lines.pop(0) + b"\r")
else:
    sys.exit("type_keys.py: the shell did not end")
if lines:
    sys.exit("type_keys.py: the shell ended early")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
