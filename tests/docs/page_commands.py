"""`maitred` without the half second that importing it takes: pages type it a hundred times.

    python page_commands.py SOCKET              imports it once, and forks a process for each command that is typed
    python -I -S page_commands.py SOCKET WORD…  what stands for `maitred` in the shell of a page

The command runs in a process of its own, with the typist's directory, environment and files, as it would by itself.
"""

import json
import os
import socket
import sys

MAX_REQUEST_BYTES = 1 << 20
FILES = [0, 1, 2]


def serve(path: str) -> None:
    """Until it is killed."""
    from maitred.cli import main

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(path)
        listening.listen(16)
        print("ready", flush=True)
        while True:
            typist, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                os._exit(_attend(typist, main.main))
            typist.close()
            _reap()


def _attend(typist, main) -> int:
    """Run one command in a child, and tell its exit code."""
    request, files, _, _ = socket.recv_fds(typist, MAX_REQUEST_BYTES, len(FILES))
    words, directory, environment = json.loads(request)
    child = os.fork()
    if child == 0:
        typist.close()
        for file, number in zip(files, FILES, strict=True):
            os.dup2(file, number)
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["maitred", *words]
        main()  # which exits
        sys.exit(0)
    for file in files:
        os.close(file)
    _, status = os.waitpid(child, 0)
    typist.send(str(os.waitstatus_to_exitcode(status)).encode())
    return 0


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def ask(path: str, words: list[str]) -> int:
    """Have it run with what this process was given; its exit code."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(path)
        request = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
        socket.send_fds(server, [request], FILES)
        answer = server.recv(64)
    return int(answer) if answer else 1


if __name__ == "__main__":
    if len(sys.argv) > 2 or sys.flags.isolated:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
    serve(sys.argv[1])
