"""Settings are strict, layered, and never hold a secret."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kafkeep import settings
from kafkeep.errors import SettingsError
from kafkeep.settings import Loaded, load, models, read_table

CANARY = "canary-4711-hunter2"
LOGIN = """
[cluster.p]
bootstrap = "k:1"
security = "sasl_tls"
[cluster.p.sasl]
mechanism = "PLAIN"
username = "u"
"""


def read(tmp_path: Path, text: str, **env: str) -> Loaded:
    (tmp_path / "kafkeep.toml").write_text(text)
    return load(None, env=env, cwd=tmp_path, home=tmp_path / "home")


def refused(tmp_path: Path, text: str, **env: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text, **env)
    assert CANARY not in str(caught.value) + caught.value.hint
    return caught.value


FULL = """
[cluster.production]
bootstrap = ["kafka1:9093", "[::1]:9093"]
security = "sasl_tls"
[cluster.production.tls]
ca_file = "ca.pem"
[cluster.production.sasl]
mechanism = "scram-sha-512"
username = "backup"
password = { env = "KAFKA_PASSWORD" }
[repository.main]
url = "backups"
"""


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    loaded = read(tmp_path, FULL)
    cluster = loaded.settings.cluster["production"]
    assert cluster.bootstrap == ("kafka1:9093", "[::1]:9093")
    assert cluster.security == "SASL_SSL"
    assert cluster.sasl is not None
    assert cluster.sasl.mechanism == "SCRAM-SHA-512"
    assert cluster.tls is not None
    assert cluster.tls.ca_file == str(tmp_path / "ca.pem")
    assert loaded.settings.repository["main"].url == str(tmp_path / "backups")


def test_no_file_is_no_error(tmp_path: Path) -> None:
    loaded = load(None, env={}, cwd=tmp_path, home=tmp_path)
    assert loaded.file is None
    assert (loaded.settings.cluster, loaded.settings.repository, list(loaded.leaves())) == ({}, {}, [])


def test_the_file_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.toml cannot be read"):
        load(tmp_path / "absent.toml", env={}, cwd=tmp_path, home=tmp_path)


def test_files_are_looked_for_in_order(tmp_path: Path) -> None:
    own = tmp_path / "home/.config/kafkeep/kafkeep.toml"
    own.parent.mkdir(parents=True)
    own.write_text('[repository.own]\nurl = "/own"\n')
    home = tmp_path / "home"
    assert load(None, env={}, cwd=tmp_path, home=home).file == own
    (tmp_path / "kafkeep.toml").write_text('[repository.here]\nurl = "/here"\n')
    assert load(None, env={}, cwd=tmp_path, home=home).file == tmp_path / "kafkeep.toml"
    named = tmp_path / "named.toml"
    named.write_text("")
    assert load(None, env={"KAFKEEP_CONFIG": str(named)}, cwd=tmp_path, home=home).file == named
    assert load(own, env={"KAFKEEP_CONFIG": str(named)}, cwd=tmp_path, home=home).file == own


@pytest.mark.parametrize(
    ("text", "key", "table", "near"),
    [
        ('[cluster.p]\nbootstap = "k:1"\n', "bootstap", "[cluster.p]", "'bootstrap'"),
        ('[cluster.p]\nbootstrap = "k:1"\n[cluster.p.tls]\nca_fil = "x"\n', "ca_fil", "[cluster.p.tls]", "'ca_file'"),
        ('[repository.r]\nurl = "/x"\ncompresion = "zstd"\n', "compresion", "[repository.r]", "'compression'"),
        ('[clusters.p]\nbootstrap = "k:1"\n', "clusters", "the top level", "'cluster'"),
    ],
)
@pytest.mark.fault("E8")
def test_an_unknown_key_is_refused_with_the_nearest(tmp_path: Path, text: str, key: str, table: str, near: str) -> None:
    error = refused(tmp_path, text)
    assert f"unknown key '{key}' in {table} of {tmp_path / 'kafkeep.toml'}" in error.message
    assert near in error.hint


def test_every_settings_class_refuses_a_typo() -> None:
    for model in models():
        with pytest.raises(SettingsError, match="unknown key 'no_such_key' in the top level"):
            read_table(model, {"no_such_key": 1})
        assert model.__struct_config__.frozen is True


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ('security = "plaintext"\ntls = {}', "a tls table has no effect with security PLAINTEXT"),
        ('sasl = {mechanism = "GSSAPI"}', "a sasl table has no effect with security PLAINTEXT"),
        ('security = "sasl_tls"', "security SASL_SSL needs a sasl table"),
        ('security = "tsl"', "should be plaintext, tls, sasl_plaintext or sasl_tls"),
        ('security = "tls"\ntls = {key_file = "k"}', "key_file is set without cert_file"),
        ('security = "tls"\ntls = {key_password = {env = "X"}}', "key_password is set without cert_file"),
        ('security = "tls"\ntls = {verify = false, ca_file = "c"}', "ca_file has no effect when verify is false"),
        ('security = "sasl_tls"\nsasl = {mechanism = "PLAIN", username = "u"}', "password is missing; PLAIN needs it"),
        ('security = "sasl_tls"\nsasl = {mechanism = "SCRAM-SHA-1"}', "should be one of PLAIN, SCRAM-SHA-256"),
        (
            'security = "sasl_tls"\nsasl = {mechanism = "OAUTHBEARER", username = "u", token = {file = "t"}}',
            "username has no effect with OAUTHBEARER",
        ),
        ('security = "sasl_tls"\nsasl = {mechanism = "OAUTHBEARER"}', "needs exactly one of token, client_credentials"),
        (
            'security = "sasl_tls"\nsasl = {mechanism = "OAUTHBEARER", token = {env = "T"}}',
            "give its file or its command",
        ),
        ('security = "sasl_plaintext"\nsasl = {mechanism = "AWS_MSK_IAM"}', "AWS_MSK_IAM needs security sasl_tls"),
        ('security = "tls"\ntls = {verify = "maybe"}', "should be true or false"),
        ("connect_timeout_seconds = 0", "greater than 0"),
        ("connect_timeout_seconds = nan", "should be a number greater than 0 and at most 3600"),
    ],
)
@pytest.mark.fault("E8")
def test_unknown_and_idle_security_options_are_refused(tmp_path: Path, cluster: str, message: str) -> None:
    error = refused(tmp_path, f'[cluster.p]\nbootstrap = "k:9092"\n{cluster}\n')
    assert message in error.message
    assert "cluster.p" in error.message


@pytest.mark.parametrize(
    "bootstrap", ['""', '"kafka1"', '"kafka1:0"', '"kafka1:65536"', '"k:9092,k k:1"', "[1]", "5", '"::1:9092"', "[]"]
)
def test_a_bad_bootstrap_is_refused(tmp_path: Path, bootstrap: str) -> None:
    assert "'bootstrap' in [cluster.p]" in refused(tmp_path, f"[cluster.p]\nbootstrap = {bootstrap}\n").message


@pytest.mark.parametrize(
    "text",
    [
        f'{LOGIN}password = "{CANARY}"\n',
        f'[cluster.p]\nbootstrap = "user:{CANARY}@k:1"\n',
        f'[repository.r]\nurl = "s3://key:{CANARY}@bucket"\n',
        f'[cluster.p]\nbootstrap = "k:1"\npasword = "{CANARY}"\n',
        f'[cluster.p]\nbootstrap = "k:1"\nsecurity = "{CANARY}"\n',
        f'[cluster.p]\nbootstrap = "k:1"\nconnect_timeout_seconds = "{CANARY}"\n',
        f'[cluster.p]\nbootstrap = "k:1"\npassword = "{CANARY}\n',
    ],
)
@pytest.mark.fault("E5")
def test_a_secret_written_out_is_refused_and_never_repeated(tmp_path: Path, text: str) -> None:
    error = refused(tmp_path, text)
    assert CANARY not in repr(error.__cause__)


def test_a_literal_secret_gets_the_hint_how_to_do_it(tmp_path: Path) -> None:
    error = refused(tmp_path, f'{LOGIN}password = "x"\n')
    assert "a secret is not written into the settings" in error.message
    assert "{file = " in error.hint


@pytest.mark.parametrize("source", ["{}", '{file = "a", env = "B"}', "{command = []}", '{fil = "a"}'])
def test_a_secret_has_exactly_one_source(tmp_path: Path, source: str) -> None:
    text = f'[cluster.p]\nbootstrap = "k:1"\nsecurity = "tls"\ntls = {{cert_file = "c", key_password = {source}}}\n'
    refused(tmp_path, text)


class TestEnvironment:
    def test_goes_over_the_file(self, tmp_path: Path) -> None:
        loaded = read(tmp_path, FULL, KAFKEEP_CLUSTER__PRODUCTION__BOOTSTRAP="other:1,third:2")
        assert loaded.settings.cluster["production"].bootstrap == ("other:1", "third:2")
        sources = {key: source for key, _, source in loaded.leaves()}
        assert sources["cluster.production.bootstrap"] == "environment KAFKEEP_CLUSTER__PRODUCTION__BOOTSTRAP"
        assert sources["cluster.production.security"] == str(tmp_path / "kafkeep.toml")
        assert sources["cluster.production.client_id"] == "default"

    def test_alone_makes_a_cluster(self, tmp_path: Path) -> None:
        loaded = load(None, env={"KAFKEEP_CLUSTER__LAB__BOOTSTRAP": "k:1"}, cwd=tmp_path, home=tmp_path)
        assert loaded.settings.cluster["lab"].bootstrap == ("k:1",)

    def test_finds_names_with_other_characters(self, tmp_path: Path) -> None:
        text = '[cluster."eu-west.1"]\nbootstrap = "k:1"\n'
        loaded = read(tmp_path, text, KAFKEEP_CLUSTER__EU_WEST_1__CLIENT_ID="me")
        assert loaded.settings.cluster["eu-west.1"].client_id == "me"

    def test_a_secret_in_a_variable_stays_there(self, tmp_path: Path) -> None:
        loaded = read(tmp_path, FULL, KAFKEEP_CLUSTER__PRODUCTION__SASL__PASSWORD=CANARY)
        sasl = loaded.settings.cluster["production"].sasl
        assert sasl is not None
        assert sasl.password == settings.SecretSource(env="KAFKEEP_CLUSTER__PRODUCTION__SASL__PASSWORD")
        assert CANARY not in repr(loaded)

    def test_replaces_the_source_of_a_secret_as_a_whole(self, tmp_path: Path) -> None:
        loaded = read(tmp_path, FULL, KAFKEEP_CLUSTER__PRODUCTION__SASL__PASSWORD__FILE="/run/x")
        sasl = loaded.settings.cluster["production"].sasl
        assert sasl is not None
        assert sasl.password == settings.SecretSource(file="/run/x")

    @pytest.mark.parametrize(
        ("variable", "near"),
        [
            ("KAFKEEP_CLUSTR__P__BOOTSTRAP", "'cluster'"),
            ("KAFKEEP_CLUSTER__P", "KAFKEEP_TABLE__NAME__KEY"),
            ("KAFKEEP_CLUSTER____BOOTSTRAP", "KAFKEEP_TABLE__NAME__KEY"),
            ("KAFKEEP_CLUSTER__PRODUCTION__BOOTSTAP", "'bootstrap'"),
        ],
    )
    def test_an_unknown_variable_is_refused(self, tmp_path: Path, variable: str, near: str) -> None:
        error = refused(tmp_path, FULL, **{variable: "k:1"})
        assert variable in error.message
        assert near in error.hint

    def test_truth_is_spelled_in_several_ways(self, tmp_path: Path) -> None:
        loaded = read(tmp_path, FULL, KAFKEEP_CLUSTER__PRODUCTION__TLS__CHECK_HOSTNAME="no")
        tls = loaded.settings.cluster["production"].tls
        assert tls is not None
        assert tls.check_hostname is False

    def test_other_variables_are_left_alone(self, tmp_path: Path) -> None:
        read(tmp_path, FULL, KAFKEEP_LAB="x", KAFKEEP_ALLOW_INSECURE="1", KAFKA__X="1")


@pytest.mark.fault("E9")
def test_hostile_files_end_in_an_error(tmp_path: Path) -> None:
    assert "is not TOML" in refused(tmp_path, "[[[").message
    assert "is not TOML" in refused(tmp_path, "a = " + "[" * 100_000).message
    assert "larger than" in refused(tmp_path, "#" * (settings.MAX_FILE_BYTES + 1)).message
    assert "is not a name" in refused(tmp_path, '[cluster."a\\u001b[31m"]\nbootstrap = "k:1"\n').message
    (tmp_path / "kafkeep.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="is not TOML"):
        load(None, env={}, cwd=tmp_path, home=tmp_path)


CONTROLLERS = """
[cluster.p]
bootstrap = "k:1"
security = "tls"
controllers = ["c1:9093", "[::1]:9093"]
"""


def test_controllers_have_the_clusters_security_unless_they_have_their_own(tmp_path: Path) -> None:
    cluster = read(tmp_path, CONTROLLERS).settings.cluster["p"]
    assert cluster.controllers == ("c1:9093", "[::1]:9093") and cluster.controller_security is None
    text = CONTROLLERS + 'controller_security = "plaintext"\n[cluster.p.tls]\nca_file = "/ca.pem"\n'
    assert read(tmp_path, text).settings.cluster["p"].controller_security == "PLAINTEXT"
    # Each table serves whichever listener has a use for it.
    text = LOGIN.replace("sasl_tls", "plaintext") + 'password = { env = "P" }\n'
    own = 'security = "plaintext"\ncontrollers = "c:1"\ncontroller_security = "sasl_plaintext"'
    assert read(tmp_path, text.replace('security = "plaintext"', own)).settings.cluster["p"].sasl is not None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[cluster.p]\nbootstrap = "k:1"\ncontrollers = "c"\n', "'c' is not host:port"),
        ('[cluster.p]\nbootstrap = "k:1"\ncontroller_security = "tls"\n', "no effect without controllers"),
        (CONTROLLERS + 'controller_security = "ssl3"\n', "should be plaintext, tls, sasl_plaintext or sasl_tls"),
        (CONTROLLERS + 'controller_security = "sasl_tls"\n', "controller_security SASL_SSL needs a sasl table"),
        (
            CONTROLLERS.replace('"tls"', '"plaintext"') + '[cluster.p.tls]\nca_file = "/ca.pem"\n',
            "a tls table has no effect with security PLAINTEXT",
        ),
    ],
)
def test_what_is_wrong_with_controllers_is_named(tmp_path: Path, text: str, why: str) -> None:
    assert why in refused(tmp_path, text).message


def test_a_key_of_very_many_parts_is_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "kafkeep.toml"
    file.write_text("r." * 400_000 + "r = 1\n")
    began = time.process_time()
    with pytest.raises(SettingsError, match="dots in a line"):
        load(file, env={}, cwd=tmp_path, home=tmp_path)
    assert time.process_time() - began < 1
