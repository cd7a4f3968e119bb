// The vectors of docs/protocol-vectors.json, as far as they are a client's: what it sends, what it is sent, bodies.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { decodeBody, decodeMessage, encodeBody, encodeMessage, MaitredError, NdArray } from "./wire.mjs";

/** What this client does not do as the page says, and why. */
const EXCEPTIONS = {
  "a map with other keys than text": "the keys of JavaScript's objects are text",
  "text that is not UTF-8": "the msgpack library does not check it",
};
const TO_CLIENT = "broker to client";
const FROM_CLIENT = "client to broker";

/** What is done with the entries of each section; those that are not a client's are counted as such. */
const SECTIONS = {
  messages: { when: ({ direction }) => [TO_CLIENT, FROM_CLIENT].includes(direction), check: checkMessage },
  accepted_messages: { when: ({ direction }) => direction === TO_CLIENT, check: checkReceived },
  invalid_messages: { when: ({ direction }) => direction === TO_CLIENT, check: refused(decodeMessage) },
  bundles: { when: () => false }, // it does not say that it takes any
  invalid_bundles: { when: () => false },
  bodies: { check: checkBody },
  accepted_bodies: { check: checkReceivedBody },
  invalid_bodies: { check: refused(decodeBody) },
  majordomo: { when: () => false }, // another protocol
};

/**
 * Check all entries that are a client's, and say how many there were.
 * @param {string} file of the vectors
 * @returns {number} how many failed
 */
export function checkVectors(file) {
  const vectors = JSON.parse(withWideIntegers(readFileSync(file, "utf8")));
  let failed = 0;
  for (const [section, entries] of Object.entries(vectors).filter(([name]) => name !== "about")) {
    const { when = () => true, check } = SECTIONS[section] ?? { when: () => false };
    const own = entries.filter(when);
    const wrong = own.filter((entry) => !passes(section, entry, check));
    failed += wrong.length;
    const other = entries.length - own.length;
    console.log(`${section}: ${own.length} checked, ${wrong.length} failed, ${other} of other peers`);
  }
  return failed;
}

function passes(section, entry, check) {
  const name = entry.about ?? entry.reason ?? entry.type;
  let wrong;
  try {
    check(entry);
  } catch (error) {
    wrong = error;
  }
  const known = EXCEPTIONS[name];
  if (known && wrong) console.log(`known: ${section}, ${name}: ${known}`);
  else if (known) console.log(`FAILED ${section}, ${name}: is known as an exception, and is none`);
  else if (wrong) console.log(`FAILED ${section}, ${name}: ${wrong.stack}`);
  return Boolean(known) === Boolean(wrong);
}

function checkMessage(entry) {
  if (entry.direction === TO_CLIENT) return checkReceived(entry);
  const body = "body" in entry ? encodeBody(valueOf(entry.body)) : [];
  sameBytesOrMeaning(encodeMessage(entry.type, valueOf(entry.fields), body), framesOf(entry), (frames) => [
    decodeBody([frames[0].subarray(3)]),
    frames.length > 1 && decodeBody(frames.slice(1)),
  ]);
}

function checkReceived(entry) {
  const { type, fields, body } = decodeMessage(framesOf(entry));
  assert.deepEqual({ type, fields }, { type: entry.type, fields: valueOf(entry.fields) });
  if ("body" in entry) assert.deepEqual(decodeBody(body), valueOf(entry.body));
}

function checkBody(entry) {
  checkReceivedBody(entry);
  sameBytesOrMeaning(encodeBody(valueOf(entry.value)), framesOf(entry), decodeBody);
}

function checkReceivedBody(entry) {
  assert.deepEqual(decodeBody(framesOf(entry)), valueOf(entry.value));
}

function refused(decode) {
  return (entry) => assert.throws(() => decode(framesOf(entry)), (error) => error instanceof MaitredError);
}

/** JavaScript has one kind of number: 1.0 is sent as 1, which means the same (and -0.0 as 0). */
function sameBytesOrMeaning(made, wanted, meaning) {
  const same = made.length === wanted.length && made.every((frame, n) => Buffer.compare(frame, wanted[n]) === 0);
  if (!same) assert.deepEqual(positive(meaning(made)), positive(meaning(wanted)));
}

const positive = (value) =>
  Array.isArray(value) ? value.map(positive) : Object.is(value, -0) ? 0 : value;

// --- how the file writes values ---

/** JSON's numbers are read as floats: those that these cannot hold become text that `valueOf` knows. */
const withWideIntegers = (json) =>
  json.replace(/(?<=[[,:] ?)-?\d{16,}(?=[,\]}])/g, (digits) => `{"$int": "${digits}"}`);

const framesOf = ({ frames }) => frames.map(frameOf);

function frameOf(written) {
  if (typeof written === "string") return Buffer.from(written, "hex");
  return Buffer.concat(written.map(([digits, times]) => Buffer.alloc((digits.length / 2) * times, digits, "hex")));
}

function valueOf(written) {
  if (written === null || typeof written !== "object") return written;
  if (Array.isArray(written)) return written.map(valueOf);
  const [[kind, value] = []] = Object.entries(written);
  if (kind === "$bytes") return frameOf(value);
  if (kind === "$int") return Number.isSafeInteger(Number(value)) ? Number(value) : BigInt(value);
  if (kind === "$float") return Number(value.replace("inf", "Infinity").replace("nan", "NaN"));
  if (kind === "$timestamp") return new Date(value);
  if (kind === "$array") return new NdArray(value.dtype, value.shape, frameOf(value.data));
  if (kind === "$map") throw new TypeError("a map with other keys than text");
  return Object.fromEntries(Object.entries(written).map(([key, item]) => [key, valueOf(item)]));
}
