#!/bin/sh
# Install the browser that the page is tested in: Debian's Chromium. Nothing but those tests needs it.
set -eu

without="Without it everything works but the tests of the page, and its screenshots."

if command -v chromium >/dev/null; then
  echo "browser: $(chromium --version 2>/dev/null | head -1) is installed"
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "browser: there is no apt-get here; install Chromium in this system's own way. $without" >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "browser: only root can install chromium: sudo make browser. $without" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --no-install-recommends chromium >/dev/null
echo "browser: installed $(chromium --version 2>/dev/null | head -1)"
