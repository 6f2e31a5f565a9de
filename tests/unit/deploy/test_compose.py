"""compose.yaml keeps to the Compose specification, holds no secret and opens nothing to other machines by itself."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from deploy.docker import make_secrets
from deploy.gateway.api_keys import from_environment
from tests.team_stack import COMPOSE, load_compose

ROOT = Path(__file__).resolve().parents[3]
SECRET = re.compile(r"PASSWORD|SECRET|AUTH_STRING|API_KEYS")


@pytest.fixture(scope="module")
def services() -> dict:
    return load_compose(make_secrets.generate())["services"]


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_it_keeps_to_the_specification(name):
    schema = json.loads(
        resources.files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text()
    )
    jsonschema.Draft7Validator(schema).validate(load_compose(make_secrets.generate(), COMPOSE.with_name(name)))


def test_every_secret_comes_from_outside_and_must_be_given():
    text = COMPOSE.read_text()
    wanted = set(re.findall(r"\$\{(\w+)(?=[:?}])", text))
    given = set(make_secrets.generate())
    assert given <= wanted, "a secret that nothing uses"
    for name in given:
        assert re.search(rf"\$\{{{name}:\?", text), f"{name} may be left out silently"
    for name in wanted - given:
        assert re.search(rf"\$\{{{name}:-", text), f"{name} has no default"
    for name, value in re.findall(r"^\s+(\w+): (.+)$", text, flags=re.MULTILINE):
        if SECRET.search(name):
            assert value.startswith("${"), f"{name} stands in the file"


def _secrets_of(service: dict, values: dict[str, str]) -> set[str]:
    """Names of the secrets that a service has, whatever it calls them."""
    return {name for name, value in values.items() if value in service.get("environment", {}).values()}


def test_each_service_has_a_role_and_a_key_of_its_own_and_no_administrators():
    values = make_secrets.generate()
    services = load_compose(values)["services"]
    has = {name: _secrets_of(service, values) for name, service in services.items()}
    assert [name for name in has if "POSTGRES_PASSWORD" in has[name]] == ["postgres"]
    assert [name for name in has if "S3_SECRET_KEY" in has[name]] == ["storage", "buckets"]
    assert has["gateway"] == {"GATEWAY_DATABASE_PASSWORD", "GATEWAY_S3_SECRET_KEY", "STEMMA_API_KEYS"}
    assert has["prefect"] == {"PREFECT_DATABASE_PASSWORD", "PREFECT_AUTH"}
    assert has["mlflow"] == {"MLFLOW_DATABASE_PASSWORD", "MLFLOW_S3_SECRET_KEY", "MLFLOW_ADMIN_PASSWORD",
                             "MLFLOW_SECRET_KEY"}  # fmt: skip
    assert has["console"] == has["worker"] == {"REGISTRY_DATABASE_PASSWORD", "WORKER_S3_SECRET_KEY", "PREFECT_AUTH",
                             "MLFLOW_ADMIN_PASSWORD"}  # fmt: skip
    assert has["backup"] == {"BACKUP_DATABASE_PASSWORD", "BACKUP_S3_SECRET_KEY"}


def test_the_signing_key_is_where_promotions_and_back_ups_are_signed_and_nowhere_else(services):
    volumes = {name: service.get("volumes", ()) for name, service in services.items()}
    mounted = [name for name, given in volumes.items() if any(each.startswith("keys:/keys") for each in given)]
    named = [name for name, service in services.items() if "STEMMA_SIGNING_KEY" in service.get("environment", {})]
    assert mounted == named == ["worker", "console", "backup"] and "keys:/keys:ro" in volumes["backup"]
    assert services["worker"]["environment"]["STEMMA_SIGNING_KEY"].startswith("/keys/")


def test_prefect_lets_in_pages_of_one_address(services):
    assert services["prefect"]["environment"]["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4200"


def test_addresses_hold_no_password(services):
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            assert not re.search(r"://[^/\s]*:[^/\s]*@", str(value)), name


def test_only_loopback_is_published(services):
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert sorted(port.rpartition(":")[2] for port in published) == ["4200", "5000", "8000", "8001"]
    assert all(port.startswith("127.0.0.1:") for port in published)
    for name in ("postgres", "storage"):
        assert services[name]["networks"] == ["inside"] and "ports" not in services[name]
    assert load_compose(make_secrets.generate())["networks"]["inside"]["internal"] is True


def test_no_service_has_more_rights_than_it_needs(services):
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service and service.get("user", "") not in ("root", "0")
        assert not any("docker.sock" in str(volume) for volume in service.get("volumes", ()))


def test_images_are_pinned_and_built_from_what_is_here(services):
    for name, service in services.items():
        registry, ours = service["image"].split("/")[0], "build" in service
        assert registry in ("ghcr.io", "docker.io"), f"{name}: an image name without a registry is anybody's"
        digest = "" if ours else "@sha256:[0-9a-f]{64}"
        assert re.fullmatch(rf"[\w./-]+:\d+\.\d+[\w.-]*{digest}", service["image"]), f"{name}: {service['image']}"
        if ours:
            assert (COMPOSE.parent / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        for volume in service.get("volumes", ()):
            if volume.startswith("./"):
                assert (COMPOSE.parent / volume.split(":")[0]).is_file(), volume


def test_a_service_waits_until_what_it_needs_is_well(services):
    for name, service in services.items():
        for other, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                dockerfile = services[other].get("build", {}).get("dockerfile", "")
                checked = "healthcheck" in services[other] or "HEALTHCHECK" in (ROOT / dockerfile).read_text()
                assert checked and not services[other].get("healthcheck", {}).get("disable"), (
                    f"{name} waits for {other}"
                )


def test_new_secrets_are_long_differ_each_time_and_are_taken(monkeypatch):
    first, second = make_secrets.generate(), make_secrets.generate()
    assert first.keys() == second.keys() and not set(first.values()) & set(second.values())
    assert all(len(value) >= 20 for value in first.values())
    assert len(first["MLFLOW_ADMIN_PASSWORD"]) >= 12  # MLflow's own minimum
    monkeypatch.setenv("STEMMA_API_KEYS", first["STEMMA_API_KEYS"])
    assert [key.name for key in from_environment()] == ["team"]
