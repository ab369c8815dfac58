"""Templates: the file that ships, a file that is wrong, and the routes."""

from pathlib import Path

import httpx
import pytest

from market.errors import ConfigError
from market.workloads import WorkloadKind
from node.api.template_file import load_templates

pytestmark = pytest.mark.anyio


def test_every_template_that_ships_is_a_service_with_a_port_and_a_probe() -> None:
    templates = load_templates()
    assert set(templates) == {"ollama", "vllm", "jupyter", "comfyui", "redis", "nginx", "python"}
    for template in templates.values():
        workload = template.workload
        assert workload.kind is WorkloadKind.SERVICE
        assert workload.ports
        assert workload.probe is not None
        assert workload.probe.port == workload.ports[0].port


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[x", "Expected"),
        ('[x]\nimage = "a"', "description is required"),
        ('[x]\nimage = "a"\ndescription = "b"\nresources = {}\ncolour = 1', "colour is not a known field"),
        ('[x]\nimage = "a b"\ndescription = "b"\nresources = {}', "image must be an image reference"),
        ('[x]\nimage = "a"\ndescription = "b"\nresources = {}\nports = [70000]', "ports[0]"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_name(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "templates.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_templates(file)
    assert str(file) in caught.value.message
    assert said in caught.value.message


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_templates(tmp_path / "none.toml")


async def test_templates_are_shown_with_all_that_they_set(client: httpx.AsyncClient) -> None:
    templates = (await client.get("/v1/templates")).json()["templates"]
    redis = next(template for template in templates if template["id"] == "redis")
    assert (await client.get("/v1/templates/redis")).json() == redis
    assert redis["ports"] == [{"port": 6379, "protocol": "tcp", "direct": False}]
    assert redis["volumes"] == [{"name": "data", "path": "/data", "size": "1Gi"}]
    assert (await client.get("/v1/templates/none")).status_code == 404
