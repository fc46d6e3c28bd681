"""Manifests of one container, and what the command prints about them."""

import textwrap

GOOD = """\
resources:
  requests: {cpu: "1", memory: 3Gi}
  limits: {cpu: "2", memory: 4Gi}
env:
  - {name: MILLI, valueFrom: {resourceFieldRef: {containerName: web, resource: requests.cpu, divisor: 1m}}}
  - {name: CGEXEC_CPU_REQUEST, value: "$(MILLI)m"}
  - {name: CGEXEC_MEMORY_REQUEST, valueFrom: {resourceFieldRef: {resource: requests.memory}}}
"""
RESOURCES = "resources: {{requests: {{cpu: {0}, memory: {1}}}, limits: {{cpu: {2}, memory: {3}}}}}\n"
CRON = """\
kind: CronJob
metadata: {name: nightly}
spec:
  jobTemplate:
    spec:
      activeDeadlineSeconds: 60
      template:
        spec: {containers: [{name: a}]}
"""


def deployment(container, spec="", kind="Deployment"):
    """Return a manifest of one container, whose fields are given as YAML."""
    head = f"kind: {kind}\nmetadata: {{name: api, namespace: shop}}\nspec:\n  template:\n    spec:\n"
    body = textwrap.indent(spec, " " * 6) + " " * 6 + "containers:\n" + " " * 8 + "- name: web\n"
    return head + body + textwrap.indent(container, " " * 10)


def findings(printed):
    return {found["rule"]: found for pod in printed["pods"] for one in pod["containers"] for found in one["findings"]}
