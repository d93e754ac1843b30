"""The configuration is read once and every wrong value is named with what would be right."""

from __future__ import annotations

import base64
import os
import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from config import LOOPBACK, Config, ConfigError

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")


def problems(**environ: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        Config.from_env(environ)
    return str(raised.value).splitlines()


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Config.from_env({}) == Config()


def test_variables_are_read() -> None:
    config = Config.from_env(
        {"HOST": "0.0.0.0", "PORT": "9000", "DATA_DIR": "/data", "LOG_LEVEL": "debug"}
    )
    assert (config.host, config.port, config.data_dir) == ("0.0.0.0", 9000, Path("/data"))
    assert config.log_level == "DEBUG"


def test_an_empty_variable_counts_as_unset() -> None:
    assert Config.from_env({"PORT": "", "DATABASE_URL": " "}) == Config()


@pytest.mark.parametrize(
    ("alias", "name", "value"),
    [
        ("MODULE_PORT", "port", "9001"),
        ("DATABASE_URI", "database_url", "postgres://u:p@db/flows"),
        ("MAX_CONCURRENT_WORKFLOWS", "max_concurrent_executions", "7"),
    ],
)
def test_other_names_of_a_variable_are_read(alias: str, name: str, value: str) -> None:
    assert str(getattr(Config.from_env({alias: value}), name)) == value


def test_the_first_name_wins_over_the_other() -> None:
    assert Config.from_env({"PORT": "9000", "MODULE_PORT": "9001"}).port == 9000


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("PORT=9000\nMAX_LOOP_DEPTH=4\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", "9100")
    config = Config.from_env()
    assert (config.port, config.max_loop_depth) == (9100, 4)


@pytest.mark.parametrize(
    ("name", "alias", "file", "environment", "field"),
    [
        ("PORT", "MODULE_PORT", "9000", "9100", "port"),
        ("DATABASE_URL", "DATABASE_URI", "postgres://a/b", "postgres://c/d", "database_url"),
        ("MAX_CONCURRENT_EXECUTIONS", "MAX_CONCURRENT_WORKFLOWS", "8", "9",
         "max_concurrent_executions"),
    ],
)  # fmt: skip
def test_the_environment_wins_over_the_file_by_any_name(
    name: str,
    alias: str,
    file: str,
    environment: str,
    field: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(alias, environment)
    monkeypatch.delenv(name, raising=False)
    (tmp_path / ".env").write_text(f"{name}={file}\n", encoding="utf-8")
    assert str(getattr(Config.from_env(), field)) == environment
    monkeypatch.setenv(alias, "")  # counts as unset
    assert str(getattr(Config.from_env(), field)) == file


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            b'PORT=9000\nDATABASE_URL="postgresql://me:hunter2@db/flows\n',
            ".env, line 2: it must be",
        ),
        (b"PORT 9000\n", ".env, line 1: it must be NAME=value"),
        (b"PORT=9000\nMODULE_NAME=\xff\n", ".env cannot be read: 'utf-8' codec"),
    ],
    ids=["an open quote", "no =", "not UTF-8"],
)
def test_a_file_that_cannot_be_read_stops_the_start(
    written: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(written)
    with pytest.raises(ConfigError) as raised:
        Config.from_env()
    assert str(raised.value).startswith(said)
    assert "hunter2" not in str(raised.value)


def test_the_file_may_be_missing_a_directory_or_begin_with_a_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PORT", raising=False)
    assert Config.from_env().port == 8070
    (tmp_path / ".env").mkdir()
    assert Config.from_env().port == 8070
    (tmp_path / ".env").rmdir()
    (tmp_path / ".env").write_text("\ufeffexport PORT='9000' # ours\n\n", encoding="utf-8")
    assert Config.from_env().port == 9000


@pytest.mark.parametrize("port", ["0", "65536", "99999", "abc", "80a", "5432,db:x"])
@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgresql://me:hunter2@db:{}/flows"),
        ("ROUTER_URL", "http://router:{}"),
        ("JWKS_URL", "https://login.example.org:{}/keys"),
        ("LIVE_ORIGINS", "https://app.example.org:{}"),
        ("REDIS_URL", "redis://redis:{}"),
    ],
)
def test_a_port_that_there_cannot_be_is_refused(name: str, url: str, port: str) -> None:
    [problem] = problems(**{name: url.format(port)})
    assert problem.startswith(f"{name} is ")
    assert "such as" in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    "value",
    [
        "postgresql://u:p@db:5432,other:5433,third/flows",
        "postgresql://u:p%40@[::1]:5432,[::2]/flows",
        "postgresql:///flows?host=/run/postgresql",
        "postgresql://db:/flows",
        "postgres://%2Frun%2Fpostgresql/flows",
    ],
)
def test_a_database_may_have_several_hosts_and_no_port(value: str) -> None:
    assert Config.from_env({"DATABASE_URL": value}).database_url == value


@pytest.mark.parametrize("name", ["ROUTER_URL", "JWKS_URL", "LIVE_ORIGINS", "REDIS_URL"])
@pytest.mark.parametrize("rest", ["a b", "[::1", "a\tb"])
def test_what_no_url_has_is_refused(name: str, rest: str) -> None:
    scheme = "redis" if name == "REDIS_URL" else "https"
    [problem] = problems(**{name: f"{scheme}://{rest}"})
    assert re.match(rf"{name} is .*; it must be a (URL|comma list of origins)", problem)


@pytest.mark.parametrize("name", ["PORT", "RETENTION_DAYS", "MAX_HISTORY_BYTES_PER_COMMUNITY"])
def test_a_very_long_number_is_no_number(name: str) -> None:
    [problem] = problems(**{name: "9" * 5000})
    assert problem.endswith(problems(**{name: "0"})[0].partition("it must be")[2])


@pytest.mark.parametrize("value", ["10.0.0.300", "10.0.0", "example.org,1.2.3.4.5", "*.10"])
def test_a_mistaken_network_is_no_host(value: str) -> None:
    [problem] = problems(EGRESS_DENY=value)
    assert "a comma list of hosts and networks" in problem


def test_a_wrong_value_is_named_with_what_would_be_right() -> None:
    assert problems(PORT="seventy") == [
        "PORT is 'seventy'; it must be a whole number from 1 to 65535, such as 8070"
    ]


def test_a_wrong_alias_is_named_as_it_was_written() -> None:
    assert problems(MODULE_PORT="0")[0].startswith("MODULE_PORT is '0'; it must be")


def test_all_wrong_values_are_reported_at_once() -> None:
    found = problems(PORT="0", LOG_LEVEL="loud", LEASE_SECONDS="-1", MAX_LOOP_DEPTH="1.5")
    assert [line.split()[0] for line in found] == [
        "PORT", "LOG_LEVEL", "MAX_LOOP_DEPTH", "LEASE_SECONDS",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "value", ["nan", "inf", "1e3", "\uff11\uff12", "0x10", "1_000", "99999999999"]
)
def test_numbers_are_plain_decimal_numbers_within_bounds(value: str) -> None:
    assert problems(WORKFLOW_TIMEOUT_SECONDS=value)
    assert problems(DATABASE_COMMAND_TIMEOUT_SECONDS=value)


@pytest.mark.parametrize("value", ["mysql://db/flows", "db:5432", "sqlite:///x"])
def test_a_database_that_is_not_postgresql_is_refused(value: str) -> None:
    assert "postgresql://user:password@host:5432/name" in problems(DATABASE_URL=value)[0]


def test_rates_are_on_or_off() -> None:
    limits = {"RATE_LIMIT_PER_KEY": "3", "RATE_LIMIT_PER_USER": "4"}
    assert Config.from_env(limits).rate_limits == (3, 4, 300_000)
    assert Config.from_env({**limits, "RATE_LIMIT": "OFF"}).rate_limits == (None, None, None)
    assert problems(RATE_LIMIT="0") == ["RATE_LIMIT is '0'; it must be one of on, off"]


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "1000", "1" * 16])
def test_a_quota_of_bytes_has_room_for_a_definition(value: str) -> None:
    [problem] = problems(MAX_DEFINITION_BYTES_PER_COMMUNITY=value)
    assert problem.endswith("it must be a whole number of bytes from 1024 on, such as 104857600")


@pytest.mark.parametrize(
    "value",
    [
        "redis://localhost",
        "redis://localhost:6380/3",
        "rediss://user:hunter2@redis.example.org/",
        "redis://:hunter2@[::1]:6379/0",
    ],
)
def test_a_redis_is_named_by_its_url(value: str) -> None:
    config = Config.from_env({"REDIS_URL": value})
    assert config.redis_url == value
    assert "hunter2" not in repr(config)


@pytest.mark.parametrize(
    "value",
    [
        "localhost:6379",
        "http://hunter2",
        "redis://",
        "redis://hunter2@:6379",
        "redis://host:0",
        "redis://host:99999",
        "redis://host:hunter2",
        "redis://[hunter2",
        "redis://host/hunter2",
        "redis://host/0/1",
        "redis://host?password=hunter2",
        "redis://host/0#hunter2",
        "redis://host/0 hunter2",
        "unix:///run/redis.sock",
    ],
)
def test_what_is_no_redis_is_refused_and_not_shown(value: str) -> None:
    [problem] = problems(REDIS_URL=value)
    assert problem.startswith("REDIS_URL is a value; it must be a URL such as redis://")
    assert "hunter2" not in problem


def test_a_password_is_shown_neither_in_an_error_nor_in_the_representation() -> None:
    assert "hunter2" not in problems(DATABASE_URL="mysql://me:hunter2@db/flows")[0]
    secrets = {
        "DATABASE_URL": "postgresql://me:hunter2@db/flows",
        "SECRET_KEY": "hunter2" * 5,
        "SECRETS_KEY": b"hunter2hunter2hunter2hunter2hunt".hex(),
        "ROUTER_SERVICE_KEY": "hunter2",
    }
    assert "hunter2" not in repr(Config.from_env(secrets))


def test_the_transport_follows_the_router() -> None:
    assert Config.from_env({}).transport == "console"
    assert Config.from_env({"ROUTER_URL": "http://router:8000/"}).transport == "router"
    assert Config.from_env({"ROUTER_URL": "http://router:8000/"}).router_url == "http://router:8000"
    both = {"ROUTER_URL": "http://router:8000", "WADDLEBOT_TRANSPORT": "console"}
    assert Config.from_env(both).transport == "console"


def test_the_router_transport_needs_a_router() -> None:
    assert problems(WADDLEBOT_TRANSPORT="router") == [
        "WADDLEBOT_TRANSPORT=router needs ROUTER_URL, which is not set"
    ]


def test_a_pool_cannot_be_larger_at_least_than_at_most() -> None:
    assert problems(DATABASE_POOL_MIN="30") == [
        "DATABASE_POOL_MIN=30 must not be more than DATABASE_POOL_MAX=20"
    ]


def test_loopback_is_open_to_workflows_in_development_only() -> None:
    production = {"DATABASE_URL": "postgresql://db/flows"}
    assert Config.from_env({}).egress_allow == LOOPBACK
    assert Config.from_env(production).egress_allow == ()
    chosen = {**production, "EGRESS_ALLOW": "10.0.0.0/8, *.example.org,::1"}
    assert Config.from_env(chosen).egress_allow == ("10.0.0.0/8", "*.example.org", "::1")


def test_a_destination_that_is_none_is_refused() -> None:
    assert "such as example.org,10.0.0.0/8" in problems(EGRESS_DENY="http://example.org")[0]


def test_the_example_names_every_variable_with_its_default() -> None:
    examples = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))
    assert Config.from_env({name: value for name, value in examples.items() if value}) == Config()
    inherited = {"listen_fd"}  # by a process, from whoever starts it: nobody writes that down
    assert {name.lower() for name in examples} >= {"role", "shutdown_delay_seconds"}
    assert len(examples) == len(fields(Config)) - len(inherited)


def test_a_socket_meant_for_this_process_is_inherited() -> None:
    mine = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    assert Config.from_env(mine).listen_fd == 3


@pytest.mark.parametrize("environ", [{"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_FDS": "1"}])
def test_a_socket_meant_for_another_process_is_no_concern_of_this_one(
    environ: dict[str, str],
) -> None:
    assert Config.from_env(environ).listen_fd is None


@pytest.mark.parametrize("count", ["0", "2", "one"])
def test_several_inherited_sockets_are_refused(count: str) -> None:
    found = problems(LISTEN_PID=str(os.getpid()), LISTEN_FDS=count)
    assert found == [f"LISTEN_FDS is {count!r}; it must be 1: this service listens on one socket"]


def test_a_process_number_that_is_none_is_refused() -> None:
    assert problems(LISTEN_PID="me", LISTEN_FDS="1")[0].startswith("LISTEN_PID is 'me'; it must be")


def test_an_unknown_role_is_refused() -> None:
    assert problems(ROLE="boss") == ["ROLE is 'boss'; it must be one of all, api, worker"]


def test_the_delay_is_part_of_the_grace_time() -> None:
    found = problems(SHUTDOWN_DELAY_SECONDS="5", SHUTDOWN_GRACE_SECONDS="2")
    assert found[0].startswith("SHUTDOWN_DELAY_SECONDS=5 must not be more than")


def test_the_version_is_the_project_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert Config().module_version == project["version"]


def test_history_is_kept_for_ever_unless_told() -> None:
    assert Config.from_env({}).retention_days is None
    assert Config.from_env({"RETENTION_DAYS": "90"}).retention_days == 90


@pytest.mark.parametrize("days", ["0", "-1", "1.5", "36501", "for ever"])
def test_days_are_a_whole_number(days: str) -> None:
    assert problems(RETENTION_DAYS=days) == [
        f"RETENTION_DAYS is {days!r}; it must be a whole number of days from 1 to 36500, such as 90"
    ]


def test_a_secret_that_could_be_guessed_is_refused_and_not_shown() -> None:
    (line,) = problems(SECRET_KEY="hunter2-hunter2-hunter2-hunter2")
    assert line.startswith("SECRET_KEY has 31 bytes; it must have at least 32")
    assert "hunter2" not in line
    assert Config.from_env({"SECRET_KEY": "é" * 16}).secret_key == "é" * 16


def test_a_url_of_brackets_is_refused_with_an_example_and_a_database_s_is_not_shown() -> None:
    assert problems(JWKS_URL="foo") == [
        "JWKS_URL is 'foo'; it must be a URL such as "
        "https://login.example.org/.well-known/jwks.json"
    ]
    assert problems(ROUTER_URL="http://[") == [
        "ROUTER_URL is 'http://['; it must be a URL such as https://router.example.org"
    ]
    assert problems(DATABASE_URL="mysql://h/db?password=hunter2") == [
        "DATABASE_URL is a value; it must be a URL such as "
        "postgresql://user:password@host:5432/name"
    ]


def test_keys_of_secrets_are_read_in_hex_and_base64() -> None:
    key = bytes(range(32))
    in_base64 = base64.b64encode(key).decode()
    for text in (key.hex(), key.hex().upper(), in_base64, in_base64.replace("+", "-")):
        assert Config.from_env({"SECRETS_KEY": text}).secrets_key == (key,)
    several = f"{'ab' * 32}, {in_base64}"
    assert Config.from_env({"SECRETS_KEY": several}).secrets_key == (b"\xab" * 32, key)


@pytest.mark.parametrize(
    "value",
    [
        "hunter2",
        "ab" * 31,
        "ab" * 33,
        "zz" * 32,
        ",",
        "ab" * 32 + ",",
        "hunter2" * 9 + "h",
        "ab " * 16 + "ab" * 8,
    ],
)
def test_what_is_no_key_of_secrets_is_refused_and_not_shown(value: str) -> None:
    assert problems(SECRETS_KEY=value) == [
        "SECRETS_KEY is a value; it must be a comma list of keys of 32 bytes in hex or base64, "
        "as of: openssl rand -hex 32"
    ]


@pytest.mark.parametrize("value", ["proxy.example", "10.0.0.0/33", "10.0.0.1;10.0.0.2"])
def test_trusted_proxies_are_addresses_and_networks(value: str) -> None:
    assert "a comma list of addresses and networks" in problems(TRUSTED_PROXIES=value)[0]
