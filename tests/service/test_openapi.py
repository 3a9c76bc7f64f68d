"""The description is true: schemathesis asks what it allows and what it forbids."""

import subprocess
import sys

import pytest
from patience import PATIENCE
from service_client import served

from transformer_jax.service.limits import Limits


def test_each_path_is_described(client):
  status, document = client.get("/openapi.json")
  assert status == 200 and document["openapi"] == "3.1.0"
  assert list(document["paths"]) == [
    *("/translate", "/attention", "/step", "/encode", "/decode", "/view", "/healthz", "/")
  ]
  translate = document["paths"]["/translate"]["post"]
  schema = translate["requestBody"]["content"]["application/json"]["schema"]
  assert schema["properties"]["lines"]["maxItems"] == 3
  assert set(translate["responses"]) >= {"200", "400", "413", "415", "421", "422", "503"}


@pytest.mark.interop
@pytest.mark.slow
def test_schemathesis_finds_nothing_that_is_not_described(needs_packages, model, tmp_path):
  """Of what the description allows, only 413 and 422 may be refused; nothing ends in a 5xx."""
  pytest.importorskip("schemathesis", reason="needs the package schemathesis")
  (tmp_path / "schemathesis.toml").write_text(
    "[checks.positive_data_acceptance]\nexpected-statuses = [200, 413, 422]\n"
  )
  few = Limits(max_beam_size=2, max_lines=3, max_characters=30, max_seconds=3600)
  with served(model, few) as client:
    command = [sys.executable, "-m", "schemathesis.cli", "run"]
    command += [f"http://127.0.0.1:{client.port}/openapi.json", "--max-examples=15", "--seed=1"]
    command.append(f"--request-timeout={PATIENCE}")
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
  assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
  assert "8 selected / 8 total" in found.stdout
