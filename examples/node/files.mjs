// What a client finds in files: the broker of this host, and its own key (docs/protocol.md, Security considerations).

import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/**
 * What the broker of this host says of itself in its run directory.
 * @returns {{pid: number, clients: string[], workers: string[], secret?: string} | undefined} undefined: there is none
 */
export function readConnection(directory = runDirectory()) {
  try {
    if (isOthers(statSync(directory))) return undefined; // anybody could have written it
    const found = JSON.parse(readFileSync(join(directory, "broker.json"), "utf8"));
    process.kill(found.pid, 0); // throws where nobody has that id
    return found;
  } catch {
    return undefined;
  }
}

function runDirectory() {
  const { MAITRED_RUN_DIR, XDG_RUNTIME_DIR } = process.env;
  if (MAITRED_RUN_DIR) return MAITRED_RUN_DIR;
  const found = XDG_RUNTIME_DIR?.startsWith("/") && statSync(XDG_RUNTIME_DIR, { throwIfNoEntry: false });
  return found?.uid === process.getuid() ? join(XDG_RUNTIME_DIR, "maitred") : `/tmp/maitred-${process.getuid()}`;
}

const isOthers = ({ uid, mode }) => uid !== process.getuid() || (mode & 0o077) !== 0;

/**
 * The three lines of a key file: `public`, `secret`, and `server`, the broker's public key.
 * @throws {Error} it cannot be read, others may read it, or it is none; what is in it is never said
 */
export function readKey(path) {
  if (isOthers(statSync(path))) throw new Error(`others may read ${path}: chmod 600 it; make a new key if they have`);
  const lines = readFileSync(path, "utf8").matchAll(/^(public|secret|server) *= *(["'])(.{40})\2/gm);
  const key = Object.fromEntries([...lines].map(([, name, , value]) => [name, value]));
  if (Object.keys(key).length !== 3) throw new Error(`${path} is no key file: make one with \`maitred keys new\``);
  return key;
}
