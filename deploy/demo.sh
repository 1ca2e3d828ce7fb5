#!/usr/bin/env bash
# Shows the whole of Upshift on this machine: installs what is missing, builds, and runs `upshift demo` on
# a throwaway PostgreSQL cluster. Arguments go to `upshift demo`, such as --rows 200000 or --workers 4.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=deploy/prepare.sh
. deploy/prepare.sh
prepare_machine
cargo build --release --locked --package upshift-coordinator --bin upshift
exec target/release/upshift demo "$@"
