#!/bin/sh
# Builds the image of Containerfile from bin/bowline ('make build' makes it) and the
# certificates of this machine. Usage: contrib/container/build.sh [TAG] ; ENGINE=docker if
# there is no podman.
set -eu
cd "$(dirname "$0")/../.."
engine=${ENGINE:-podman}
tag=${1:-localhost/bowline:latest}
[ -x bin/bowline ] || { echo "first: make build" >&2; exit 1; }
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp bin/bowline "$context/bowline"
cp "${CERTIFICATES:-/etc/ssl/certs/ca-certificates.crt}" "$context/ca-certificates.crt"
echo 'bowline:x:65532:65532:Bowline:/var/lib/bowline:/sbin/nologin' >"$context/passwd"
mkdir -p "$context/tree/etc/bowline" "$context/tree/var/lib/bowline" "$context/tree/run/bowline" "$context/tree/tmp"
chmod 0755 "$context/bowline"
chmod 0700 "$context/tree/var/lib/bowline" "$context/tree/run/bowline" "$context/tree/tmp"
"$engine" build -t "$tag" -f contrib/container/Containerfile "$context"
