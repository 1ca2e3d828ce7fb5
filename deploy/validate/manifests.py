"""Whether rendered manifests are right: by the schemas of Kubernetes and of custom resources, and by policies.

Usage: manifests.py FOLDER KUBERNETES_VERSION… reads FOLDER/*.yaml, and writes the upshift.toml files in
their ConfigMaps below FOLDER/configurations. Prints findings, one a line, and fails where there is any.
"""

import importlib
import sys
import tomllib
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

# Pod Security Standards, restricted: the kinds of volumes that pods may have.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
# Where the schemas of custom resources are.
CUSTOM = {
    "ScaledObject": "cloudcoil.models.keda.v1alpha1",
    "PodMonitor": "cloudcoil.models.prometheus_operator.v1",
}
WORKLOADS = ("Deployment", "StatefulSet")


def custom_schema(document):
    """The schema of a custom resource, where no property that it does not name may stand."""
    # They take seconds to load.
    models = importlib.import_module(CUSTOM[document["kind"]])
    schema = getattr(models, document["kind"]).model_json_schema(by_alias=True)
    for part in [schema, *schema["$defs"].values()]:
        if "properties" in part:
            part.setdefault("additionalProperties", False)
    return schema


def schema_findings(document, versions):
    try:
        if document["kind"] in CUSTOM:
            jsonschema.validate(document, custom_schema(document))
            return
        for version in versions:
            kubernetes_validate.validate(document, version, strict=True)
    except jsonschema.ValidationError as error:
        yield f"{error.json_path}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        yield error.message


def restricted(pod):
    """What Pod Security Standards, restricted, and this project ask of pods."""
    security = pod.get("securityContext", {})
    rules = {
        "automountServiceAccountToken: false": pod.get("automountServiceAccountToken") is False,
        "a service account of its own": pod.get("serviceAccountName", "default") != "default",
        "runAsNonRoot: true": security.get("runAsNonRoot") is True,
        "runAsUser other than 0": security.get("runAsUser", 0) != 0,
        "seccompProfile RuntimeDefault": security.get("seccompProfile") == {"type": "RuntimeDefault"},
        "the host's namespaces": not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")),
        "volumes of known kinds": all(set(volume) - {"name"} <= VOLUMES for volume in pod["volumes"]),
        "time to drain": pod.get("terminationGracePeriodSeconds", 30) >= 60,
    }
    for container in pod["containers"] + pod.get("initContainers", []):
        own = container.get("securityContext", {})
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        rules |= {
            "allowPrivilegeEscalation: false": own.get("allowPrivilegeEscalation") is False,
            "readOnlyRootFilesystem: true": own.get("readOnlyRootFilesystem") is True,
            "drop: [ALL]": own.get("capabilities") == {"drop": ["ALL"]},
            "no privileged container": not own.get("privileged"),
            "no port of the host": not any("hostPort" in port for port in container.get("ports", [])),
            "a limit of memory": "memory" in container["resources"]["limits"],
            "requests": {"cpu", "memory"} <= set(container["resources"]["requests"]),
            "volumes that are mounted": mounted == {volume["name"] for volume in pod["volumes"]},
            "no secret in the environment": not any(
                "secretKeyRef" in variable.get("valueFrom", {}) for variable in container.get("env", [])
            ),
            "an image of one version": ":" in container["image"] and not container["image"].endswith(":latest"),
        }
    return [f"it lacks: {rule}" for rule, holds in rules.items() if not holds]


def selects(selector, labels):
    return set(selector.get("matchLabels", selector).items()) <= set(labels.items())


def of_kind(documents, *kinds):
    return [document for document in documents if document["kind"] in kinds]


def named(documents, kind, name):
    return next((d for d in of_kind(documents, kind) if d["metadata"]["name"] == name), None)


def labels_of(workload):
    return workload["spec"]["template"]["metadata"]["labels"]


def reference_findings(documents):
    """What names something that is not there, or selects nothing."""
    workloads = of_kind(documents, *WORKLOADS)
    for document in of_kind(documents, "Service", "PodDisruptionBudget", "NetworkPolicy", "PodMonitor"):
        spec = document["spec"]
        selector = spec["podSelector"] if document["kind"] == "NetworkPolicy" else spec["selector"]
        if not any(selects(selector, labels_of(workload)) for workload in workloads):
            yield document, "it selects no pod"
    for document in of_kind(documents, "HorizontalPodAutoscaler", "ScaledObject"):
        target = document["spec"]["scaleTargetRef"]
        workload = named(documents, target["kind"], target["name"])
        if workload is None:
            yield document, "what it scales is not there"
        elif "replicas" in workload["spec"]:
            yield document, f"{workload['kind']} says how many replicas there are, and so does this"
    for workload in workloads:
        pod = workload["spec"]["template"]["spec"]
        if not selects(workload["spec"]["selector"], labels_of(workload)):
            yield workload, "it does not select its own pods"
        if named(documents, "ServiceAccount", pod["serviceAccountName"]) is None:
            yield workload, "its service account is not there"
        for number in range(workload["spec"].get("replicas", 1)):
            yield from configuration_findings(documents, workload, pod, number)


def configuration_findings(documents, workload, pod, number):
    """Whether the configuration that it is told is there, and names it where it advertises itself."""
    name = f"{workload['metadata']['name']}-{number}"
    arguments = pod["containers"][0]["args"]
    path = Path(arguments[arguments.index("--config") + 1].replace("$(POD_NAME)", name))
    volume = next(volume for volume in pod["volumes"] if volume["name"] == "configuration")
    config_map = named(documents, "ConfigMap", volume["configMap"]["name"])
    text = (config_map or {"data": {}})["data"].get(path.name)
    if text is None:
        yield workload, f"{path} is not there"
        return
    advertised = tomllib.loads(text)["cluster"].get("advertise")
    service = workload["spec"].get("serviceName")
    host = f"https://{name}.{service}.{workload['metadata']['namespace']}.svc:7432"
    if service and (advertised != host or named(documents, "Service", service) is None):
        yield workload, f"{path} advertises {advertised}, where {host} leads to it"


def network_findings(documents):
    """Whether nobody may talk to anybody, but who has to."""
    policies = of_kind(documents, "NetworkPolicy")
    for workload in of_kind(documents, *WORKLOADS):
        own = [p["spec"] for p in policies if selects(p["spec"]["podSelector"], labels_of(workload))]
        closed = [p for p in own if not p.get("ingress") and not p.get("egress")]
        if not any(set(p["policyTypes"]) == {"Ingress", "Egress"} for p in closed):
            yield workload, "no network policy denies what others do not allow"
        ways_out = [rule for policy in own for rule in policy.get("egress", [])]
        ports = {port.get("port") for rule in ways_out for port in rule.get("ports", [{}])}
        part = labels_of(workload)["app.kubernetes.io/component"]
        wanted = {53, 5432, 7432} | ({2379} if part == "coordinator" else set())
        if not wanted <= ports or None in ports:
            yield workload, f"it may go to the ports {sorted(map(str, ports))}, and needs {sorted(wanted)}"
        if part != "coordinator" and 2379 in ports:
            yield workload, "it may go to etcd, and has no business there"


def findings(documents, versions):
    wrong = [(document, message) for document in documents for message in schema_findings(document, versions)]
    yield from wrong
    if wrong:
        # What follows takes the schemas for granted.
        return
    for workload in of_kind(documents, *WORKLOADS):
        for message in restricted(workload["spec"]["template"]["spec"]):
            yield workload, message
    yield from reference_findings(documents)
    yield from network_findings(documents)


def extract(documents, folder):
    for config_map in of_kind(documents, "ConfigMap"):
        for name, text in config_map["data"].items():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)


def main():
    folder, versions = Path(sys.argv[1]), sys.argv[2:]
    found = []
    for path in sorted(folder.glob("*.yaml")):
        documents = [document for document in yaml.safe_load_all(path.read_text()) if document]
        extract(documents, folder / "configurations" / path.stem)
        for document, message in findings(documents, versions):
            found.append(f"{path.name}: {document['kind']} {document['metadata']['name']}: {message}")
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
