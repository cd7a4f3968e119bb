"""The vocabulary of the wire: every message, its fields, their units and bounds. Nothing here does anything.

A message is one header frame (`protocol.frames`) and, for those in `WITH_BODY`, body frames that the broker passes
through unread. Fields are positional on the wire: a later version appends fields with defaults and never reorders, so
that an old peer reads what it knows. `docs/protocol.md` says the same for other languages.

Direction is part of a message's meaning: `FromClient`, `FromWorker`, `ToClient`, `ToWorker` are the four unions that are
ever decoded, and what stands in none of them cannot be received.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from maitred.protocol import limits

Id128 = Annotated[bytes, Meta(min_length=16, max_length=16)]
"""A random 128-bit name that a process gives itself."""

RequestId = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""Counted by the client. (client id, request id) names a request everywhere, for its whole life."""

Name = Annotated[str, Meta(min_length=1, max_length=limits.MAX_NAME_CHARS)]
Text = Annotated[str, Meta(max_length=limits.MAX_TEXT_CHARS)]
Secret = Annotated[str, Meta(max_length=limits.MAX_SECRET_CHARS)]
"""What the broker's connection file says, where there are no keys: whoever can read it is the user that runs the broker."""

Count = Annotated[int, Meta(ge=0, le=2**53)]
Attempt = Annotated[int, Meta(ge=1, le=1000)]
Window = Annotated[int, Meta(ge=0, le=limits.MAX_WINDOW_PARTS)]
Seconds = Annotated[float, Meta(ge=0, le=limits.MAX_TIMEOUT_S)]
Key = tuple[Id128, RequestId]

LOW, NORMAL, HIGH = range(3)
Priority = Annotated[int, Meta(ge=LOW, le=HIGH)]
"""Of a request; see `PRIORITIES` for the words."""

PRIORITIES = {"low": LOW, "normal": NORMAL, "high": HIGH}

STRICT, FAIL_FAST, PREFER = range(3)
Affinity = Annotated[int, Meta(ge=STRICT, le=PREFER)]
"""What a request of a session does where its owner is busy: wait, be refused, or go to another worker; see `AFFINITIES`."""

AFFINITIES = {"strict": STRICT, "fail_fast": FAIL_FAST, "prefer": PREFER}

LEVEL_OK, LEVEL_HIGH, LEVEL_FULL = range(3)
Level = Annotated[int, Meta(ge=LEVEL_OK, le=LEVEL_FULL)]
"""How full a pool is; see `LEVELS` for the words. It rises and falls with hysteresis."""

LEVELS = ("ok", "high", "full")


EVENT_NAME = r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*\Z"
EventValue = None | bool | int | float | Annotated[str, Meta(max_length=limits.MAX_EVENT_TEXT_CHARS)]
EventFields = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=limits.MAX_EVENT_CHARS)], EventValue],
    Meta(max_length=limits.MAX_EVENT_FIELDS),
]
"""What an application says of an event of its own."""


class Message(Struct, frozen=True, array_like=True):
    """Base of all messages: a msgpack array whose first element is the type's number."""


class Secretive(Message, frozen=True):
    """Base of those that may show a secret, which is not to be read in a log or in a traceback."""

    def __repr__(self) -> str:
        fields = [f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name != "secret"]
        return f"{type(self).__name__}({', '.join(fields)}, secret={'…' if getattr(self, 'secret', '') else ''!r})"


# --- both ways ---------------------------------------------------------------------------------------------------


class Heartbeat(Message, frozen=True, tag=1):
    """I am here. A peer that is waiting sends it every interval; the broker answers each one."""


class Bye(Message, frozen=True, tag=2):
    """I am leaving in good order; what you hold for me you may drop."""


class Bundle(Message, frozen=True, tag=3):
    """Several messages in one, oldest first: of each its header frame and its body frame, or an empty one.

    It stands in none of the unions: `protocol.bundles` opens it before anything is decoded, and there is none in another.
    """

    frames: Annotated[list[bytes], Meta(min_length=2, max_length=2 * limits.MAX_BUNDLE_MESSAGES)]


# --- client to broker --------------------------------------------------------------------------------------------


class Hello(Secretive, frozen=True, tag=10):
    """First message of a client's connection. Several connections of one process carry the same client id.

    `name` is what the application calls itself: the broker's configuration gives shares and limits by it. `clock` as in
    REGISTER: where the broker reads it too, `due` of its requests counts. `bundles`: it may be sent some (BUNDLE).
    `secret`: see there; without keys, and but for `ipc://`, who does not know it may call and not operate.
    """

    client: Id128
    software: Text = ""
    host: Text = ""
    pid: Count = 0
    name: Text = ""
    clock: Text = ""
    bundles: bool = False
    secret: Secret = ""


class Request(Message, frozen=True, tag=11):
    """One command to one pool; the body is its arguments.

    `pool` None: the broker chooses by its routing table. `timeout` is what is left of the caller's time in seconds, so
    that clocks need not agree; None takes the pool's. `window` is how many parts the client can take now; 0 asks for no
    parts at all. `idempotent` overrides what the command declared; `attempts` (0: the pool's) bounds the runs in all.
    `ticket` is the one that an earlier refusal gave: a place was kept for whoever comes back with it (0: none). `due` is
    the end of the time-out as a time of the client's clock: it does not move while the message is on its way (0: none).
    `session`: it runs on that session's owner, after those sent before it; `affinity` overrides the session's own.
    `trace`: the caller's position in a trace (`protocol.trace`); one that makes no sense is ignored ("": none).
    """

    id: RequestId
    pool: Name | None
    command: Name
    timeout: Seconds | None = None
    window: Window = 0
    idempotent: bool | None = None
    attempts: Annotated[int, Meta(ge=0, le=100)] = 0
    priority: Priority = NORMAL
    ticket: Count = 0
    due: Annotated[float, Meta(ge=0)] = 0.0
    session: Id128 | None = None
    affinity: Affinity | None = None
    trace: str = ""


class Cancel(Message, frozen=True, tag=12):
    """Stop this request: removed where it is queued, told to stop where it runs."""

    id: RequestId


class Grant(Message, frozen=True, tag=13):
    """The reader of a stream has room for so many parts more."""

    id: RequestId
    parts: Window


class Query(Message, frozen=True, tag=14):
    """Ask the broker about itself: for one of its tables, or "broker". Answered by REPLY or ERROR."""

    id: RequestId
    what: Name


class Watch(Message, frozen=True, tag=15):
    """Tell me how full this pool is: PRESSURE now and at each change of its level, until CANCEL with this id."""

    id: RequestId
    pool: Name


class Operate(Message, frozen=True, tag=16):
    """Do this to the broker. Answered by REPLY or ERROR.

    "cancel" a request, "release" a quarantined one; "scale" a pool (target "POOL=N"), "pause", "resume", "drain" and
    "recycle" one, "recycle" and "drain" a worker (target: the pool's name, or at least four digits of the worker's id);
    "reload" the file that says whose keys may do what (no target).
    """

    id: RequestId
    verb: Name
    target: Text


class Listen(Message, frozen=True, tag=19):
    """Tell me what happens, until CANCEL with this id: each event a PART, a map, under the reader's credit as any stream.

    `names`: of events, or how they begin and `*`; none: all. `after`: those that are kept with a higher number come first;
    None: none do. `epoch`: whose numbers `after` counts by, as WELCOME names it; another broker's are told from the first.
    Without `follow` REPLY comes after those that are kept. ERROR ends it otherwise.
    """

    id: RequestId
    names: Annotated[list[Name], Meta(max_length=limits.MAX_EVENT_NAMES)] = []
    after: Count | None = None
    epoch: Id128 | None = None
    follow: bool = True
    window: Window = 0


class Open(Message, frozen=True, tag=17):
    """Open a session of this id, which the client drew; the body is one frame, a map of the caller's own fields.

    `ttl` counts in seconds from the last reply; None: the pool's, as of `affinity`. Answered by REPLY, a map as the rows of
    the table "sessions", once an owner is found, or by ERROR.
    """

    id: RequestId
    session: Id128
    pool: Name
    ttl: Seconds | None = None
    affinity: Affinity | None = None


class Session(Message, frozen=True, tag=18):
    """Do this with a session: "attach" (be told when it ends), "renew" or "close". Answered as OPEN is."""

    id: RequestId
    session: Id128
    verb: Name


# --- broker to client --------------------------------------------------------------------------------------------


class Welcome(Message, frozen=True, tag=20):
    """The answer to HELLO, REGISTER, ATTACH and AGENT.

    `epoch` is random for each life of a broker: another epoch means that what was outstanding is gone. `interval` is the
    agreed time between heartbeats in seconds, `liveness` how many may be missed; `max_message` is in bytes. `bundles`: the
    broker may be sent some. `events`: it tells of events (LISTEN), and a worker may send
    it its own (WORKER_EVENT).
    """

    epoch: Id128
    interval: Seconds
    liveness: Annotated[int, Meta(ge=1, le=1000)]
    max_message: Count
    software: Text = ""
    bundles: bool = False
    events: bool = False


class Part(Message, frozen=True, tag=21):
    """One piece of a streamed reply. `number` counts from 0 within an attempt; another attempt starts again."""

    id: RequestId
    attempt: Attempt
    number: Count


class Reply(Message, frozen=True, tag=22):
    """The terminal answer of a request that worked; the body is its result. `level`: how full its pool is.

    Of a session's request, `epoch` counts its owners, from 1: higher than before, it was moved, with its last snapshot.
    0 with a session: it ran elsewhere, without the session's state, as its owner was busy (affinity "prefer").
    """

    id: RequestId
    attempt: Attempt = 1
    level: Level = LEVEL_OK
    epoch: Count = 0


class Error(Message, frozen=True, tag=23):
    """The terminal answer of one that did not: a code, a sentence; the body is a map of details.

    Id -1 speaks of the connection rather than of a request: the peer broke the protocol. `level` as in REPLY.
    """

    id: Annotated[int, Meta(ge=-1, le=2**63 - 1)]
    code: Name
    message: Text
    level: Level = LEVEL_OK


class Stranger(Message, frozen=True, tag=24):
    """I do not know you: say HELLO, REGISTER, ATTACH or AGENT (again). What you just sent was not acted upon."""


class Pressure(Message, frozen=True, tag=25):
    """How full a pool is, for who watches it. `retry_after` in seconds: when a request refused now would find room."""

    id: RequestId
    pool: Name
    level: Level
    queued: Count
    capacity: Count
    retry_after: Seconds | None = None


class SessionEnded(Message, frozen=True, tag=26):
    """A session that this connection opened or attached to is no more, and not because it asked for it.

    `reason`: "lost" (its owner is gone), "expired", "closed" (by another), "drain", "failed" (it could not be opened).
    The body is a map of details, as in the error that the next request of it would get.
    """

    session: Id128
    reason: Name


class SessionMoved(Message, frozen=True, tag=27):
    """A session has another owner, which was given its last snapshot; `epoch` counts them.

    `answered` of its requests had been, `kept` of these when the snapshot was taken: what those after it changed is lost.
    """

    session: Id128
    epoch: Count
    answered: Count = 0
    kept: Count = 0


# --- worker to broker --------------------------------------------------------------------------------------------


class Position(Struct, frozen=True, array_like=True):
    """Where in a trace (`protocol.trace`) an order stands, and how many seconds its request has waited with the broker."""

    trace: str = ""
    waited: Annotated[float, Meta(ge=0)] = 0.0


class CommandInfo(Struct, frozen=True, array_like=True):
    """What the broker has to know of a command.

    `batch` requests of it may be run as one; after a batch of several, a smaller one waits up to `max_wait` seconds for
    more.
    """

    name: Name
    idempotent: bool = False
    streams: bool = False
    batch: Annotated[int, Meta(ge=1, le=limits.MAX_SLOTS)] = 1
    max_wait: Seconds = 0.0


class Register(Secretive, frozen=True, tag=30):
    """A worker is READY: it has loaded what it needs and can run `slots` requests.

    `slots` run at a time; `prefetch` more it may hold, as many as the broker sees fit. `token` binds its second connection
    (ATTACH) to this one. `holds` names the requests it has not answered yet: empty
    at first, not so when it registers again after a broken connection or with a restarted broker. `clock` names its
    monotonic clock, where other processes read the same one (on Linux, the boot): deadlines are told by it then. `bundles`
    as in HELLO. `secret`: who has no key must know it to serve.
    """

    worker: Id128
    token: Id128
    pool: Name
    slots: Annotated[int, Meta(ge=1, le=limits.MAX_SLOTS)]
    commands: Annotated[list[CommandInfo], Meta(max_length=limits.MAX_COMMANDS)]
    host: Text = ""
    pid: Count = 0
    software: Text = ""
    holds: Annotated[list[Key], Meta(max_length=limits.MAX_SLOTS)] = []
    prefetch: Annotated[int, Meta(ge=0, le=limits.MAX_SLOTS)] = 0
    clock: Text = ""
    bundles: bool = False
    secret: Secret = ""


class Attach(Message, frozen=True, tag=31):
    """The worker's second connection: heartbeats one way, cancels and grants the other."""

    worker: Id128
    token: Id128


class Beat(Message, frozen=True, tag=32):
    """A worker's heartbeat. `rss` in bytes, `cpu` in seconds used, `lag` in seconds the beat itself was late.

    `request` is what it has been at for longest, `ran` for how many seconds: what it holds besides has not begun.
    """

    rss: Count = 0
    cpu: Annotated[float, Meta(ge=0)] = 0.0
    lag: Annotated[float, Meta(ge=0)] = 0.0
    request: Key | None = None
    ran: Annotated[float, Meta(ge=0)] = 0.0


class WorkerPart(Message, frozen=True, tag=33):
    """One piece of a streamed reply, on its way to the client."""

    client: Id128
    id: RequestId
    attempt: Attempt
    number: Count


class WorkerReply(Message, frozen=True, tag=34):
    """The result of a request. It gives the worker its slot back. `ran`: the seconds it took here; 0: not known."""

    client: Id128
    id: RequestId
    attempt: Attempt
    ran: Seconds = 0.0


class WorkerError(Message, frozen=True, tag=35):
    """The failure of a request. It gives the worker its slot back. `ran` as in WORKER_REPLY."""

    client: Id128
    id: RequestId
    attempt: Attempt
    code: Name
    message: Text
    ran: Seconds = 0.0


class Leave(Message, frozen=True, tag=36):
    """The worker has answered all it began and begins nothing more: what else it was sent may run elsewhere."""


class Returned(Message, frozen=True, tag=37):
    """The answer to RECALL: this request was not begun here, and will not be."""

    client: Id128
    id: RequestId
    attempt: Attempt


class Snapshot(Message, frozen=True, tag=38):
    """The state of a session as it is after its request so and so many, for the next owner; the body is any value."""

    session: Id128
    epoch: Count
    served: Count = 0


class SessionHeld(Message, frozen=True, tag=39):
    """This worker has this session: said after WELCOME to a broker of another epoch, which knows of none.

    As the broker's SESSION_OPEN, `principal` included, with what is left of the time to live in seconds. The body is one
    frame, the metadata.
    """

    session: Id128
    client: Id128
    epoch: Count
    ttl: Seconds
    left: Seconds
    affinity: Affinity = STRICT
    served: Count = 0
    principal: Text = ""


class SessionFailed(Message, frozen=True, tag=46):
    """A session could not be opened or restored here: its hook raised. The body is a map of details."""

    session: Id128
    epoch: Count
    message: Text


class WorkerEvent(Message, frozen=True, tag=47):
    """The application tells of something: the event `app.` and this name. Only where WELCOME says `events`.

    `command` and `request` as in its context, "" where it serves none. `lost` were left out before it: there were too many.
    """

    name: Annotated[str, Meta(pattern=EVENT_NAME, max_length=limits.MAX_EVENT_CHARS)]
    fields: EventFields = {}
    command: Annotated[str, Meta(max_length=limits.MAX_NAME_CHARS)] = ""
    request: Annotated[str, Meta(max_length=limits.MAX_NAME_CHARS)] = ""
    lost: Count = 0


# --- broker to worker --------------------------------------------------------------------------------------------


class Dispatch(Message, frozen=True, tag=40):
    """Run this; the body is the client's own, byte for byte. `timeout` is what is left in seconds.

    `due` is the same as a time of the worker's clock, where the broker reads it too (0: it does not): what lay in a queue
    on its way is not begun late. `more` requests follow directly, to be run as one batch with this one. `trace`, where it
    is traced: the caller's position, or the broker's own under that.
    """

    client: Id128
    id: RequestId
    attempt: Attempt
    command: Name
    timeout: Seconds
    window: Window = 0
    due: Annotated[float, Meta(ge=0)] = 0.0
    more: Annotated[int, Meta(ge=0, le=limits.MAX_SLOTS)] = 0
    session: Id128 | None = None
    trace: Position | None = None


class WorkerCancel(Message, frozen=True, tag=41):
    """Tell the function to stop, because of "cancelled", "deadline", "client_lost", "operator" or "draining".

    First by a flag; INTERRUPT_AFTER_S later, where it still runs, by an exception raised in it.
    """

    client: Id128
    id: RequestId
    reason: Name


class WorkerGrant(Message, frozen=True, tag=42):
    """The reader of this stream has room for so many parts more."""

    client: Id128
    id: RequestId
    parts: Window


class Recall(Message, frozen=True, tag=43):
    """Give this request back if it was not begun: RETURNED answers, or its own answer does."""

    client: Id128
    id: RequestId
    attempt: Attempt


class SessionOpen(Message, frozen=True, tag=44):
    """This worker owns this session from now on. Before any request of it, over the same connection.

    The body is one frame, the metadata, and with `restore` the frames of its last snapshot after it. `principal` is whose
    it is, where its opener has a key: the worker says it again to a broker that knows nothing of the session.
    """

    session: Id128
    client: Id128
    epoch: Count
    ttl: Seconds
    affinity: Affinity = STRICT
    restore: bool = False
    principal: Text = ""


class SessionClose(Message, frozen=True, tag=45):
    """The session has ended: "closed", "expired", "drain", "lost" (the broker gave it to another). Free what it holds."""

    session: Id128
    reason: Name


# --- agent to broker and back ------------------------------------------------------------------------------------


class Agent(Secretive, frozen=True, tag=50):
    """The parent of one pool's workers on one host introduces itself.

    `size` is how many workers it keeps just now, from `least` to `most` as the broker asks (RESIZE). `memory` says how it
    keeps memory limits ("cgroup2", "cgroup1", "polling"; "": there is none to keep), `gpus` what it found of GPUs. `secret`
    as in REGISTER.
    """

    agent: Id128
    pool: Name
    host: Text = ""
    pid: Count = 0
    software: Text = ""
    size: Count = 0
    least: Count = 0
    most: Count = 0
    memory: Text = ""
    gpus: Text = ""
    secret: Secret = ""


class Spawned(Message, frozen=True, tag=51):
    """A worker process was started; it registers itself once it has loaded."""

    worker: Id128
    pid: Count


class Vouch(Message, frozen=True, tag=52):
    """The agent's heartbeat: these workers are alive, not stopped, and busy within their request's time."""

    workers: Annotated[list[Id128], Meta(max_length=limits.MAX_AGENT_WORKERS)]


class Certificate(Struct, frozen=True, omit_defaults=True):
    """A death certificate. `peak_rss` in bytes, `age` in seconds, `stderr` the last lines the worker wrote.

    `cause` is one of CAUSES. `memory` and `memory_limit` in bytes: what was found, and what is allowed, where that was
    why. `gpu_bytes` it had last. `note` says more of the cause in words.
    """

    cause: Name
    signal: Text | None = None
    exit_code: int | None = None
    peak_rss: Count | None = None
    age: Annotated[float, Meta(ge=0)] | None = None
    served: Count | None = None
    stderr: Annotated[str, Meta(max_length=16 * 1024)] | None = None
    worker: Text | None = None
    pid: Count | None = None
    host: Text | None = None
    memory: Count | None = None
    memory_limit: Count | None = None
    gpu_bytes: Count | None = None
    note: Text | None = None


CAUSES = frozenset(
    {"oom", "signal", "exit", "timeout", "cancelled", "heartbeat", "node_lost", "recycle", "drain", "operator"}
)
"""Why a worker can be gone: the one enumeration."""


class Died(Message, frozen=True, tag=53):
    """A worker is dead. `started`: what it had begun and is not known to have answered; None where nobody can tell."""

    worker: Id128
    certificate: Certificate
    started: Annotated[list[Key], Meta(max_length=limits.MAX_SLOTS)] | None = None


class Degraded(Message, frozen=True, tag=54):
    """The agent cannot start workers, and why; an empty reason: it can again."""

    reason: Text


class Fence(Message, frozen=True, tag=55):
    """Kill this worker; DIED answers. `cause` goes into its certificate.

    With `only`, it is killed for what it does and not for its silence: nothing is done unless it runs that request.
    """

    worker: Id128
    cause: Name = "heartbeat"
    only: Key | None = None


class WorkerState(Struct, frozen=True, array_like=True):
    """What an agent sees of one of its workers. `rss` and `gpu_bytes` in bytes, `gpu_use` from 0 to 1.

    `gpu` is the UUID of the one it was given. `spare`: it is loaded and waits to take another's place.
    """

    worker: Id128
    rss: Count = 0
    gpu_bytes: Count = 0
    gpu_use: Annotated[float, Meta(ge=0)] = 0.0
    gpu: Text = ""
    spare: bool = False


class Report(Message, frozen=True, tag=56):
    """What an agent sees of its workers, every interval: of those where it changed."""

    workers: Annotated[list[WorkerState], Meta(max_length=limits.MAX_AGENT_WORKERS)]


class Retire(Message, frozen=True, tag=57):
    """Give this worker nothing new, for a cause of CAUSES; DISMISS answers once it holds nothing, or its time is over.

    `note` says why in words: what was too large or too old.
    """

    worker: Id128
    cause: Name
    note: Text = ""


class Resize(Message, frozen=True, tag=58):
    """Keep so many workers. Whoever is one too many is ended at once where he is not ready yet; others by DISMISS."""

    workers: Count


class Recycle(Message, frozen=True, tag=59):
    """Replace these workers, one after another: RETIRE is said of each when another one is ready in its place."""

    workers: Annotated[list[Id128], Meta(max_length=limits.MAX_AGENT_WORKERS)]
    cause: Name = "operator"


class Dismiss(Message, frozen=True, tag=60):
    """This worker is given nothing more: it ends once it has answered what it runs. To its agent, or to itself.

    The agent sends it SIGTERM, and SIGKILL where it has not ended in its time; `cause` goes into its certificate.
    """

    worker: Id128
    cause: Name = "drain"


class Check(Message, frozen=True, tag=61):
    """Say whether you are well, once you have done what you were sent before: CHECKED answers."""

    number: Count


class Checked(Message, frozen=True, tag=62):
    """The answer to CHECK. `problem` is empty where the worker is well."""

    number: Count
    problem: Text = ""


FromClient = Hello | Request | Cancel | Grant | Query | Watch | Operate | Open | Session | Listen | Heartbeat | Bye
ToClient = Welcome | Part | Reply | Error | Stranger | Pressure | SessionEnded | SessionMoved | Heartbeat | Bye
FromWorker = (
    Register
    | Attach
    | Beat
    | WorkerPart
    | WorkerReply
    | WorkerError
    | Leave
    | Returned
    | Snapshot
    | SessionHeld
    | SessionFailed
    | WorkerEvent
    | Agent
    | Spawned
    | Vouch
    | Died
    | Degraded
    | Report
    | Retire
    | Checked
    | Heartbeat
    | Bye
)
ToWorker = (
    Welcome
    | Dispatch
    | WorkerCancel
    | WorkerGrant
    | Recall
    | SessionOpen
    | SessionClose
    | Fence
    | Resize
    | Recycle
    | Dismiss
    | Check
    | Error
    | Stranger
    | Heartbeat
    | Bye
)

WITH_BODY: frozenset[type[Any]] = frozenset(
    {
        Request,
        Dispatch,
        Part,
        Reply,
        Error,
        WorkerPart,
        WorkerReply,
        WorkerError,
        Open,
        SessionOpen,
        SessionEnded,
        Snapshot,
        SessionHeld,
        SessionFailed,
    }
)
"""Messages that carry body frames, at least one; all others are the header alone."""
