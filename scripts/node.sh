#!/bin/sh
# Install what examples/node needs, as its lock file says. No package's install script runs: zeromq brings its binary.
set -eu

folder=$(dirname "$0")/../examples/node
without="Without it everything works but the example client and its tests."

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  echo "node: there is no Node.js with npm here; install version 20 or later. $without" >&2
  exit 1
fi
if ! node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)'; then
  echo "node: $(node --version) is too old; install version 20 or later. $without" >&2
  exit 1
fi
npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --loglevel=error
