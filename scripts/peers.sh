#!/bin/sh
# Install the servers that `maitred bench` measures beside maitred: Debian packages, and no service of them is started.
set -eu

packages="nats-server rabbitmq-server redis-server"
without="Without them everything works but these peers: maitred bench and the tests skip nats, rabbitmq and celery."
policy=/usr/sbin/policy-rc.d # asked by Debian's packages before they start a service: 101 is no

wanted=""
for package in $packages; do
  dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || wanted="$wanted $package"
done
[ -n "$wanted" ] || { echo "peers: $packages are installed"; exit 0; }

if ! command -v apt-get >/dev/null; then
  echo "peers: there is no apt-get here; install$wanted in this system's own way. $without" >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "peers: only root can install$wanted: sudo make peers. $without" >&2
  exit 1
fi

if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # names, one word each
apt-get install -qq --yes --no-install-recommends $wanted >/dev/null
if [ -d /run/systemd/system ]; then # nor at the next boot
  systemctl disable --quiet $wanted
fi
echo "peers: installed$wanted; no service was started"
