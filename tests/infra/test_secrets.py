"""infra/secrets.sh: each secret is made once, and no command line shows a value."""

import os
import subprocess
from pathlib import Path

import pytest
from rendering import INFRA

KUBECTL = """#!/bin/sh
# Stands in for a cluster: secrets are folders, commands are noted.
echo "$*" >>"$CLUSTER/commands"
shift 2
case "$1 $2" in
"get secret") test -d "$CLUSTER/$3" ;;
"create secret") mkdir "$CLUSTER/$4" && cp "${5#--from-*file=}" "$CLUSTER/$4" ;;
*) exit 9 ;;
esac
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kubectl").write_text(KUBECTL)
    (tmp_path / "bin" / "kubectl").chmod(0o755)
    (tmp_path / "cluster").mkdir()
    return tmp_path / "cluster"


def make(cluster: Path, **keys: str) -> dict[str, str]:
    """Run the script; the secrets of the cluster."""
    path = f"{cluster.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "CLUSTER": str(cluster), **keys}
    subprocess.run(["sh", str(INFRA / "secrets.sh")], env=environment, check=True)
    return {f"{file.parent.name}/{file.name}": file.read_text() for file in cluster.glob("*/*")}


def test_secrets_are_random_made_once_and_in_no_command(cluster: Path) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "k%s'ey"}
    first = make(cluster, **keys)
    assert set(first) == {
        "pathray-redis/password", "pathray-postgres/password", "pathray-token/auth_token",
        "pathray-store/store",
    }  # fmt: skip
    assert first["pathray-store/store"] == "AWS_ACCESS_KEY_ID=id\nAWS_SECRET_ACCESS_KEY=k%s'ey\n"
    made = [value for name, value in first.items() if name != "pathray-store/store"]
    assert len(set(made)) == 3
    assert all(len(value) == 48 and int(value, 16) for value in made)
    commands = (cluster / "commands").read_text()
    assert not [value for value in [*made, "k%s'ey"] if value in commands]
    assert make(cluster, **keys) == first


def test_without_keys_the_stores_secret_is_left_out(cluster: Path) -> None:
    assert "pathray-store/store" not in make(cluster)
