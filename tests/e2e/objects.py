# SPDX-License-Identifier: Apache-2.0
"""The objects that the tests apply, as a user would write them."""
DRIVER = "csi.modelstage.io"
BUSYBOX = "/bin/busybox"
PAUSE = f"trap exit TERM; while :; do {BUSYBOX} sleep 1 & wait $!; done"  # a shell that ends at once when it is asked to


def claim(name, model=None, storage_class="modelstage", **annotations):
    """A claim of the generic class; keyword pull_policy becomes the annotation modelstage.io/pull-policy."""
    notes = {f"modelstage.io/{k.replace('_', '-')}": v for k, v in annotations.items()}
    if model:
        notes["modelstage.io/model"] = model
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "annotations": notes},
            "spec": {"accessModes": ["ReadOnlyMany"], "storageClassName": storage_class, "resources": {"requests": {"storage": "1Gi"}}}}


def claim_volume(name, read_only=True):
    return {"name": "model", "persistentVolumeClaim": {"claimName": name, "readOnly": read_only}}


def inline_volume(model, secret=None, read_only=True, **attributes):
    csi = {"driver": DRIVER, "readOnly": read_only, "volumeAttributes": {"model": model, **attributes}}
    if secret:
        csi["nodePublishSecretRef"] = {"name": secret}
    return {"name": "model", "csi": csi}


def pod(name, image, volume, node=None, script=PAUSE, restricted=False, sub_path=None, labels=None, **spec):
    """One container that sees the model at /mnt/models. restricted: as the Pod Security Standard of that name wants it."""
    mount = {"name": "model", "mountPath": "/mnt/models", "readOnly": True}
    if sub_path:
        mount["subPath"] = sub_path
    container = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": [BUSYBOX, "sh", "-c", script],
                 "volumeMounts": [mount], "resources": {"requests": {"cpu": "1m", "memory": "4Mi"}}}
    if restricted:
        spec.setdefault("securityContext", {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}})
        container["securityContext"] = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                        "capabilities": {"drop": ["ALL"]}}
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"modelstage-e2e": "model", **(labels or {})}},
            "spec": {"terminationGracePeriodSeconds": 2, "containers": [container], "volumes": [volume], **spec}}


def docker_secret(name, host, user, password):
    import base64
    import json
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": json.dumps({"auths": {host: {"auth": auth}}})}}


def server(name, image, args, port=5000, node=None, **spec):
    """A pod and the service in front of it."""
    container = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "args": args,
                 "ports": [{"containerPort": port}], "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1}}
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    return ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
             "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], **spec}},
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
             "spec": {"selector": {"app": name}, "ports": [{"port": port, "targetPort": port}]}})


def host_shell(name, image, node):
    """Root on the node: its processes, and its file system below /host."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"hostPID": True, "terminationGracePeriodSeconds": 0, "nodeName": node,
                     "containers": [{"name": "main", "image": image, "imagePullPolicy": "IfNotPresent",
                                     "command": [BUSYBOX, "sh", "-c", PAUSE], "securityContext": {"privileged": True},
                                     "volumeMounts": [{"name": "host", "mountPath": "/host"}]}],
                     "volumes": [{"name": "host", "hostPath": {"path": "/"}}], "tolerations": [{"operator": "Exists"}]}}
