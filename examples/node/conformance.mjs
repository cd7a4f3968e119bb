// Is this client right? Against the vectors of the protocol, then against a live broker with the pools of maitred.toml.
//
//   node conformance.mjs [--endpoint E] [--key FILE] [--vectors FILE | --no-live] [--restart]
//
// --restart kills the local broker, twice: `maitred up` starts it again, and the client has to find it.

import assert from "node:assert/strict";
import { parseArgs } from "node:util";
import { checkVectors } from "./conformance_vectors.mjs";
import { connect, NdArray, readConnection } from "./maitred.mjs";

const { values: given } = parseArgs({
  options: {
    endpoint: { type: "string" },
    key: { type: "string" },
    vectors: { type: "string", default: new URL("../../docs/protocol-vectors.json", import.meta.url).pathname },
    "no-live": { type: "boolean" },
    restart: { type: "boolean" },
  },
});
const LIVE = [
  ["a call", async (client) => assert.equal(await client.call("general", "echo", { value: "Hello" }), "Hello")],
  ["a call by the routing table", async (client) => assert.equal(await client.call(null, "echo", { value: 1 }), 1)],
  ["odd values come back as they went", oddValues],
  ["binary data in band and out of it", binaryData],
  ["arrays of numbers", arrays],
  ["answers in any order", answersInAnyOrder],
  ["a stream of 1,000 parts with a slow reader", slowReader],
  ["a stream that is left early is stopped", leftEarly],
  ["a request is cancelled", cancelled],
  ["a signal that was given before", givenBefore],
  ["a deadline", deadline],
  ["an unknown pool", (client) => fails(client.call("genral", "echo"), "unknown_pool", { nearest: "general" })],
  ["an unknown command", (client) => fails(client.call("general", "ecko"), "unknown_command", { nearest: "echo" })],
  ["a wrong argument", wrongArgument],
  ["what a function raises", raised],
  ["a full pool says when to come back", fullPool],
  ["a session", session],
  ["a session that is closed", closedSession],
  ["a table of the broker", table],
  ["an idle client is not given up", idle],
  ...(given.restart ? [["the broker is killed: the next call is answered", killedWhileIdle]] : []),
  ...(given.restart ? [["the broker is killed again: what runs is lost, and said to be", killedAmid]] : []),
];
const sleep = (seconds) => new Promise((go) => setTimeout(go, seconds * 1000));

/** It fails with this code and these details, and the error is returned. */
async function fails(promise, code, details = {}) {
  const error = await promise.then((value) => assert.fail(`${code} expected, came ${value}`), (caught) => caught);
  assert.equal(error.code, code, error.stack);
  for (const [name, value] of Object.entries(details)) assert.deepEqual(error.details[name], value);
  return error;
}

async function oddValues(client) {
  const values = [
    null, true, false, 0, -1, 127, 128, -32, -33, 65_535, 65_536, 2 ** 31, 2 ** 32, 2 ** 40, -(2 ** 40),
    Number.MAX_SAFE_INTEGER, 2n ** 63n, 2n ** 64n - 1n, -(2n ** 63n), 1.5, -0.25, 1e300, 5e-324,
    Infinity, -Infinity, NaN,
    "", "é", "日本", "😀", "a\u0000b", "x".repeat(100_000),
    [], {}, [[]], { "": { a: [null, { b: [] }] } }, Array.from({ length: 5000 }, (_, n) => n),
    new Date("2024-02-29T12:30:15.250Z"), new Date(-1000),
  ];
  assert.deepEqual(await client.call("general", "echo", { value: values }), values);
  for (const value of values) assert.deepEqual(await client.call("general", "echo", { value }), value);
}

async function binaryData(client) {
  for (const size of [0, 1, 32_767, 32_768, 1024 * 1024]) {
    const data = Buffer.alloc(size, "ab");
    assert.ok(data.equals(await client.call("general", "echo", { value: data })), `${size} bytes`);
  }
  const many = Array.from({ length: 70 }, (_, n) => Buffer.alloc(40_000, n)); // more than a message has frames
  const back = await client.call("general", "echo", { value: { many } });
  assert.ok(many.every((data, n) => data.equals(back.many[n])));
}

async function arrays(client) {
  const large = new Float32Array(20_000).fill(1.5);
  for (const sent of [Float64Array.of(1, 2.5, -0.5), large, BigInt64Array.of(-1n), Int16Array.of(-5, 7)]) {
    const { dtype, shape, values } = await client.call("general", "echo", { value: sent });
    assert.deepEqual([dtype, shape, values], [NdArray.from(sent).dtype, [sent.length], sent]);
  }
  const matrix = new NdArray("<i4", [2, 3], new Uint8Array(Int32Array.of(1, 2, 3, 4, 5, 6).buffer));
  const back = await client.call("general", "echo", { value: [matrix] });
  assert.deepEqual([back[0].shape, [...back[0].values]], [[2, 3], [1, 2, 3, 4, 5, 6]]);
}

async function answersInAnyOrder(client) {
  const order = [];
  const slow = client.call("narrow", "nap", { seconds: 0.3 }).then(() => order.push("slow"));
  const quick = Array.from({ length: 20 }, (_, n) => client.call("general", "echo", { value: n }));
  assert.deepEqual(await Promise.all(quick), Array.from({ length: 20 }, (_, n) => n));
  order.push("quick");
  await slow;
  assert.deepEqual(order, ["quick", "slow"]);
}

async function slowReader(client) {
  const stream = client.stream("general", "count", { n: 1000 }, { window: 8 });
  const parts = [];
  for await (const part of stream) {
    parts.push(part);
    if (part % 100 === 0) await sleep(0.02);
  }
  assert.deepEqual(parts, Array.from({ length: 1000 }, (_, n) => n));
  assert.equal(await stream.result, 1000);
}

async function leftEarly(client) {
  const stream = client.stream("general", "count", { n: 1e6 }, { window: 4 });
  for await (const part of stream) if (part === 10) break;
  await fails(stream.result, "cancelled");
}

async function cancelled(client) {
  const stop = new AbortController();
  const nap = client.call("general", "nap", { seconds: 30 }, { signal: stop.signal });
  setTimeout(() => stop.abort(), 50);
  const error = await fails(nap, "cancelled");
  assert.ok(["removed", "stopped", "interrupted"].includes(error.details.outcome), error.details.outcome);
}

async function givenBefore(client) {
  const call = client.call("general", "echo", { value: 1 }, { signal: AbortSignal.abort() });
  await assert.rejects(call, { name: "AbortError" });
}

async function deadline(client) {
  const error = await fails(client.call("general", "nap", { seconds: 30 }, { timeout: 0.1 }), "deadline_exceeded");
  assert.equal(error.details.where, "running");
}

async function wrongArgument(client) {
  const nap = client.call("general", "nap", { seconds: "x" });
  await fails(nap, "invalid_argument", { argument: "seconds" });
}

async function table(client) {
  const names = (await client.query("pools")).map(({ name }) => name);
  assert.ok(names.includes("general") && names.includes("narrow"), names);
}

async function raised(client) {
  const failing = client.call("general", "fail", { text: "no such row" });
  const error = await fails(failing, "application_error", { type: "ValueError" });
  assert.match(error.details.traceback, /no such row/);
}

async function fullPool(client) {
  const nap = (options) => client.call("narrow", "nap", { seconds: 0.05 }, options);
  for (let n = 0; n < 5; n++) await Promise.all([nap(), nap()]); // so that the broker knows its pace
  const answers = await Promise.allSettled(Array.from({ length: 6 }, () => nap()));
  const refused = answers.filter(({ status }) => status === "rejected").map(({ reason }) => reason);
  assert.equal(refused.length, 4);
  for (const { code, details } of refused) {
    assert.deepEqual([code, details.reason], ["resource_exhausted", "queue_full"]);
  }
  const [{ retryAfter, details }] = refused;
  assert.ok(retryAfter > 0, "a pool whose pace is known says when there is room");
  await sleep(retryAfter);
  assert.equal(await nap({ ticket: details.ticket }), 0.05);
}

async function session(client) {
  const one = await client.open("general", { ttl: 60, metadata: { user: "ada" } });
  const other = await client.open("general");
  const sums = await Promise.all([1, 2, 3].map((by) => one.call("add", { by })));
  assert.deepEqual(sums, [1, 3, 6], "in the order sent, on one worker");
  assert.equal(await other.call("add", { by: 5 }), 5);
  await one.renew();
  await Promise.all([one.close(), other.close()]);
}

async function closedSession(client) {
  const one = await client.open("general");
  await one.close();
  await fails(one.call("add", { by: 1 }), "session_not_found");
}

async function idle(client) {
  await sleep(1.5); // longer than an interval
  assert.equal(await client.call("general", "echo", { value: 1 }), 1);
}

/** The new broker has never heard of this client, which says HELLO and its request again. */
async function killedWhileIdle(client) {
  const { pid } = readConnection();
  process.kill(pid, "SIGKILL");
  while ((readConnection()?.pid ?? pid) === pid) await sleep(0.05); // else the request may go to the one that dies
  assert.equal(await client.call("general", "echo", { value: "again" }, { timeout: 20 }), "again");
}

async function killedAmid(client) {
  const running = client.call("general", "nap", { seconds: 5 });
  running.catch(() => {});
  await client.call("general", "echo", { value: "it was sent before this" });
  process.kill(readConnection().pid, "SIGKILL");
  await fails(running, "unavailable", { reason: "lost" });
  assert.equal(await client.call("general", "echo", { value: "again" }, { timeout: 20 }), "again");
}

async function checkLive() {
  const client = await connect(given).catch((error) => console.log(`FAILED to connect: ${error}`));
  if (!client) return 1;
  let failed = 0;
  try {
    for (const [name, check] of LIVE) {
      const began = performance.now();
      const wrong = await check(client).then(() => undefined, (error) => error);
      console.log(`${wrong ? "FAILED" : "ok"}  ${name} (${(performance.now() - began).toFixed()} ms)`);
      if (wrong) console.log(wrong.stack);
      failed += Boolean(wrong);
    }
  } finally {
    await client.close();
  }
  console.log(`live: ${LIVE.length - failed} passed, ${failed} failed`);
  return failed;
}

const failed = checkVectors(given.vectors) + (given["no-live"] ? 0 : await checkLive());
process.exitCode = failed ? 1 : 0;
