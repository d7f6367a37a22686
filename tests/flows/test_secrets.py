"""Keys stay where people put them: not in logs, artifacts, provenance, the store or the server."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cds_server
import pytest
from cds_server import KEY, CdsServer
from prefect.settings import get_current_settings

from flows.era5 import era5
from functory.errors import FunctoryError
from storage.versions import Store

PLANTED = {
    "HF_TOKEN": "hf_planted0token0of0the0hub",
    "AWS_SECRET_ACCESS_KEY": "planted/secret/of/the/object/store",
    "PREFECT_API_KEY": "pnu_planted0key0of0the0server",
}
CDS = {"kind": "cds", "years": [2018, 2019], "hours": [0], "variables": ["2m_temperature"]}
SPLIT = {"method": "random-sizes", "train": 16, "validation": 4, "test": 4}


@pytest.fixture
def cds(monkeypatch: pytest.MonkeyPatch) -> Iterator[CdsServer]:
    """Serve fields to a user whose environment is full of secrets."""
    with cds_server.serve(cds_server.grib) as running:
        monkeypatch.setenv("CDSAPI_URL", running.url)
        monkeypatch.setenv("CDSAPI_KEY", KEY)
        for name, secret in PLANTED.items():
            monkeypatch.setenv(name, secret)
        yield running


def telling(folder: Path, *texts: str) -> list[str]:
    """Return the paths below a folder that have one of some texts, in the name or inside."""
    wanted = [text.encode() for text in texts]
    return [
        str(path)
        for path in folder.rglob("*")
        for content in (str(path).encode() + (path.read_bytes() if path.is_file() else b""),)
        if any(text in content for text in wanted)
    ]


def database() -> Path:
    """Return the folder of the server's data base: runs, parameters, logs and artifacts."""
    url = get_current_settings().server.database.connection_url
    assert url is not None
    return Path(url.get_secret_value().partition("///")[2]).parent


def test_a_run_tells_no_secret(
    server: str,
    store: Store,
    cds: CdsServer,
    tiny: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    secrets = (KEY, *PLANTED.values())
    logging.getLogger("functory").setLevel(logging.DEBUG)
    caplog.set_level(logging.DEBUG)
    parameters = tiny | {"source": CDS, "preparation": {"split": SPLIT}}
    era5(**parameters)
    assert cds.asked
    cds.refusal = (403, {"title": f"we saw the key {KEY}", "detail": KEY})
    later = {**CDS, "years": [2018, 2020]}
    with pytest.raises(FunctoryError):
        era5(**parameters | {"source": later})
    out, err = capfd.readouterr()
    assert "published" in caplog.text
    for secret in secrets:
        assert secret not in caplog.text + out + err
    for folder in (store.root, database()):
        assert telling(folder, "2m_temperature"), "what was written is not looked at"
        assert telling(folder, *secrets) == []
