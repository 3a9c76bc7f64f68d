"""The description is true: schemathesis asks what it allows and what it forbids."""

import pytest


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
def test_schemathesis_finds_nothing_that_is_not_described(client, tmp_path):
  """Of what the description allows, only 413 and 422 may be refused; nothing ends in a 5xx."""
  import subprocess
  import sys

  pytest.importorskip("schemathesis", reason="needs the package schemathesis")
  (tmp_path / "schemathesis.toml").write_text(
    "[checks.positive_data_acceptance]\nexpected-statuses = [200, 413, 422]\n"
  )
  command = [sys.executable, "-m", "schemathesis.cli", "run"]
  command += [f"http://127.0.0.1:{client.port}/openapi.json", "--max-examples=50", "--seed=1"]
  found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
  assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
