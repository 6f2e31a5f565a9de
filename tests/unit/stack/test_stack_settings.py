"""Every reason not to start a stack is shown at once, each with the next step."""

from __future__ import annotations

import pytest

from deploy.gateway import api_keys
from deploy.stack.services import client_environment, services_of
from deploy.stack.settings import StackSettings
from deploy.stack.storage import Storage, problems_of
from tests.stack import free_ports

TOKENS = {
    "PREFECT_SERVER_API_AUTH_STRING": "ada:a long password",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "another long password",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "0123456789abcdef",
}


def _settings(folder, **changes) -> StackSettings:
    names = ("prefect_port", "mlflow_port", "gateway_port", "console_port")
    given = {**dict(zip(names, free_ports(4), strict=True)), "environment": {}, **changes}
    return StackSettings(folder, folder / ".stemma", **given)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    monkeypatch.delenv(api_keys.VARIABLE, raising=False)


def test_nothing_speaks_against_the_defaults(tmp_path):
    assert _settings(tmp_path).problems() == []


def test_one_port_for_two_services(tmp_path):
    (port,) = free_ports(1)
    (told,) = _settings(tmp_path, mlflow_port=port, gateway_port=port).problems()
    assert told == f"--mlflow-port {port} is also the port of --gateway-port; choose another"


def test_an_address_of_another_machine(tmp_path):
    told = _settings(tmp_path, host="192.0.2.1", environment=TOKENS).problems()
    assert told[0] == "--host 192.0.2.1: this machine has no such address; use 127.0.0.1, 0.0.0.0 or one of its own"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org"])
def test_beyond_loopback_every_missing_token_is_told(tmp_path, host):
    settings = _settings(tmp_path, host=host)
    assert settings.exposed
    told = "\n".join(settings.problems())
    assert all(name in told for name in (*TOKENS, api_keys.VARIABLE))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_tokens(tmp_path, host):
    assert not _settings(tmp_path, host=host).exposed


def test_short_or_contradicting_tokens_are_told(tmp_path):
    weak = {**TOKENS, "PREFECT_SERVER_API_AUTH_STRING": "a:b", "MLFLOW_AUTH_ADMIN_PASSWORD": "short"}
    told = "\n".join(_settings(tmp_path, host="0.0.0.0", environment=weak).problems())
    assert "PREFECT_SERVER_API_AUTH_STRING" in told and "MLFLOW_AUTH_ADMIN_PASSWORD" in told
    other = {**TOKENS, "PREFECT_API_AUTH_STRING": "ada:quite another password"}
    told = "\n".join(_settings(tmp_path, host="0.0.0.0", environment=other).problems())
    assert "PREFECT_API_AUTH_STRING is not PREFECT_SERVER_API_AUTH_STRING" in told


def test_with_all_tokens_it_may_start(tmp_path):
    settings = _settings(tmp_path, host="0.0.0.0", environment=TOKENS)
    api_keys.add(settings.home, "ada")
    assert settings.problems() == []


def test_secrets_are_in_no_command_and_in_nothing_that_is_told(tmp_path):
    settings = _settings(tmp_path, host="0.0.0.0", environment=TOKENS)
    services = {service.name: service for service in services_of(settings)}
    for service in services.values():
        assert not [part for part in service.command if any(secret in part for secret in TOKENS.values())]
    assert not [value for value in client_environment(settings).values() if value in TOKENS.values()]
    clients = services["deployments"].environment
    assert clients["PREFECT_API_AUTH_STRING"] == TOKENS["PREFECT_SERVER_API_AUTH_STRING"]
    assert clients["MLFLOW_TRACKING_PASSWORD"] == TOKENS["MLFLOW_AUTH_ADMIN_PASSWORD"]
    assert "--auth" in services["mlflow"].command


USERS = {
    "PGPASSWORD": "1", "AWS_SECRET_ACCESS_KEY": "2", "HF_TOKEN": "3", "OPENAI_API_KEY": "4", "VLLM_API_KEY": "5",
    "MLFLOW_TRACKING_PASSWORD": "6", "PREFECT_API_KEY": "7", "STEMMA_WEBHOOK_URL": "8", "STEMMA_API_KEY": "9",
}  # fmt: skip


def test_a_service_has_of_the_users_secrets_what_it_needs_and_no_more(tmp_path):
    given = {**USERS, "PATH": "/bin", "OMP_NUM_THREADS": "2", "SSL_CERT_FILE": "/x"}
    services = {each.name: each.environment for each in services_of(_settings(tmp_path, environment=given))}
    has = {name: set(environment) & set(USERS) for name, environment in services.items()}
    assert has["prefect"] == {"PGPASSWORD"}
    assert has["mlflow"] == has["gateway"] == {"PGPASSWORD", "AWS_SECRET_ACCESS_KEY"}
    # Where the user's own stages run, but not what is for another MLflow.
    assert has["deployments"] == has["console"] == set(USERS) - {"MLFLOW_TRACKING_PASSWORD"}
    for environment in services.values():
        assert environment.items() >= {("PATH", "/bin"), ("OMP_NUM_THREADS", "2"), ("SSL_CERT_FILE", "/x")}


def test_the_stages_are_the_workspaces_and_the_servers_run_as_they_are_installed(tmp_path):
    services = {each.name: each.environment for each in services_of(_settings(tmp_path, environment={}))}
    assert [name for name, has in services.items() if "PYTHONPATH" in has] == ["deployments", "console"]
    assert services["deployments"]["PYTHONPATH"] == services["console"]["PYTHONPATH"] == str(tmp_path)


def test_a_server_s_own_secret_is_in_no_other_service(tmp_path):
    given = {**TOKENS, "STEMMA_API_KEYS": "ada:" + "k" * 40}
    services = {each.name: each.environment for each in services_of(_settings(tmp_path, environment=given))}
    for name, owners in {**{key: ["mlflow"] for key in TOKENS}, "PREFECT_SERVER_API_AUTH_STRING": ["prefect"],
                         "STEMMA_API_KEYS": ["gateway", "console"]}.items():  # fmt: skip
        assert [service for service, has in services.items() if name in has] == owners, name


def test_each_service_on_loopback_has_a_token_of_its_own_and_the_flows_those_that_they_use(tmp_path):
    settings = _settings(tmp_path)
    services = {each.name: each for each in services_of(settings)}
    tokens = settings.tokens
    assert set(tokens) == {"prefect", "mlflow", "gateway", "console", "browser"} and len(set(tokens.values())) == 5
    assert _settings(tmp_path).tokens != tokens, "new at each start"
    assert min(map(len, tokens.values())) >= 43
    browser = tokens.pop("browser")
    assert [name for name, each in services.items() if each.environment.get("STEMMA_BROWSER_TOKEN") == browser] == [
        *tokens
    ]
    for name, token in tokens.items():
        assert services[name].environment["STEMMA_SERVICE_TOKEN"] == token
        for other in services.values():
            assert not [part for part in other.command if token in part]
            if other.name not in (name, "deployments", *(["console"] if name in ("prefect", "mlflow") else [])):
                assert not [value for value in other.environment.values() if token in value]
    flows = services["deployments"].environment
    assert flows["PREFECT_API_AUTH_STRING"] == f"stemma:{tokens['prefect']}"
    assert flows["MLFLOW_TRACKING_TOKEN"] == tokens["mlflow"]
    assert not [value for value in flows.values() if tokens["gateway"] in value or tokens["console"] in value]
    assert not [value for value in client_environment(settings).values() if value in tokens.values()]
    assert not [value for value in tokens.values() if value in repr(settings)]


def test_prefect_lets_in_pages_of_its_own_address_alone(tmp_path):
    settings = _settings(tmp_path)
    environment = next(each.environment for each in services_of(settings) if each.name == "prefect")
    assert environment["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == f"http://127.0.0.1:{settings.prefect_port}"
    assert environment["PREFECT_UI_API_URL"] == f"http://127.0.0.1:{settings.prefect_port}/api"
    named = _settings(tmp_path, environment={"STEMMA_ALLOWED_HOSTS": "stemma.example, other.example:8443"})
    for service, port in (("prefect", named.prefect_port), ("mlflow", named.mlflow_port)):
        has = next(each.environment for each in services_of(named) if each.name == service)["STEMMA_SERVICE_HOSTS"]
        assert has == f"127.0.0.1:{port},localhost:{port},stemma.example,other.example:8443"


def test_a_service_with_a_password_of_the_users_has_no_token(tmp_path):
    assert set(_settings(tmp_path, environment=TOKENS).tokens) == {"gateway", "console", "browser"}
    assert _settings(tmp_path, host="0.0.0.0", environment=TOKENS).tokens == {}


def test_servers_are_not_pointed_at_the_users_other_servers(tmp_path):
    given = {"PREFECT_API_URL": "http://elsewhere/api", "MLFLOW_TRACKING_URI": "http://elsewhere"}
    services = {service.name: service for service in services_of(_settings(tmp_path, environment=given))}
    assert not given.keys() & services["prefect"].environment.keys()
    assert not given.keys() & services["mlflow"].environment.keys()
    assert "elsewhere" not in services["deployments"].environment["PREFECT_API_URL"]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("mysql://ada@db/x", "not supported"),
        ("no address", "not the address of a database"),
        ("postgresql://ada:secret@db/x", "PGPASSWORD"),
        ("postgresql://ada@db/x?sslmode=require", "PGSSLMODE"),
    ],
)
def test_an_address_that_cannot_be_used(tmp_path, address, words):
    (told,) = problems_of("--database", address)
    assert words in told and "secret" not in told
    assert told in _settings(tmp_path, storage=Storage(address)).problems()


def test_a_database_that_does_not_answer_is_told(tmp_path):
    (port,) = free_ports(1)
    (told,) = _settings(tmp_path, storage=Storage(f"postgresql://ada@127.0.0.1:{port}/x")).problems()
    assert told.startswith(f"--database postgresql://ada@127.0.0.1:{port}/x: ") and "refused" in told


def test_three_databases_with_the_drivers_of_their_users(tmp_path):
    settings = _settings(tmp_path, storage=Storage("postgresql://ada@db:5433/team", "s3://models/team"))
    services = {service.name: service.environment for service in services_of(settings)}
    assert services["prefect"]["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == (
        "postgresql+asyncpg://ada@db:5433/team_prefect"
    )
    assert services["mlflow"]["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg://ada@db:5433/team_mlflow"
    assert services["mlflow"]["MLFLOW_DEFAULT_ARTIFACT_ROOT"] == "s3://models/team"
    assert services["gateway"]["STEMMA_REGISTRY_URL"] == "postgresql://ada@db:5433/team_registry"
