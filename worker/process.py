"""One worker process, from its start to its end: import the adapter, load, register, serve, leave.

What stands between the import and the registration is in `worker.readiness`.

    main(options)            under an agent, in a process forked for it
    serve(options)           everything but the ties to a parent: also `python -m maitred.worker`

Exit codes: 0 told to end; 1 the adapter could not be imported, loaded or warmed up, or its key cannot be used; 2 the broker
refused it for good; 113 the agent
is gone.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from types import FrameType

import zmq

from maitred.config.credentials import Showing, find_key
from maitred.config.key_file import KeyFile, KeyFileError
from maitred.protocol.body import set_out_of_band
from maitred.protocol.errors import MaitredError
from maitred.protocol.messages import Register
from maitred.protocol.showing import show_nothing
from maitred.protocol.version import VERSION
from maitred.protocol.worker import ControlConnection, RequestsConnection
from maitred.tracing import exporting
from maitred.transport import clock
from maitred.transport.context import new_context
from maitred.transport.dealers import Dealer, open_dealer
from maitred.transport.endpoints import connect
from maitred.transport.lifeline import die_with_parent
from maitred.transport.refusals import HandshakeRefusals
from maitred.transport.sockets import dealer
from maitred.transport.undumpable import forbid_core_dumps
from maitred.worker.control import Control
from maitred.worker.loading import AdapterError, extend_path, load_service
from maitred.worker.options import WorkerOptions
from maitred.worker.plain_loop import PlainLoop
from maitred.worker.readiness import Readiness
from maitred.worker.requests import Requests, check_room
from maitred.worker.service import Service
from maitred.worker.stopping import Stopping
from maitred.worker.turned_away import TurnedAway, may_change
from maitred.worker.warming import Call, WarmUp, read_calls

__all__ = ["EXIT_LOAD", "EXIT_REFUSED", "main", "serve"]

EXIT_LOAD = 1
EXIT_REFUSED = 2

LEAVE_LINGER_MS = 1000
"""How long the last answer and LEAVE may take to go out."""

EXIT_PATIENCE_S = 2.0
"""How long the application may take to end, its threads above all: nobody replaces a worker that has not ended."""


def main(options: WorkerOptions) -> None:
    """Be a worker of an agent. Called in the process made for it, in its main thread."""
    os.environ.update(options.environment)
    if options.parent is not None:
        die_with_parent(options.parent)
    if options.output is not None:
        _redirect(options.output.take())
    try:
        code = serve(options)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    last_resort = threading.Timer(EXIT_PATIENCE_S, os._exit, [code])
    last_resort.daemon = True
    last_resort.start()
    sys.exit(code)


def serve(options: WorkerOptions) -> int:
    """Serve until SIGTERM; returns the exit code."""
    faulthandler.enable()  # a crash in C leaves its Python stack in the death certificate
    if options.parent is None:
        signal.signal(signal.SIGINT, _as_sigterm)
    else:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal; who started us decides
    signal.signal(signal.SIGTERM, _stop_loading)
    if options.gc_threshold is not None:
        gc.set_threshold(options.gc_threshold)
    set_out_of_band(options.out_of_band_bytes)
    try:
        extend_path(options.path)
        service = load_service(options.adapter)
        provider = exporting.set_up(f"maitred-worker-{options.pool}") if exporting.is_wanted() else None
        check_room(options, service)
        calls = read_calls(service, options.warm_up)
    except (AdapterError, exporting.NotInstalled) as error:
        print(error, file=sys.stderr)
        return EXIT_LOAD
    except Exception:
        traceback.print_exc()
        return EXIT_LOAD
    try:
        key = find_key(options.endpoint, options.key_file)
        if key is not None:
            forbid_core_dumps()
    except KeyFileError as error:
        print(error, file=sys.stderr)
        return EXIT_LOAD
    context: zmq.Context[zmq.Socket[bytes]] = new_context()
    try:
        return _serve(options, key, service, calls, context)
    finally:
        context.destroy(linger=LEAVE_LINGER_MS)
        if provider is not None:
            exporting.end(provider)


def _as_sigterm(_number: int, _frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGTERM)


def _stop_loading(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _serve(
    options: WorkerOptions,
    key: KeyFile | None,
    service: Service,
    calls: Sequence[Call],
    context: zmq.Context[zmq.Socket[bytes]],
) -> int:
    requests = Requests(options, service)
    token = os.urandom(16)
    lifeline = options.lifeline.take() if options.lifeline is not None else None
    gate = options.gate.take() if options.gate is not None else None
    readiness = Readiness(requests, WarmUp(calls, requests.context_of), gate)
    show = Showing(options.endpoint, options.secret) if key is None else show_nothing
    control = Control(
        context,
        options.endpoint,
        ControlConnection(options.worker, token, show),
        requests.running,
        Stopping(requests.window),
        lifeline,
        key,
        requests.events,
    )
    try:
        control.start()
        register = Register(
            options.worker, token, options.pool, options.slots, requests.commands(),
            platform.node()[:255], os.getpid(), f"maitred {VERSION}",
            prefetch=requests.prefetch, clock=clock.name(), bundles=True,
        )  # fmt: skip
        connection = RequestsConnection(register, requests.running.held, show)
        door = Door(context, options, key, connection)
        return _load_and_run(options, door, readiness, requests, control)
    finally:
        control.stop()
        requests.window.close()
        if requests.calls is not None:
            requests.calls.close()


class Door:
    """The connection that requests come by, each time that one is made, and what is done where the broker refuses it.

    Who was never let in has nothing to lose, and tries again: its key, or what that may do, may be added any time. A
    worker whose key was taken back ends.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        options: WorkerOptions,
        key: KeyFile | None,
        connection: RequestsConnection,
    ) -> None:
        self.connection = connection
        self._context = context
        self._options = options
        self._key = key
        self._turned_away = TurnedAway("this worker")

    @contextlib.contextmanager
    def socket(self) -> Generator[tuple[zmq.Socket[bytes], Callable[[], bool]]]:
        """A DEALER that connects, and what is to be called now and then to have it try again where it is refused."""
        socket = dealer(self._context, linger_ms=LEAVE_LINGER_MS, key=self._key)
        refusals = HandshakeRefusals(socket, self._options.endpoint, self._key)
        connect(socket, self._options.endpoint)
        try:
            yield socket, lambda: refusals.look(time.monotonic())
        finally:
            refusals.close()
            socket.close()

    @contextlib.contextmanager
    def dealer(self) -> Generator[tuple[Dealer, Callable[[], object]]]:
        """The same for a thread that waits for it itself."""
        it = self._options
        made, refusals = open_dealer(it.endpoint, lambda: self._context, key=self._key, linger_ms=LEAVE_LINGER_MS)
        try:
            yield made, lambda: refusals.look(time.monotonic())
        finally:
            refusals.close()
            made.close(LEAVE_LINGER_MS / 1000)

    def pause_s(self, error: MaitredError, welcomed: bool) -> float | None:
        """How long to wait until the next try; None: there is none."""
        if welcomed or not may_change(error):
            print(f"the broker refused this worker: {error.message}", file=sys.stderr)
            return None
        self._turned_away.note(error)
        return self._turned_away.pause_s()


def _load_and_run(
    options: WorkerOptions, door: Door, readiness: Readiness, requests: Requests, control: Control
) -> int:
    try:
        if requests.service.needs_trio or options.slots > 1:
            return _run_under_trio(options, door, readiness, requests, control)
        return _run_plainly(door, requests, control) if readiness.reach() else 0
    except Exception:
        traceback.print_exc()
        return EXIT_LOAD


def _run_plainly(door: Door, requests: Requests, control: Control) -> int:
    while True:
        with door.dealer() as (straight, look):
            loop = PlainLoop(straight, door.connection, requests, control, look)
            try:
                loop.run()
                return 0
            except MaitredError as error:
                pause_s = door.pause_s(error, loop.welcomed)
        signal.signal(signal.SIGTERM, _stop_loading)
        if pause_s is None:
            return EXIT_REFUSED
        if loop.stopping:
            return 0
        time.sleep(pause_s)


def _run_under_trio(
    options: WorkerOptions, door: Door, readiness: Readiness, requests: Requests, control: Control
) -> int:
    import trio  # here: a worker of plain functions never needs it

    from maitred.worker.trio_loop import TrioLoop

    async def run() -> int:
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:

            def stop_loading(_number: int, _frame: FrameType | None) -> None:
                if trio.lowlevel.in_trio_task():
                    raise SystemExit(0)
                token.run_sync_soon(scope.cancel)  # trio's own code is running, which must not be interrupted

            signal.signal(signal.SIGTERM, stop_loading)
            if not await readiness.areach(in_threads=options.slots > 1):
                return 0
            while (pause_s := await serve()) is not None:
                if pause_s < 0:
                    return EXIT_REFUSED
                await trio.sleep(pause_s)
        return 0

    async def serve() -> float | None:
        """Seconds after which to try again; less than 0: never; None: it has ended."""
        with door.socket() as (socket, look):
            loop = TrioLoop(
                socket, door.connection, requests, control, options.clients_endpoint, options.slots,
                look, options.key_file,
            )  # fmt: skip
            try:
                await loop.run()
            except MaitredError as error:
                pause_s = door.pause_s(error, loop.welcomed)
                return -1.0 if pause_s is None else pause_s
            return None

    return trio.run(run)


def _redirect(descriptor: int) -> None:
    """Make a pipe to the agent our output: what is printed, by C code too, ends up in its log and in certificates."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
