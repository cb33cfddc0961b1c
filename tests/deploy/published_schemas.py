"""The schemas that others publish, each from its package registry, kept in the cache.

Those of Kubernetes come in a Python package, the definitions of KEDA and of the Prometheus operator in their Go
modules, those of Strimzi as compiled validators in an npm package. Go also builds kubeconform, which checks the first
three. Grafana's are types of TypeScript, whose compiler checks a dashboard as a literal of them. AsyncAPI has a parser,
Prometheus a tool that tries its rules.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from deploy.kafka_jars import cache_folder

KUBERNETES = "v1.34.0"
KINDS = (
    "configmap-v1",
    "networkpolicy-networking-v1",
    "poddisruptionbudget-policy-v1",
    "service-v1",
    "statefulset-apps-v1",
)
KUBERNETES_FOLDER = f"kubernetes-{zlib.crc32(repr((KUBERNETES, KINDS)).encode()):08x}"
PYTHON_PACKAGE = (
    "kubernetes-validate==1.37.0 --hash=sha256:85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9"
)
KUBECONFORM = "github.com/yannh/kubeconform/cmd/kubeconform@v0.6.7"
GO_MODULES = {
    "github.com/kedacore/keda/v2@v2.17.0": ("config/crd/bases/keda.sh_*.yaml",),
    "github.com/prometheus-operator/prometheus-operator@v0.82.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
}
OPERATORS = f"operators-{zlib.crc32(repr(GO_MODULES).encode()):08x}"
STRIMZI_PACKAGE = "@kubernetes-models/strimzi-kafka-operator@1.0.1"  # made from the definitions of Strimzi 0.49
STRIMZI = "kafka.strimzi.io/v1"
GRAFANA_PACKAGES = ("@grafana/schema@12.1.1", "typescript@5.9.2")  # the first of the composition's Grafana
ASYNCAPI_PACKAGE = "@asyncapi/parser@3.6.6"
SECONDS = 300.0

VALIDATE = """
import { readFileSync } from "node:fs";
const found = [];
for (const item of JSON.parse(readFileSync(0))) {
    const path = `./node_modules/@kubernetes-models/strimzi-kafka-operator/_schemas/KafkaStrimziIoV1${item.kind}.js`;
    const { validate } = await import(path);
    if (!validate(item)) found.push(`${item.kind} ${item.metadata.name}: ${JSON.stringify(validate.errors)}`);
}
console.log(JSON.stringify(found));
"""

PARSE = """
import { readFileSync } from "node:fs";
import parser from "@asyncapi/parser";
const { diagnostics } = await new parser.Parser().parse(readFileSync(0, "utf8"));
const bad = diagnostics.filter((one) => one.severity <= 1);  // errors and warnings
console.log(JSON.stringify(bad.map((one) => `${one.path.join("/")}: ${one.message}`)));
"""
TYPES = """
import type { Dashboard } from "./node_modules/@grafana/schema";
import type { FieldConfig, Options } from
    "./node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";
// As JSON has it: an enumeration's member is its text.
type Plain<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
"""
STRICTLY = ("--noEmit", "--strict", "--skipLibCheck", "--moduleResolution", "bundler", "--module", "esnext")


class NoSchemas(Exception):
    """Why schemas cannot be had."""


def invalid(files: Iterable[Path]) -> str:
    """What the schemas of Kubernetes, KEDA and the Prometheus operator say against manifests. Raises NoSchemas."""
    folder = _folder()
    _have(folder / KUBERNETES_FOLDER, _kubernetes)
    _have(folder / OPERATORS, _operators)
    _have(folder / "bin", _kubeconform)
    core = folder / KUBERNETES_FOLDER / "{{.ResourceKind}}{{.KindSuffix}}.json"
    operators = folder / OPERATORS / "{{.Group}}_{{.ResourceKind}}_{{.ResourceAPIVersion}}.json"
    locations = [f"-schema-location={core}", f"-schema-location={operators}"]
    command = [str(folder / "bin/kubeconform"), "-strict", f"-skip={_strimzi_kinds(files)}", *locations]
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, timeout=SECONDS)
    return done.stdout + done.stderr if done.returncode else ""


def invalid_for_strimzi(items: Iterable[Mapping[str, Any]]) -> list[str]:
    """What Strimzi's schemas say against objects of its. Raises NoSchemas."""
    _have(_folder() / "strimzi", _strimzi)
    return _told_by_node(_folder() / "strimzi", VALIDATE, json.dumps(list(items)))


def invalid_for_asyncapi(document: Mapping[str, Any]) -> list[str]:
    """What AsyncAPI's parser says against a document. Raises NoSchemas."""
    _have(_folder() / "asyncapi", _asyncapi)
    return _told_by_node(_folder() / "asyncapi", PARSE, json.dumps(document))


def promtool() -> str:
    """Prometheus' tool for its rules: the machine's, else that of Debian's package, unpacked. Raises NoSchemas."""
    installed = shutil.which("promtool")
    if installed is not None:
        return installed
    _have(_folder() / "prometheus", _prometheus)
    return str(_folder() / "prometheus/usr/bin/promtool")


def _told_by_node(folder: Path, program: str, given: str) -> list[str]:
    """The list that a program with packages of its own prints of its input."""
    (folder / "program.mjs").write_text(program)
    command = ["node", "program.mjs"]
    done = subprocess.run(command, cwd=folder, input=given, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


def invalid_for_grafana(board: Mapping[str, Any]) -> list[str]:
    """What Grafana's types say against a dashboard of time series. Raises NoSchemas."""
    folder = _folder() / "grafana"
    _have(folder, _grafana)
    values = [("Dashboard", board)]
    for panel in board["panels"]:
        assert panel["type"] == "timeseries", panel["title"]
        values += [("Options", panel["options"]), ("FieldConfig", panel["fieldConfig"]["defaults"]["custom"])]
    lines = [f"export const x{i}: Plain<{kind}> = {json.dumps(value)};" for i, (kind, value) in enumerate(values)]
    with FileLock(folder / "lock"):
        (folder / "board.ts").write_text(TYPES + "\n".join(lines))
        command = [str(folder / "node_modules/.bin/tsc"), *STRICTLY, "board.ts"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


def _strimzi_kinds(files: Iterable[Path]) -> str:
    items = [item for file in files for item in yaml.safe_load_all(file.read_text())]
    return ",".join(sorted({item["kind"] for item in items if item["apiVersion"] == STRIMZI}))


def _folder() -> Path:
    folder = cache_folder().parent / "schemas"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _have(wanted: Path, make: Any) -> None:
    """Make a folder whole or not at all."""
    with FileLock(f"{wanted}.lock"):
        if not wanted.exists():
            parts = wanted.with_name(f"{wanted.name}.part")
            shutil.rmtree(parts, ignore_errors=True)
            parts.mkdir()
            make(parts)
            parts.rename(wanted)


def _kubernetes(folder: Path) -> None:
    wanted = folder / "wanted.txt"
    wanted.write_text(PYTHON_PACKAGE)
    _call(
        sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes", "-r", str(wanted), folder=folder
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        schemas = f"kubernetes_validate/kubernetes-json-schema/{KUBERNETES}-local-strict"
        shared = files.read(f"{schemas}/_definitions.json").decode()
        for kind in KINDS:
            # kubeconform follows no reference into another file.
            own = files.read(f"{schemas}/{kind}.json").decode().replace('"/api/_definitions.json#', '"#')
            (folder / f"{kind}.json").write_text(json.dumps({**json.loads(shared), **json.loads(own)}))
    wheel.unlink()


def _kubeconform(folder: Path) -> None:
    _call("go", "install", KUBECONFORM, folder=folder, GOBIN=str(folder), GOFLAGS="-mod=mod")


def _operators(folder: Path) -> None:
    (folder / "go.mod").write_text("module schemas\n")
    for module, patterns in GO_MODULES.items():
        source = Path(json.loads(_call("go", "mod", "download", "-json", module, folder=folder))["Dir"])
        for file in (found for pattern in patterns for found in source.glob(pattern)):
            definition = yaml.safe_load(file.read_text())["spec"]
            for version in definition["versions"]:
                name = f"{definition['group']}_{definition['names']['kind'].lower()}_{version['name']}.json"
                (folder / name).write_text(json.dumps(_strict(version["schema"]["openAPIV3Schema"])))


def _strict(schema: Any) -> Any:
    """The schema with fields refused that it does not know: the API server drops them without a word."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {name: _strict(part) for name, part in schema.items()}
    is_object = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if is_object and "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result["additionalProperties"] = False
    return result


def _strimzi(folder: Path) -> None:
    _npm_install(folder, STRIMZI_PACKAGE)


def _asyncapi(folder: Path) -> None:
    _npm_install(folder, ASYNCAPI_PACKAGE)


def _grafana(folder: Path) -> None:
    _npm_install(folder, *GRAFANA_PACKAGES)


def _prometheus(folder: Path) -> None:
    _call("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", "prometheus", folder=folder)
    (archive,) = folder.glob("prometheus_*.deb")
    _call("dpkg", "-x", archive.name, ".", folder=folder)
    archive.unlink()


def _npm_install(folder: Path, *packages: str) -> None:
    _call("npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *packages, folder=folder)


def _call(*command: str, folder: Path, **environment: str) -> str:
    if shutil.which(command[0]) is None:
        raise NoSchemas(f"there is no {command[0]}")
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise NoSchemas(f"{' '.join(command)} takes more than {SECONDS:g} s") from None
    if done.returncode:
        raise NoSchemas(f"{' '.join(command)} fails: {done.stderr.strip()[-300:]}")
    return done.stdout
