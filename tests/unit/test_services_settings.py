"""The tables of servers beside a cluster are as strict as all settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafkeep.errors import SettingsError
from kafkeep.settings import Loaded, load

HEAD = '[cluster.p]\nbootstrap = "k:1"\n[cluster.p.registry]\n'


def read(tmp_path: Path, text: str, **env: str) -> Loaded:
    (tmp_path / "kafkeep.toml").write_text(text)
    return load(None, env=env, cwd=tmp_path, home=tmp_path / "home")


def test_a_registry_and_a_connect_are_read(tmp_path: Path) -> None:
    login = 'username = "u"\npassword = { env = "P" }\n[cluster.p.registry.tls]\nca_file = "ca.pem"\n'
    text = f'{HEAD}url = "https://r/base/"\n{login}[cluster.p.connect]\nurl = "http://c:8083"\n'
    cluster = read(tmp_path, text).settings.cluster["p"]
    assert cluster.registry is not None and cluster.connect is not None
    assert (cluster.registry.url, cluster.connect.url) == ("https://r/base", "http://c:8083")
    assert cluster.registry.tls is not None and cluster.registry.tls.ca_file == str(tmp_path / "ca.pem")
    over = read(tmp_path, text, KAFKEEP_CLUSTER__P__CONNECT__BEARER="x").settings.cluster["p"].connect
    assert over is not None and over.bearer is not None and over.bearer.env == "KAFKEEP_CLUSTER__P__CONNECT__BEARER"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('url = "https://r"\nuser = "u"', "unknown key 'user' in \\[cluster.p.registry\\]"),
        ('url = "https://u:canary@r"', "holds a user or secret before '@'"),
        ('url = "https://r?token=canary"', "holds a query or fragment"),
        ('url = "r:8081"', "should begin with https:// or http://"),
        ('url = "https://r"\nusername = "u"', "username and password belong together"),
        ('url = "https://r"\npassword = "canary"', "a secret is not written into the settings"),
        (
            'url = "https://r"\nusername = "u"\npassword = { env = "P" }\nbearer = { env = "B" }',
            "give one login",
        ),
        ('url = "http://r"\n[cluster.p.registry.tls]\nca_file = "x"', "a tls table has no effect with http://"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        read(tmp_path, HEAD + line)
    assert "canary" not in str(caught.value) + caught.value.hint
