// Messages and bodies of maitred's protocol: bytes and what they mean, nothing of sockets. See docs/protocol.md.

import { endianness } from "node:os";
import { decode, encode, ExtData } from "@msgpack/msgpack";

const MAGIC = Uint8Array.of(0x4d, 0x54, 0x01); // "MT", version 1
const MAX_FRAMES = 64; // of a message: the header, a value, 62 buffers
const MAX_HEADER_BYTES = 64 * 1024;
const OUT_OF_BAND_BYTES = 32 * 1024; // from here on binary data has a frame of its own
const MAX_DEPTH = 511; // of a value: not every peer accepts more
const MAX_ARRAY_DIMENSIONS = 32;
const [EXT_BUFFER, EXT_ARRAY] = [1, 2];

/** Whatever went wrong with a request: `code` for programs, `message` for people, `details` as the page lists them. */
export class MaitredError extends Error {
  /**
   * @param {string} code one of the codes of docs/protocol.md, or one that a worker made up
   * @param {string} message a sentence for a person
   * @param {Record<string, any>} [details] what it was made from
   */
  constructor(code, message, details = {}) {
    super(message);
    this.name = "MaitredError";
    this.code = code;
    this.details = details;
  }

  /** Seconds after which there is room for this caller; undefined where the broker knows no honest figure. */
  get retryAfter() {
    const found = this.details.retry_after;
    return typeof found === "number" && found >= 0 ? found : undefined;
  }
}

const broken = (what) => new MaitredError("protocol_error", what);

// --- messages ---

const int = (low, high = Number.MAX_SAFE_INTEGER) => (it) => Number.isSafeInteger(it) && it >= low && it <= high;
const seconds = (it) => typeof it === "number" && it >= 0 && it <= 604_800;
const text = (it) => typeof it === "string";
const bool = (it) => typeof it === "boolean";
const id128 = (it) => it instanceof Uint8Array && it.length === 16;
const orNil = (check) => (it) => it === null || check(it);

/** What a client sends: its number, and in their order the default of each field, undefined where it must be given. */
const SENT = {
  Heartbeat: [1, {}],
  Bye: [2, {}],
  Hello: [
    10,
    { client: undefined, software: "", host: "", pid: 0, name: "", clock: "", bundles: false, secret: "" },
  ],
  Request: [
    11,
    {
      id: undefined, pool: undefined, command: undefined, timeout: null, window: 0, idempotent: null, attempts: 0,
      priority: 1, ticket: 0, due: 0, session: null, affinity: null, trace: "",
    },
  ],
  Cancel: [12, { id: undefined }],
  Grant: [13, { id: undefined, parts: undefined }],
  Query: [14, { id: undefined, what: undefined }],
  Watch: [15, { id: undefined, pool: undefined }],
  Listen: [19, { id: undefined, names: [], after: null, epoch: null, follow: true, window: 0 }],
  Operate: [16, { id: undefined, verb: undefined, target: undefined }],
  Open: [17, { id: undefined, session: undefined, pool: undefined, ttl: null, affinity: null }],
  Session: [18, { id: undefined, session: undefined, verb: undefined }],
};

/** What a client is sent: of each field what it has to be, and the default where it may be left out. */
const RECEIVED = {
  1: ["Heartbeat", {}],
  2: ["Bye", {}],
  20: [
    "Welcome",
    { epoch: [id128], interval: [seconds], liveness: [int(1, 1000)], max_message: [int(0)], software: [text, ""],
      bundles: [bool, false], events: [bool, false] },
  ],
  21: ["Part", { id: [int(0)], attempt: [int(1, 1000)], number: [int(0)] }],
  22: ["Reply", { id: [int(0)], attempt: [int(1, 1000), 1], level: [int(0, 2), 0], epoch: [int(0), 0] }],
  23: ["Error", { id: [int(-1)], code: [text], message: [text], level: [int(0, 2), 0] }],
  24: ["Stranger", {}],
  25: [
    "Pressure",
    { id: [int(0)], pool: [text], level: [int(0, 2)], queued: [int(0)], capacity: [int(0)],
      retry_after: [orNil(seconds), null] },
  ],
  26: ["SessionEnded", { session: [id128], reason: [text] }],
  27: ["SessionMoved", { session: [id128], epoch: [int(0)], answered: [int(0), 0], kept: [int(0), 0] }],
};
const WITH_BODY = new Set(["Request", "Open", "Part", "Reply", "Error", "SessionEnded"]);

/**
 * Encode a message.
 * @param {string} type its name, as "Request"
 * @param {Record<string, any>} fields by name; those that are left out have their defaults
 * @param {Uint8Array[]} [body] what `encodeBody` made
 * @returns {Uint8Array[]} the frames
 */
export function encodeMessage(type, fields, body = []) {
  const [number, defaults] = SENT[type];
  const values = Object.entries(defaults).map(([name, value]) => (fields[name] === undefined ? value : fields[name]));
  if (values.includes(undefined)) throw new TypeError(`${type} lacks one of ${Object.keys(defaults).join(", ")}`);
  return [Buffer.concat([MAGIC, pack(outward([number, ...values]))]), ...body];
}

/**
 * Decode a message to a client.
 * @param {Uint8Array[]} frames
 * @returns {{type: string, fields: Record<string, any>, body: Uint8Array[]}}
 * @throws {MaitredError} `protocol_error`: it is none
 */
export function decodeMessage([header, ...body]) {
  if (!header || header.length > MAX_HEADER_BYTES || body.length >= MAX_FRAMES) throw broken("too little or too much");
  if (Buffer.compare(header.subarray(0, 3), MAGIC)) throw broken("another protocol, or another version of it");
  const array = inward(unpack(header.subarray(3)), []);
  const known = Array.isArray(array) && RECEIVED[array[0]];
  if (!known) throw broken("a header that is no message to a client");
  const [type, checks] = known;
  if (body.length > 0 !== WITH_BODY.has(type)) throw broken(`${type} with a body that it has not, or without its own`);
  const fields = {};
  for (const [place, [name, [check, otherwise]]] of Object.entries(checks).entries()) {
    const value = place + 1 < array.length ? array[place + 1] : otherwise;
    if (value === undefined || !check(value)) throw broken(`${type}: ${name} is missing or wrong`);
    fields[name] = value;
  }
  return { type, fields, body };
}

// --- bodies ---

const TYPED = {
  f8: Float64Array, f4: Float32Array,
  i8: BigInt64Array, i4: Int32Array, i2: Int16Array, i1: Int8Array,
  u8: BigUint64Array, u4: Uint32Array, u2: Uint16Array, u1: Uint8Array,
};
const ORDER = endianness() === "LE" ? "<" : ">";

/** An array of numbers with a shape, as NumPy's: what a worker sends of one, and what it takes for one. */
export class NdArray {
  /**
   * @param {string} dtype NumPy's type string, as "<f8"
   * @param {number[]} shape
   * @param {Uint8Array} data its bytes, in C order
   */
  constructor(dtype, shape, data) {
    const [, size, unit] = /^[<>|][biufcSUmM](\d+)(\[\w+\])?$/.exec(dtype) ?? [];
    if (!size || (unit && !"mM".includes(dtype[1]))) throw broken(`dtype ${dtype}`);
    if (shape.length > MAX_ARRAY_DIMENSIONS || !shape.every(int(0))) throw broken(`shape ${shape}`);
    const itemsize = Number(size) * (dtype[1] === "U" ? 4 : 1);
    const needed = shape.reduce((product, n) => product * n, itemsize);
    if (needed !== data.length) throw broken(`an array of ${needed} bytes in ${data.length} bytes`);
    Object.assign(this, { dtype, shape, data });
  }

  /** Of a typed array: one dimension. */
  static from(typed) {
    const [name] = Object.entries(TYPED).find(([, kind]) => typed instanceof kind) ?? [];
    const order = typed.BYTES_PER_ELEMENT === 1 ? "|" : ORDER;
    return new NdArray(order + name, [typed.length], new Uint8Array(typed.buffer, typed.byteOffset, typed.byteLength));
  }

  /** The numbers, all dimensions in one: a typed array. Undefined where JavaScript has none of the kind. */
  get values() {
    const kind = TYPED[this.dtype.slice(1)];
    if (!kind || (this.dtype[0] !== ORDER && kind.BYTES_PER_ELEMENT > 1)) return undefined;
    const { data } = this;
    const at = data.byteOffset % kind.BYTES_PER_ELEMENT ? new Uint8Array(data) : data; // must be aligned
    return new kind(at.buffer, at.byteOffset, at.length / kind.BYTES_PER_ELEMENT);
  }
}

/**
 * Encode a value: nil, booleans, numbers, bigints, text, Buffers, Dates, arrays, plain objects, typed arrays and
 * `NdArray`s. Large binary data is not copied: leave it as it is until the answer has come.
 * @returns {Uint8Array[]} body frames
 */
export function encodeBody(value) {
  const buffers = [];
  return [pack(outward(value, buffers)), ...buffers];
}

/**
 * Decode a body. Integers come as numbers, those that are not safe as bigints; points in time as Dates.
 * @param {Uint8Array[]} frames
 * @throws {MaitredError} `protocol_error`: it is broken
 */
export function decodeBody(frames) {
  if (frames.length === 0) throw broken("a body of no frames");
  return inward(unpack(frames[0]), frames);
}

const pack = (value) => encode(value, { useBigInt64: true, maxDepth: MAX_DEPTH + 1 });

function unpack(bytes) {
  try {
    return decode(bytes, { useBigInt64: true, maxArrayLength: bytes.length, maxMapLength: bytes.length });
  } catch (error) {
    throw broken(`no msgpack: ${error.message}`);
  }
}

/** A value as the msgpack library takes it: integers in their shortest form, large data moved to `buffers`. */
function outward(value, buffers = undefined) {
  if (typeof value === "bigint") return needs64Bits(value) ? value : Number(value);
  if (typeof value === "number") return Number.isSafeInteger(value) && needs64Bits(value) ? BigInt(value) : value;
  if (typeof value === "function" || typeof value === "symbol") throw new TypeError(`a ${typeof value} cannot be sent`);
  if (value === null || typeof value !== "object" || value instanceof Date) return value;
  if (value instanceof ArrayBuffer) return outward(new Uint8Array(value), buffers);
  if (value instanceof Uint8Array) return binary(value, buffers);
  if (ArrayBuffer.isView(value)) return outward(NdArray.from(value), buffers);
  if (value instanceof NdArray) {
    const { dtype, shape, data } = value;
    return new ExtData(EXT_ARRAY, pack([dtype, shape, binary(data, buffers)]));
  }
  if (Array.isArray(value)) return value.map((item) => outward(item, buffers));
  if (value instanceof Map || value instanceof Set) throw new TypeError("send a Map or a Set as object or array");
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, outward(item, buffers)]));
}

// the library writes larger numbers as floats
const needs64Bits = (integer) => integer < -(2 ** 31) || integer >= 2 ** 32;

function binary(bytes, buffers) {
  if (!buffers || bytes.length < OUT_OF_BAND_BYTES || buffers.length >= MAX_FRAMES - 2) return bytes;
  return new ExtData(EXT_BUFFER, pack(buffers.push(bytes)));
}

/** What the msgpack library gave as the value that was meant, with its buffers put in. */
function inward(value, frames, depth = 0) {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (value === null || typeof value !== "object" || value instanceof Uint8Array || value instanceof Date) return value;
  if (depth >= MAX_DEPTH) throw broken(`nested deeper than ${MAX_DEPTH} levels`);
  if (value instanceof ExtData) return extension(value, frames);
  if (Array.isArray(value)) return value.map((item) => inward(item, frames, depth + 1));
  for (const key of Object.keys(value)) value[key] = inward(value[key], frames, depth + 1);
  return value;
}

function extension({ type, data }, frames, inside = false) {
  const payload = unpack(data);
  if (type === EXT_BUFFER) {
    if (!int(1, frames.length - 1)(payload)) throw broken(`a value refers to frame ${payload} of ${frames.length}`);
    return frames[payload];
  }
  if (type !== EXT_ARRAY || inside) throw broken(`unknown extension type ${type}`);
  const [dtype, shape, raw] = Array.isArray(payload) && payload.length === 3 ? payload : [];
  const bytes = raw instanceof ExtData ? extension(raw, frames, true) : raw;
  if (!text(dtype) || !Array.isArray(shape) || !(bytes instanceof Uint8Array)) throw broken("an array that is none");
  return new NdArray(dtype, shape, bytes);
}
