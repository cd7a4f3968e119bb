"""ZeroMQ sockets, and their owners under trio and anyio.

Nothing is imported here, so that a worker process that needs only `maitred.transport.sockets` pays for nothing else.

| module | what | imports |
| --- | --- | --- |
| `sockets` | ROUTER and DEALER with every option set | zmq |
| `context` | the process's context, and how its threads are scheduled | zmq |
| `endpoints` | bind and connect, with errors that say what to do | zmq |
| `errors` | what a socket can answer | - |
| `frames` | one whole message in or out | zmq |
| `readiness` | several descriptors and a kick as one descriptor | - |
| `drain` | the owner of sockets, without its loop | zmq |
| `owner` | the waiting of an owner, for any loop | zmq |
| `pump` | the owner under trio | trio |
| `host` | a loop that waits for sockets itself, with trio as its guest | trio |
| `wake` | a descriptor that other threads make readable | - |
| `anyio_dealer` | one DEALER under anyio | anyio |
| `lifeline` | how a process stays tied to its parent | (trio, in one coroutine) |
"""
