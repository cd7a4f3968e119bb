// Call a command from the shell:  node call.mjs POOL COMMAND '{"argument": 1}' [--stream] [--key FILE] …

import { parseArgs } from "node:util";
import { connect, MaitredError } from "./maitred.mjs";

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    endpoint: { type: "string" }, // tcp://host:port; else $MAITRED_ENDPOINT, else the broker of this host
    key: { type: "string" },
    timeout: { type: "string" }, // seconds for the call
    patience: { type: "string", default: "10" }, // seconds for the broker to answer
    stream: { type: "boolean" }, // print parts as they come
  },
});
const [pool, command, args = "{}"] = positionals;
if (!command) {
  console.error(`usage: node call.mjs POOL COMMAND ['{"argument": 1}'] [--stream] [--timeout S] [--endpoint E] …`);
  process.exit(2);
}

const print = (value) =>
  console.log(JSON.stringify(value, (_, it) => (typeof it === "bigint" ? it.toString() : it)) ?? "null");
const options = { timeout: given.timeout && Number(given.timeout), signal: untilInterrupted() };
let client;
try {
  client = await connect({ ...given, patience: Number(given.patience) });
  if (given.stream) {
    const stream = client.stream(pool, command, JSON.parse(args), options);
    for await (const part of stream) print(part);
    print(await stream.result);
  } else {
    print(await client.call(pool, command, JSON.parse(args), options));
  }
} catch (error) {
  console.error(error instanceof MaitredError ? `${error.code}: ${error.message}` : `${error}`);
  process.exitCode = 1;
} finally {
  await client?.close();
}

/** Ctrl-C stops the work too, not this process alone. */
function untilInterrupted() {
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort());
  return stop.signal;
}
