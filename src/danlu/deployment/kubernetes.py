"""Manifests for Kubernetes, a file an object, and an InferenceService for KServe.

Plain values become YAML; nothing is sent to a cluster. All pods run under the rules that Kubernetes calls restricted.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from danlu.artifacts.files import write_text
from danlu.deployment.container import PORT, READY, USER, Resources
from danlu.deployment.subject import Subject
from danlu.launch.clusters import manifest_text
from danlu.recipe.sections.deployment import Kubernetes

Json = dict[str, Any]
STOP_S, LEAVE_S = 45, 5  # to drain; before it, for load balancers to notice
SCALE_AT_PERCENT = 70  # of the processor time that is requested
LIVE, STARTUP = "/v2/health/live", "/v2/health/startup"
# Why a check of checkov does not hold here, as it reads them.
EXCEPTIONS = {
    "checkov.io/skip1": "CKV_K8S_43=an image has a digest once it is pushed; kustomization.yaml is where to put it",
    "checkov.io/skip2": "CKV_K8S_15=the tag names the bundle's digest and is never given to another image",
}


def write_kubernetes(subject: Subject, resources: Resources, options: Kubernetes, folder: Path) -> None:
    """Write a file an object into a folder, and the kustomization that names them."""
    name, labels = subject.name, _labels(subject)
    scale = options.scale
    objects: dict[str, Json] = {
        "namespace": _object("v1", "Namespace", name, {}, namespace=None),
        "serviceaccount": _object("v1", "ServiceAccount", name, labels) | {"automountServiceAccountToken": False},
        "deployment": _deployment(subject, resources, options),
        "service": _object("v1", "Service", name, labels)
        | {"spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}},
        "networkpolicy": _object("networking.k8s.io/v1", "NetworkPolicy", name, labels) | {"spec": _traffic(labels)},
    }
    objects["namespace"]["metadata"]["labels"] = {"pod-security.kubernetes.io/enforce": "restricted"}
    if scale is not None:
        objects["hpa"] = _object("autoscaling/v2", "HorizontalPodAutoscaler", name, labels) | {
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "minReplicas": scale.min,
                "maxReplicas": scale.max,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {
                            "name": "cpu",
                            "target": {"type": "Utilization", "averageUtilization": SCALE_AT_PERCENT},
                        },
                    }
                ],
            }
        }
    if (scale.min if scale is not None else options.replicas or 1) > 1:  # of one replica no node could be emptied
        objects["pdb"] = _object("policy/v1", "PodDisruptionBudget", name, labels) | {
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
        }
    folder.mkdir(parents=True, exist_ok=True)
    for kind, written in objects.items():
        write_text(folder / f"{kind}.yaml", manifest_text(_comment(kind, resources), written))
    image, _, tag = subject.image.rpartition(":")
    kustomization: Json = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{kind}.yaml" for kind in objects],
        "images": [{"name": image or tag, "newName": image or tag, **({"newTag": tag} if image else {})}],
    }
    comment = (
        "# kubectl apply --kustomize .\n# Once the image is pushed, its registry belongs to newName, and instead of "
        "newTag: digest: sha256:...\n"
    )
    write_text(folder / "kustomization.yaml", manifest_text(comment, kustomization))


def write_kserve(subject: Subject, resources: Resources, options: Kubernetes, file: Path) -> None:
    """Write an InferenceService of the image, which speaks the Open Inference Protocol."""
    scale = options.scale
    replicas = (
        {"minReplicas": scale.min, "maxReplicas": scale.max}
        if scale
        else {"minReplicas": options.replicas, "maxReplicas": options.replicas}
    )
    container = _container(subject, resources) | {
        "name": "kserve-container",
        "env": [{"name": "PROTOCOL", "value": "v2"}],
    }
    predictor = {**replicas, **_pod(subject, container)}
    service = _object("serving.kserve.io/v1beta1", "InferenceService", subject.name, _labels(subject))
    comment = f"# kubectl apply -f {file.name}\n# {resources.described()}\n"
    write_text(file, manifest_text(comment, service | {"spec": {"predictor": predictor}}))


def _deployment(subject: Subject, resources: Resources, options: Kubernetes) -> Json:
    labels = _labels(subject)
    pod = _pod(subject, _container(subject, resources))
    pod |= {
        "serviceAccountName": subject.name,
        "terminationGracePeriodSeconds": STOP_S,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels},
            }
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
    }
    told = {"danlu/bundle": subject.digest, "danlu/resources": resources.described(), **EXCEPTIONS}
    found = _object("apps/v1", "Deployment", subject.name, labels)
    found["metadata"]["annotations"] = told
    replicas = {} if options.scale is not None else {"replicas": options.replicas}
    scraped = {"prometheus.io/scrape": "true", "prometheus.io/port": str(PORT), "prometheus.io/path": "/metrics"}
    return found | {
        "spec": {
            **replicas,  # none where the autoscaler decides, or each apply would set it back
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": {"labels": labels, "annotations": scraped}, "spec": pod},
        }
    }


def _pod(subject: Subject, container: Json) -> Json:
    return {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }


def _container(subject: Subject, resources: Resources) -> Json:
    (memory, memory_limit), (cpu, cpu_limit) = resources.memory_mib, resources.cpu_m
    return {
        "name": "model",
        "image": subject.image,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "resources": {
            "requests": {"cpu": f"{cpu}m", "memory": f"{memory}Mi"},
            "limits": {"cpu": f"{cpu_limit}m", "memory": f"{memory_limit}Mi"},
        },
        "startupProbe": _probe(STARTUP, periodSeconds=2, failureThreshold=-(-resources.start_s // 2)),
        "readinessProbe": _probe(READY, periodSeconds=5, failureThreshold=2),
        "livenessProbe": _probe(LIVE, periodSeconds=10, failureThreshold=3),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(LEAVE_S)]}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }


def _probe(path: str, **times: int) -> Json:
    return {"httpGet": {"path": path, "port": PORT}, "timeoutSeconds": 2, **times}


def _traffic(labels: Mapping[str, str]) -> Json:
    """Return who may ask: pods of the namespace; the server itself calls nobody."""
    return {
        "podSelector": {"matchLabels": dict(labels)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": PORT}]}],
        "egress": [],
    }


def _labels(subject: Subject) -> dict[str, str]:
    return {"app.kubernetes.io/name": subject.name, "app.kubernetes.io/managed-by": "danlu"}


def _object(version: str, kind: str, name: str, labels: Mapping[str, str], namespace: str | None = "") -> Json:
    """Return an object without its content, in the namespace of its name."""
    place = {} if namespace is None else {"namespace": namespace or name}
    told = {"labels": dict(labels)} if labels else {}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **place, **told}}


def _comment(kind: str, resources: Resources) -> str:
    comments = {
        "deployment": f"# {resources.described()}\n",
        "networkpolicy": "# Pods of this namespace alone may ask; add the namespace of your ingress controller.\n",
        "namespace": "# Left out of kustomization.yaml where the namespace exists already.\n",
    }
    return comments.get(kind, "")
