"""Reading, overriding, checking: what wins, what is refused, and that everything wrong is said in one go."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maitred.config import ClientConfig, Config, ConfigError, Hardware, Problem, Size, load, show
from maitred.config.document import read_text
from maitred.config.kinds import MAX_POOL_SIZE
from maitred.config.schema import BrokerConfig, PoolConfig, keys_of, route
from maitred.protocol.limits import MAX_AGENT_WORKERS, MAX_MESSAGE_BYTES, MAX_NAME_CHARS, MAX_SLOTS, MAX_TIMEOUT_S

HERE = Hardware(cpus=4, gpus=0)

TWO_POOLS = """
[pools.fast]
adapter = "fast:service"
size = 2
[pools.far-away]
timeout = "2min"
[routing]
"slow_*" = "far-away"
"*" = "fast"
"""


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _load(text: str | None = None, *overrides: str, environ: dict[str, str] | None = None, gpus: int = 0) -> Config:
    path = None
    if text is not None:
        path = Path("my.toml")
        path.write_text(text)
    return load(path, overrides=overrides, environ=environ or {}, hardware=Hardware(cpus=4, gpus=gpus))


def _problems(text: str | None = None, *overrides: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        _load(text, *overrides, environ=environ)
    lines = str(caught.value).split("\n")
    assert lines == [str(problem) for problem in caught.value.problems]
    return lines


def _problem(text: str | None = None, *overrides: str, environ: dict[str, str] | None = None) -> str:
    lines = _problems(text, *overrides, environ=environ)
    assert len(lines) == 1, lines
    return lines[0]


# --- what is in force ---


def test_the_built_in_default() -> None:
    config = _load()
    assert config.source is None
    assert list(config.pools) == ["general", "optimizer", "neural"]
    general, optimizer, neural = config.pools.values()
    assert (general.size, optimizer.size, neural.size) == (Size(8, 8), Size(2, 2), Size(4, 4))
    assert [pool.timeout_s for pool in config.pools.values()] == [30, 300, 600]
    assert [pool.memory_limit_bytes for pool in config.pools.values()] == [512 * 10**6, 4 * 10**9, 8 * 10**9]
    assert [pool.health_check_interval_s for pool in config.pools.values()] == [30, 60, 60]
    assert [pool.gpu for pool in config.pools.values()] == ["off", "off", "auto"]
    assert (config.broker.clients, config.broker.workers) == ("tcp://127.0.0.1:5750", "tcp://127.0.0.1:5751")
    assert config.broker.http == "127.0.0.1:5752"
    assert config.broker.max_message_bytes == 256 * 2**20
    assert config.broker.run_dir is None
    assert [config.route(name) for name in ("optimize_model", "train_model", "echo")] == [
        "optimizer",
        "neural",
        "general",
    ]


def test_the_broker_of_the_built_in_file_is_the_default_of_each_key() -> None:
    assert _load("").broker == _load("[pools.a]").broker == _load().broker


@pytest.mark.parametrize("text", ["", "[pools]", "[broker]\nhttp = ''"])
def test_a_file_that_names_no_pool_has_the_default_pools(text: str) -> None:
    config = _load(text)
    assert config.pools == _load().pools
    assert config.routing == _load().routing
    assert config.source == Path.cwd() / "my.toml"


def test_a_file_that_names_pools_has_exactly_those() -> None:
    config = _load(TWO_POOLS)
    assert list(config.pools) == ["fast", "far-away"]
    assert config.routing == {"slow_*": "far-away", "*": "fast"}
    assert _load("[pools.a]").routing == {}
    assert _load('[routing]\n"x*" = "neural"').routing == {"x*": "neural"}


def test_a_pool_without_an_adapter_is_served_from_outside() -> None:
    pool = _load(TWO_POOLS).pools["far-away"]
    assert (pool.adapter, pool.size) == (None, Size(0, 0))
    assert _load("[pools.a]\nsize = 0").pools["a"].size == Size(0, 0)


def test_the_working_directory_s_file_is_found() -> None:
    Path("maitred.toml").write_text(TWO_POOLS)
    config = _load()
    assert list(config.pools) == ["fast", "far-away"]
    assert config.source == Path.cwd() / "maitred.toml"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("3", Size(3, 3)),
        ('"cpus // 2"', Size(2, 2)),
        ("{ min = 1, max = 8 }", Size(1, 8)),
        ('{ min = "gpus", max = "2 * cpus" }', Size(0, 8)),
    ],
)
def test_sizes(size: str, expected: Size) -> None:
    assert _load(f'[pools.a]\nadapter = "a:s"\nsize = {size}').pools["a"].size == expected


def test_what_clients_are_given_by_their_name() -> None:
    config = _load('[clients."batch-*"]\nweight = 2\nmax_in_flight = 50\n[clients.web]\nweight = 8')
    assert config.clients == {"batch-*": ClientConfig(2, 50, None), "web": ClientConfig(8, None, None)}
    assert list(config.pools) == ["general", "optimizer", "neural"]
    assert show(config)["clients"]["web"] == {"weight": 8, "max_in_flight": None, "max_sessions": None}
    problem = _problem("[clients.web]\nwieght = 8")
    assert problem == (
        "my.toml:2: clients.web.wieght = 8: unknown key; expected one of weight, max_in_flight, max_sessions; "
        "did you mean weight?"
    )


def test_routing_is_by_the_first_match_and_the_case() -> None:
    config = _load('[routing]\n"a_b*" = "neural"\n"a*" = "optimizer"')
    assert [route(config, name) for name in ("a_bc", "ab", "A_b", "")] == ["neural", "optimizer", None, None]


# --- overrides ---


def test_options_win_over_the_environment_over_the_file() -> None:
    text = '[pools.a]\nadapter = "a:s"\nsize = 1\nmax_queue = 1\ntimeout = 1'
    environ = {"MAITRED_POOLS__A__MAX_QUEUE": "2", "MAITRED_POOLS__A__TIMEOUT": "2s"}
    config = _load(text, "pools.a.timeout=3", "pools.a.timeout=4", environ=environ)
    pool = config.pools["a"]
    assert (pool.size.min, pool.max_queue, pool.timeout_s) == (1, 2, 4)
    assert config.origins["pools.a.size"] == "my.toml:3"
    assert config.origins["pools.a.max_queue"] == "environment MAITRED_POOLS__A__MAX_QUEUE"
    assert config.origins["pools.a.timeout"] == "--set"


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("pools.general.size=4", "size", Size(4, 4)),
        ("pools.general.size=2 * cpus", "size", Size(8, 8)),
        ('pools.general.size="cpus"', "size", Size(4, 4)),
        ("pools.general.size={min=1,max=3}", "size", Size(1, 3)),
        ("pools . general . timeout =1min", "timeout_s", 60.0),
        ('pools."general".adapter=a.b:c', "adapter", "a.b:c"),
        ("pools.general.start_method=spawn", "start_method", "spawn"),
        ("pools.general.memory_limit=1GiB", "memory_limit_bytes", 2**30),
    ],
)
def test_values_are_toml_or_else_strings(override: str, field: str, value: Any) -> None:
    assert getattr(_load(None, override).pools["general"], field) == value
    name, _, text = override.partition("=")
    if " . " not in name and '"' not in name:
        environ = {"MAITRED_" + name.upper().replace(".", "__"): text}
        assert getattr(_load(environ=environ).pools["general"], field) == value


def test_part_of_a_size_can_be_overridden() -> None:
    text = '[pools.a]\nadapter = "a:s"\nsize = { min = 1, max = 8 }'
    assert _load(text, "pools.a.size.min=2").pools["a"].size == Size(2, 8)
    assert _load(text, environ={"MAITRED_POOLS__A__SIZE__MAX": "9"}).pools["a"].size == Size(1, 9)
    assert "size is set to 3 at my.toml:3" in _problem('[pools.a]\nadapter = "a:s"\nsize = 3', "pools.a.size.min=2")


def test_variables_find_names_that_they_cannot_spell() -> None:
    text = "[pools.far-away]\n[pools.My__Pool]\n"
    environ = {"MAITRED_POOLS__FAR_AWAY__TIMEOUT": "5", "MAITRED_POOLS__MY__POOL__TIMEOUT": "6"}
    config = _load(text, environ=environ)
    assert [pool.timeout_s for pool in config.pools.values()] == [5, 6]


def test_other_variables_are_none_of_ours() -> None:
    environ = {"MAITRED_ENDPOINT": "tcp://x:1", "MAITRED_RUN_DIR": "/x", "MAITRED_": "", "XMAITRED_POOLS__A": "1"}
    assert _load(environ=environ) == _load()


def test_routes_that_options_add_come_first() -> None:
    config = _load(None, 'routing."sum_*"=optimizer', "routing.train_*=general", "routing.x=neural")
    assert list(config.routing.items()) == [
        ("x", "neural"), ("sum_*", "optimizer"), ("optimize_*", "optimizer"), ("train_*", "general"), ("*", "general"),
    ]  # fmt: skip


def test_a_new_pool_by_options_needs_its_adapter() -> None:
    config = _load(None, "pools.extra.size=3", "pools.extra.adapter=e:s", "pools.outside={}")
    assert list(config.pools) == ["general", "optimizer", "neural", "extra", "outside"]
    assert config.pools["extra"].size == Size(3, 3)
    problem = _problem(None, "pools.genral.size=3")
    assert problem.startswith('--set: pools.genral.size = 3: no pool "genral"')
    assert problem.endswith("or an adapter for a new one; did you mean general?")


@pytest.mark.parametrize(
    "override", ["", "x", "=", "=4", "broker", "size=4", "a..b=1", 'a."b=1', "pools.general size=1"]
)
def test_malformed_options(override: str) -> None:
    assert "expected KEY=VALUE" in _problem(None, override)


# --- what is refused ---


def test_everything_is_reported_together_with_where_and_what() -> None:
    text = """\
brker = 1
[broker]
clients = "tcp://0.0.0.0:5750"
http = "127.0.0.1:5751"
heartbeat_liveness = 1
hearbeat_interval = "1s"
[pools.general]
adapter = "x.y"
size = "2 * cpu"
memory_limit = "512mb"
timeout = "5 parsecs"
[pools.ext]
size = 3
gpu = "Auto"
[routing]
"train_*" = "genral"
x = 3
"""
    environ = {"MAITRED_POOLS__GENERAL__SIZ": "4", "MAITRED_X__Y": "3"}
    found = _problems(text, "pools.genral.size=4", "nonsense", "pools.general.max_queue=-1", environ=environ)
    expected = [
        r"my.toml:1: brker = 1: unknown key; expected one of broker, pools, routing, clients; did you mean broker\?",
        r'my.toml:3: broker.clients = "tcp://0.0.0.0:5750": other hosts .*insecure = true, .*',
        r'my.toml:4: broker.http = "127.0.0.1:5751": broker.workers is there already; expected another port',
        r"my.toml:5: broker.heartbeat_liveness = 1: expected a whole number from 2 to 100",
        r'my.toml:6: broker.hearbeat_interval = "1s": unknown key; .*did you mean heartbeat_interval\?',
        r'my.toml:8: pools.general.adapter = "x.y": expected "module:attribute".*did you mean "x.y:service"\?',
        r"""my.toml:9: pools.general.size = "2 \* cpu": 'cpu' is not known; .*did you mean cpus\?""",
        r'my.toml:10: pools.general.memory_limit = "512mb": expected a size: .*did you mean "512MB"\?',
        r'my.toml:11: pools.general.timeout = "5 parsecs": expected a duration: .*',
        r"my.toml:13: pools.ext.size = 3: a pool without an adapter .*",
        r'my.toml:14: pools.ext.gpu = "Auto": expected one of "off", "auto", "required"; did you mean "auto"\?',
        r'my.toml:16: routing."train_\*" = "genral": no such pool; expected one of general, ext; did you mean "general"\?',
        r"my.toml:17: routing.x = 3: expected the name of a pool.*",
        r"environment MAITRED_POOLS__GENERAL__SIZ: pools.general.siz = 4: unknown key; .*did you mean size\?",
        r"environment MAITRED_X__Y: x: unknown key; .*",
        r'--set: pools.genral.size = 4: no pool "genral"; .*',
        r'--set: "nonsense": expected KEY=VALUE.*',
        r"--set: pools.general.max_queue = -1: expected a whole number from 1 to 1000000",
    ]
    assert len(found) == len(expected), found
    for pattern in expected:
        assert any(re.fullmatch(pattern, line) for line in found), (pattern, found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[broker\n", r"my.toml:1: no TOML: "),
        ("[pools.a]\n[pools.a]\n", r"my.toml:2: no TOML: .*twice"),
        ("a = 1\na = 2\n", r"my.toml.*: no TOML: "),
        ("x = " + "[" * 5000, r"my.toml.*: no TOML: "),
        ("x = " + "9" * 5000, r"my.toml.*: no TOML: "),
        ("[[pools]]\n", r"my.toml:1: pools = \[\{\}\]: expected a table: \[pools\]"),
        ("broker = 3", r"my.toml:1: broker = 3: expected a table: \[broker\]"),
        ("[pools]\na = 3", r"my.toml:2: pools.a = 3: expected a table: \[pools.a\]"),
        (
            "[pools]\nsize = 3",
            r"my.toml:2: pools.size = 3: a pool's key outside of a pool; expected it in \[pools.NAME\]",
        ),
        ("[pool.a]\n", r"my.toml:1: pool: unknown key; .*did you mean pools\?"),
        ('[pools."a b"]\n', r'my.toml:1: pools."a b": no name for a pool; expected a name of'),
        ("[pools.a]\nmax_message = 3", r"my.toml:2: pools.a.max_message = 3: unknown key"),
        ("[broker]\nadapter = 3", r"broker.adapter = 3: unknown key, it belongs in \[pools.NAME\]"),
        ('[routing]\n"" = "general"', r'my.toml:2: routing."" = "general": the pattern has 0'),
        ("[pools.a]\nrestart_backoff = '1min'", r'"1min": expected at most restart_backoff_max, which is 30s'),
        ("[pools.a]\nadapter = 'a:b'\nsize = {min = 3, max = 2}", r"min comes to 3, max to 2 here"),
        ("[pools.a]\nadapter = 'a:b'\nsize = {min = 3}", r"expected a table of exactly min and max"),
        ("[pools.a]\nadapter = 'a:b'\nsize = 1025", r"out of range; expected a whole number from 0 to 1024"),
        ("[pools.a]\nadapter = 'a:b'\nsize = 'cpus * 1000'", r"comes to 4000 here"),
        ("[pools.a]\nadapter = 'a:b'\nsize = 1.5", r"expected a whole number from 0 to 1024"),
        ("[pools.a]\nadapter = 'a:b'\nsize = true", r"expected a whole number from 0 to 1024"),
        ("[pools.a]\nadapter = 'a:b'\nsize = -1", r"out of range"),
        ("[pools.a]\nadapter = 'a:b'\ngpu = 'required'", r'my.toml:3: pools.a.gpu = "required": this host has no GPU'),
        ("[pools.a]\ntimeout = '0s'", r"out of range; expected a duration: .*from 1ms to 7d"),
        ("[pools.a]\nmemory_limit = 512", r"out of range; expected a size: "),
        ("[pools.a]\nprefetch = true", r"expected a whole number"),
        ("[broker]\ninsecure = 'yes'", r"expected true or false"),
        ("[broker]\nrun_dir = 'here'", r"expected an absolute path"),
        (
            f"[broker]\nrun_dir = '/{'x' * 120}'",
            r"they have \d+; expected a directory whose sockets' paths have at most",
        ),
        ("[broker]\nheartbeat_interval = 1979-05-27", r"broker.heartbeat_interval = 1979-05-27: expected a duration"),
    ],
)
def test_refused(text: str, said: str) -> None:
    assert re.search(said, _problem(text)), _problem(text)


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("tcp://127.0.0.1", "expected an endpoint"),
        ("tcp://:5750", "expected an endpoint"),
        ("127.0.0.1:5750", 'did you mean "tcp://127.0.0.1:5750"?'),
        ("tcp://127.0.0.1:66000", "ports end at 65535"),
        ("tcp://999.0.0.1:1", "999.0.0.1 is no IP address"),
        ("tcp://[::g]:1", "expected an endpoint"),
        ("tcp://[1:2]:1", "1:2 is no IP address"),
        ("tcp://a*:1", "* alone means"),
        ("udp://127.0.0.1:1", "expected an endpoint"),
        ("ipc://relative", "expected an endpoint"),
        ("ipc:///" + "x" * 107, "the path has 108 bytes"),
        ("tcp://*:1", "other hosts can reach it"),
        ("tcp://192.168.1.5:1", "other hosts can reach it"),
        ("tcp://[::]:1", "other hosts can reach it"),
        ("tcp://example:1", "other hosts can reach it"),
        ("tcp://127.0.0.1:5751", "broker.workers = "),
        ("tcp://localhost:5751", "broker.clients is there already"),
    ],
)
def test_endpoints_refused(endpoint: str, said: str) -> None:
    assert said in _problem(f"[broker]\nclients = '{endpoint}'")


@pytest.mark.parametrize(
    "endpoint",
    ["tcp://localhost:1", "tcp://127.5.0.1:0", "tcp://[::1]:65535", "tcp://127.0.0.1:*", "ipc:///run/x", "tcp://lo:1"],
)
def test_endpoints_of_this_host(endpoint: str) -> None:
    assert _load(f"[broker]\nclients = '{endpoint}'").broker.clients == endpoint


@pytest.mark.parametrize(
    "http", ["127.0.0.1", "http://127.0.0.1:1", ":1", "127.0.0.1:99999", "0.0.0.0:5752", "127.0.0.1:5750"]
)
def test_http_addresses_refused(http: str) -> None:
    assert f'broker.http = "{http}"' in _problem(f"[broker]\nhttp = '{http}'")


def test_what_others_can_reach_has_to_be_meant() -> None:
    text = "[broker]\nclients = 'tcp://*:5750'\nworkers = 'tcp://0.0.0.0:5751'\nhttp = '[::]:5752'\n"
    assert len(_problems(text)) == 3
    assert _load(text + "insecure = true").broker.insecure
    assert "broker.workers = " in _problem(text + "insecure = true", "broker.clients=tcp://10.0.0.1:5751")
    keyed = text + "majordomo = 'tcp://*:5753'\nkey = '/x/broker.key'\n"
    assert "http_token = " in _problem(keyed)  # a key says nothing about HTTP
    assert _load(keyed + "http_token = '/x/token'").broker.key_file == Path("/x/broker.key")
    assert len(_problems(text + "majordomo = 'tcp://*:5753'\nhttp_token = '/x/token'")) == 3


def test_majordomos_port_is_another_one() -> None:
    text = "[broker]\nmajordomo = 'tcp://127.0.0.1:5750'\n"
    assert "broker.majordomo = " in _problem(text)
    assert "broker.clients is there already" in _problem(text)


def test_ports_that_the_system_chooses_are_distinct() -> None:
    config = _load("[broker]\nclients = 'tcp://127.0.0.1:0'\nworkers = 'tcp://127.0.0.1:0'\nhttp = '127.0.0.1:0'")
    assert config.broker.clients == config.broker.workers
    assert "broker.workers" in _problem("[broker]\nclients = 'ipc:///x'\nworkers = 'ipc:///x'")


def test_a_gpu_where_there_is_one() -> None:
    config = _load("[pools.a]\nadapter = 'a:b'\ngpu = 'required'\nsize = 'gpus'", gpus=2)
    assert config.pools["a"].size == Size(2, 2)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, said in [
        (tmp_path / "absent.toml", "absent.toml: cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
        (Path("nul\0"), "cannot be read"),
    ]:
        with pytest.raises(ConfigError, match=said):
            load(path, environ={})
    Path("latin.toml").write_bytes(b"# fine\nx = '\xe9'\n")
    with pytest.raises(ConfigError, match=r"latin.toml:2: expected UTF-8 text"):
        load(Path("latin.toml"), environ={})
    Path("large.toml").write_bytes(b"#" * 2_000_000)
    with pytest.raises(ConfigError, match="at most 1,048,576 bytes"):
        load(Path("large.toml"), environ={})


def test_lines_are_those_of_the_keys() -> None:
    text = 'a = 1\n# b = 2\n[x . "y.z"]  # comment\n"k=1" = 2\n  c.d = "=" \n[[t]]\nc = 1\n'
    document = read_text(text, "f")
    assert document.origin(("a",)) == "f:1"
    assert document.origin(("x", "y.z")) == "f:3"
    assert document.origin(("x", "y.z", "k=1")) == "f:4"
    assert document.origin(("x", "y.z", "c", "d")) == "f:5"
    assert document.origin(("t", "c")) == "f:7"
    assert document.origin(("x",)) == "f:3"
    assert document.origin(("unknown",)) == "f"


# --- anything else ---

NAMES = [key.name for table in (BrokerConfig, PoolConfig) for key in keys_of(table).values()]
PATHS = st.lists(
    st.sampled_from(["pools", "broker", "routing", "general", "a", "*", "min", *NAMES]), min_size=1, max_size=4
)
VALUES = st.sampled_from(
    ["1", "0", "-1", "1e400", "nan", "true", '""', "{}", "[]", "{ min = 1, max = 'x' }", "1s", "9" * 400]
) | (st.text())


def _is_config_or_refusal(text: str, overrides: list[str], environ: dict[str, str]) -> None:
    problems: list[Problem] = []
    try:
        config = _load(text, *overrides, environ=environ)
        assert all(target in config.pools for target in config.routing.values())
    except ConfigError as error:
        problems = error.problems
    assert all(len(str(problem).splitlines()) == 1 for problem in problems)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(PATHS, VALUES), max_size=4), st.lists(st.tuples(PATHS, VALUES), max_size=3))
def test_any_override_is_a_configuration_or_refused(
    options: list[tuple[list[str], str]], variables: list[tuple[list[str], str]]
) -> None:
    environ = {"MAITRED_" + "__".join(path).upper(): value for path, value in variables}
    _is_config_or_refusal(TWO_POOLS, [f"{'.'.join(path)}={value}" for path, value in options], environ)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(PATHS, VALUES), max_size=4))
def test_any_file_is_a_configuration_or_refused(lines: list[tuple[list[str], str]]) -> None:
    text = "".join(f'"{"".join(path[:1])}"."{".".join(path[1:])}" = {value}\n' for path, value in lines)
    _is_config_or_refusal(text.encode(errors="replace").decode(), [], {})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(max_size=40))
def test_any_option_is_applied_or_refused(override: str) -> None:
    _is_config_or_refusal("", [override, f"pools.{override}", f"routing.{override}", f"broker.http={override}"], {})


def test_limits_agree_with_the_protocol_s() -> None:
    keys = keys_of(PoolConfig)
    assert MAX_POOL_SIZE == MAX_AGENT_WORKERS
    assert keys["timeout_s"].kind.schema()["anyOf"][0]["maximum"] == MAX_TIMEOUT_S
    assert keys["prefetch"].kind.schema()["maximum"] + 1 == MAX_SLOTS
    assert _load().broker.max_message_bytes == MAX_MESSAGE_BYTES
    assert _load(f"[pools.{'x' * MAX_NAME_CHARS}]").pools
    assert "no name for a pool" in _problem(f"[pools.{'x' * (MAX_NAME_CHARS + 1)}]")
