// A client of maitred's protocol (docs/protocol.md) over one connection. Bytes are made and read in wire.mjs.

import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { Dealer } from "zeromq";
import { readConnection, readKey } from "./files.mjs";
import { Session } from "./session.mjs";
import { Stream } from "./stream.mjs";
import { decodeBody, decodeMessage, encodeBody, encodeMessage, MaitredError } from "./wire.mjs";

export { readConnection, readKey } from "./files.mjs";
export { MaitredError, NdArray } from "./wire.mjs";

const HELLO_INTERVAL_MS = 500; // a HELLO that is not answered is said again
const PATIENCE_S = 10; // for a broker that is being restarted, beyond its own liveness
const REMEMBERED_MESSAGES = 1024; // that may be said again to a broker that did not know us
const LAST_WORDS_MS = 500; // for what is still to leave when a client closes
const LOOK_AGAIN_MS = 200; // zeromq.js misses now and then that a connection is there (1 of 100 that are made at once)
const WINDOW_PARTS = 64; // of a stream that the broker may send ahead of its reader

/**
 * Connect to a broker.
 * @param {object} [options]
 * @param {string} [options.endpoint] tcp://host:port or ipc://path; else $MAITRED_ENDPOINT, else this host's broker
 * @param {string} [options.key] file of a CURVE key; else $MAITRED_KEY. It counts for tcp:// only
 * @param {string} [options.name] what the application calls itself
 * @param {number} [options.patience] seconds to wait for the broker's WELCOME, 10 by default
 * @returns {Promise<Client>} close it, or the process does not end
 * @throws {MaitredError} `unavailable`: nobody answers; `unauthenticated`: the key is refused, or one is asked for
 */
export async function connect({ endpoint, key = process.env.MAITRED_KEY, name = "", patience = 10 } = {}) {
  const local = readConnection();
  const where = endpoint ?? process.env.MAITRED_ENDPOINT ?? local?.clients[0];
  if (!where) throw unavailable("no broker is known: start one, or say where it is", "no_broker");
  const client = new Client(where, {
    name,
    key: key && where.startsWith("tcp:") ? readKey(key) : undefined,
    secret: local?.clients.includes(where) ? local.secret : "",
  });
  await client._welcomed(patience);
  return client;
}

/** One connection. Everything is answered in any order, so any number of calls may be under way. */
export class Client {
  #socket;
  #endpoint;
  #hello;
  #ids = 1;
  #welcome; // what the broker said of itself, once it has
  #greeting = true; // nothing but HELLO is said before WELCOME
  #strangers = 0; // STRANGERs since WELCOME: that many of the last messages were not acted upon
  #said = []; // {id, frames}, the last ones, oldest first
  #heldBack = []; // what is to be said after WELCOME
  #outgoing = []; // what waits for the socket
  #wake = () => {};
  #outstanding = new Map(); // request id → {message, resolve, reject, onPart}
  #sessions = new Map(); // session id in hexadecimal → Session
  #heardAt = performance.now();
  #spokeAt = 0;
  #clock;
  #closed; // the error that calls fail with from then on

  /** Use `connect`. */
  constructor(endpoint, { name, key, secret }) {
    this.#endpoint = endpoint;
    this.#hello = encodeMessage("Hello", {
      client: randomBytes(16), // this client's id, which it keeps to itself
      software: `node ${process.version}`,
      host: hostname(),
      pid: process.pid,
      name,
      secret,
    });
    this.#socket = new Dealer({
      immediate: true,
      linger: LAST_WORDS_MS,
      reconnectInterval: 50 + Math.random() * 100, // drawn: after a restart not everybody comes at once
      reconnectMaxInterval: 2000 + Math.random() * 2000,
      connectTimeout: 3000,
      handshakeInterval: 4000,
      heartbeatInterval: 5000,
      heartbeatTimeout: 30_000,
      heartbeatTimeToLive: 30_000,
      sendTimeout: LOOK_AGAIN_MS,
      sendHighWaterMark: 64,
      receiveHighWaterMark: 64,
      ...(key && { curveServerKey: key.server, curvePublicKey: key.public, curveSecretKey: key.secret }),
    });
    this.#watchHandshakes(Boolean(key));
    this.#socket.connect(endpoint);
    this.#sayHello();
    this.#write();
    this.#read();
    this.#clock = setInterval(() => this.#tick(), HELLO_INTERVAL_MS / 2);
  }

  /**
   * Have a pool run a command.
   * @param {string | null} pool null: the broker chooses by its routing table
   * @param {string} command
   * @param {Record<string, any>} [args] arguments by name
   * @param {RequestOptions} [options]
   * @returns {Promise<any>} its result
   * @throws {MaitredError} as the broker or the worker says
   *
   * @typedef {object} RequestOptions
   * @property {number} [timeout] seconds from now; else the pool's
   * @property {AbortSignal} [signal] stops the request. The answer says what became of it: mostly `cancelled`, with an
   *   `outcome`; or the result, where it was there already
   * @property {boolean} [idempotent] whether it may run again after its worker died
   * @property {0 | 1 | 2} [priority] low, normal, high
   * @property {number} [ticket] of an earlier `resource_exhausted`: a place was kept for it
   */
  async call(pool, command, args = {}, options = {}) {
    return decodeBody((await this.#request(pool, command, args, options)).body);
  }

  /**
   * Have a pool run a command that sends parts: `for await (const part of stream)`, then `await stream.result`.
   * @param {RequestOptions & {window?: number}} [options] `window`: parts that may come ahead of the reader
   * @returns {Stream}
   */
  stream(pool, command, args = {}, { window = WINDOW_PARTS, signal, ...options } = {}) {
    const stop = new AbortController();
    const either = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
    return new Stream(window, stop, (onPart, grant) =>
      this.#request(pool, command, args, { ...options, window, signal: either, onPart, grant }),
    );
  }

  /**
   * Open a session: a worker that keeps this caller's state.
   * @param {string} pool
   * @param {{ttl?: number, affinity?: 0 | 1 | 2, metadata?: Record<string, any>}} [options] `ttl` in seconds
   * @returns {Promise<Session>}
   */
  async open(pool, { ttl, affinity, metadata = {} } = {}) {
    const id = randomBytes(16);
    const session = new Session(this, pool, id, (verb) => {
      if (verb === "close") this.#sessions.delete(hex(id));
      return this.#ask("Session", { session: id, verb });
    });
    this.#sessions.set(hex(id), session);
    await this.#ask("Open", { session: id, pool, ttl, affinity }, encodeBody(metadata));
    return session;
  }

  /** Ask the broker about itself: "pools", "workers", "requests", "sessions", "broker" and others. */
  query(what) {
    return this.#ask("Query", { what });
  }

  /** Have the broker do something, as an operator: `operate("scale", "general=4")`. */
  operate(verb, target = "") {
    return this.#ask("Operate", { verb, target });
  }

  /** Leave; what is unanswered fails as `unavailable`. */
  async close() {
    if (this.#closed) return;
    this.#outgoing.push(encodeMessage("Bye", {}));
    this.#wake();
    const until = performance.now() + LAST_WORDS_MS;
    while (this.#outgoing.length && performance.now() < until) await new Promise((go) => setTimeout(go, 5));
    this.#end(unavailable("this client is closed", "closed"));
  }

  /** @internal */
  async _welcomed(patience) {
    const waiting = this.#await(undefined, "welcome");
    const text = `no broker answers at ${this.#endpoint} within ${patience} s`;
    const late = setTimeout(() => this.#end(unavailable(text, "no_broker")), patience * 1000);
    await waiting.finally(() => clearTimeout(late));
  }

  // --- requests ---

  async #ask(type, fields, body = []) {
    const id = this.#ids++;
    return decodeBody((await this.#await(encodeMessage(type, { id, ...fields }, body), id)).body);
  }

  async #request(pool, command, args, { signal, onPart, grant, ...options }) {
    signal?.throwIfAborted();
    const id = this.#ids++;
    const body = encodeBody(args);
    const size = body.reduce((sum, frame) => sum + frame.length, 0);
    const limit = this.#welcome.max_message;
    if (size > limit) {
      const text = `the arguments take ${size} bytes; the broker accepts ${limit}`;
      throw new MaitredError("payload_too_large", text, { size, limit, what: "arguments" });
    }
    const cancel = () => this.#say(encodeMessage("Cancel", { id }));
    if (grant) grant.parts = (parts) => this.#outstanding.has(id) && this.#say(encodeMessage("Grant", { id, parts }));
    signal?.addEventListener("abort", cancel);
    try {
      return await this.#await(encodeMessage("Request", { id, pool, command, ...options }, body), id, onPart);
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  #await(message, id, onPart) {
    if (this.#closed) return Promise.reject(this.#closed);
    if (this.#outstanding.size === 0) this.#heardAt = performance.now(); // silence before that means nothing
    return new Promise((resolve, reject) => {
      this.#outstanding.set(id, { message, resolve, reject, onPart });
      if (message) this.#say(message, id);
    });
  }

  #settle(id, how, value) {
    this.#outstanding.get(id)?.[how](value);
    this.#outstanding.delete(id);
  }

  // --- what is said ---

  #say(frames, id) {
    if (this.#greeting) return this.#heldBack.push({ frames, id });
    this.#said.push({ frames, id });
    if (this.#said.length > REMEMBERED_MESSAGES) this.#said.shift();
    this.#outgoing.push(frames);
    return this.#wake();
  }

  #sayHello() {
    this.#spokeAt = performance.now();
    if (this.#outgoing.length) return; // nothing leaves just now: one more would not either
    this.#outgoing.push(this.#hello);
    this.#wake();
  }

  #tick() {
    const quiet = performance.now() - this.#spokeAt;
    if (this.#greeting) {
      if (quiet >= HELLO_INTERVAL_MS) this.#sayHello();
    } else if (this.#outstanding.size && quiet >= this.#welcome.interval * 1000 && !this.#outgoing.length) {
      this.#spokeAt = performance.now();
      this.#say(encodeMessage("Heartbeat", {}));
    }
    const silent = (performance.now() - this.#heardAt) / 1000;
    if (!this.#welcome || silent < this.#welcome.interval * this.#welcome.liveness + PATIENCE_S) return;
    this.#lose([...this.#outstanding.keys()], `no word from the broker for ${silent.toFixed()} s`);
  }

  async #write() {
    while (!this.#closed) {
      if (!this.#outgoing.length) await new Promise((go) => (this.#wake = go));
      if (!this.#outgoing.length) continue;
      try {
        await this.#socket.send(this.#outgoing[0]); // waits where there is no connection
      } catch (error) {
        if (error.code === "EAGAIN") continue;
        return this.#end(unavailable(`cannot send: ${error.message}`, "lost"));
      }
      this.#outgoing.shift();
    }
  }

  // --- what is heard ---

  async #read() {
    try {
      for await (const frames of this.#socket) this.#hear(decodeMessage(frames));
    } catch (error) {
      this.#end(error);
    }
  }

  #hear({ type, fields, body }) {
    this.#heardAt = performance.now();
    const { id } = fields;
    if (type === "Reply") this.#settle(id, "resolve", { body, ...fields });
    else if (type === "Part") this.#outstanding.get(id)?.onPart?.(decodeBody(body), fields.attempt);
    else if (type === "Error") this.#onError(fields, body);
    else if (type === "Stranger") this.#onStranger();
    else if (type === "Welcome") this.#onWelcome(fields);
    else if (type === "SessionEnded") this.#session(fields)?._ended(fields.reason, detailsOf(body));
    else if (type === "SessionMoved") this.#session(fields)?._moved(fields.epoch);
  }

  #session({ session }) {
    return this.#sessions.get(hex(session));
  }

  #onError({ id, code, message }, body) {
    const error = new MaitredError(code, message, detailsOf(body));
    if (id < 0) throw error; // of the connection
    this.#settle(id, "reject", error);
  }

  #onStranger() {
    this.#strangers += 1;
    if (this.#greeting) return;
    this.#greeting = true;
    this.#sayHello();
  }

  #onWelcome(fields) {
    const before = this.#welcome;
    this.#welcome = fields;
    if (!this.#greeting) return; // the answer to a HELLO that was said twice
    this.#greeting = false;
    const again = [...(this.#strangers ? this.#said.slice(-this.#strangers) : []), ...this.#heldBack];
    this.#strangers = 0;
    this.#said = [];
    this.#heldBack = [];
    this.#settle("welcome", "resolve", fields);
    const known = new Set(again.map(({ id }) => id));
    const why = before && hex(before.epoch) === hex(fields.epoch) ? "had taken this client for gone" : "was restarted";
    const lost = [...this.#outstanding.keys()].filter((id) => !known.has(id));
    this.#lose(lost, `the broker ${why}; the request may have run`);
    for (const { frames, id } of again) if (id === undefined || this.#outstanding.has(id)) this.#say(frames, id);
  }

  #lose(ids, text) {
    for (const id of ids) this.#settle(id, "reject", unavailable(text, "lost"));
  }

  async #watchHandshakes(keyed) {
    for await (const event of this.#socket.events) {
      // after these two libzmq does not try again
      if (event.type === "handshake:error:auth") this.#end(new MaitredError("unauthenticated", refusal(keyed)));
      if (event.type === "handshake:error:protocol") this.#end(new MaitredError("unauthenticated", mismatch(keyed)));
    }
  }

  #end(error) {
    if (this.#closed) return;
    this.#closed = error;
    clearInterval(this.#clock);
    this.#wake();
    for (const id of [...this.#outstanding.keys()]) this.#settle(id, "reject", error);
    this.#socket.close();
  }
}

const hex = (bytes) => Buffer.from(bytes).toString("hex");
const unavailable = (text, reason) => new MaitredError("unavailable", text, { reason });

function detailsOf(body) {
  try {
    return decodeBody(body) ?? {};
  } catch {
    return {}; // a worker wrote them: code and sentence still end the request
  }
}

const refusal = (keyed) =>
  keyed
    ? "the broker refused this key: have it added to its authorisation file, and that reloaded"
    : "the broker refused this process: it is not of the user who runs it, or the broker asks for keys";
const mismatch = (keyed) =>
  keyed
    ? "the broker has no keys: leave key and $MAITRED_KEY out"
    : "the broker asks for a key: pass key, or set $MAITRED_KEY";
