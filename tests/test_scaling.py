"""The model of scaling by hand, the program that it counts, its page, and the files that launch many processes."""

import pathlib
import re
import subprocess

import jax
import numpy as np
import optax
import pytest
import yaml

from benchmarks import determinism, scaling
from experiments.train_cnn.config import Config
from jaxdl import data, models, nn, training

ROOT = pathlib.Path(__file__).parents[1]
LAUNCH = ROOT / "docs" / "launch"
CLUSTER = scaling.Cluster(
    peak=100.0, share=0.5, node=4, inside=8.0, between=2.0, latency_inside=0.25, latency_between=0.5, start=1.0
)
NET = scaling.Network(flops=25.0, gradient_bytes=64.0, norms=0, statistics_bytes=0.0)


@pytest.mark.parametrize(
    ("devices", "seconds"),
    [
        (2, 1 + 2 * (1 / 2) * 64 / 8 + 2 * 1 * 0.25),  # within a node alone
        (4, 1 + 2 * (3 / 4) * 64 / 8 + 2 * 2 * 0.25),
        (16, 1 + 2 * (3 / 4) * 64 / 8 + 2 * 2 * 0.25 + 2 * (3 / 4) * (64 / 4) / 2 + 2 * 2 * 0.5),  # of four nodes
    ],
)
def test_an_all_reduce_by_hand(devices, seconds):
    assert scaling.all_reduce(64.0, devices, CLUSTER) == pytest.approx(seconds)


def test_a_step_by_hand():
    found = scaling.step(NET, 2, 10, CLUSTER)
    assert found == scaling.Step(compute=10 * 25 / 50, gradients=9.5, norms=0.0)
    assert found.apart == 14.5
    assert found.overlapped == pytest.approx(5 + 9.5 - 10 / 3)
    assert found.efficiency(overlapped=False) == pytest.approx(5 / 14.5)
    assert scaling.step(NET, 1, 10, CLUSTER).apart == 5


def test_the_work_of_a_network_by_hand():
    net = nn.serial(conv=nn.Conv(4, 3, bias=False), norm=nn.BatchNorm(), flat=nn.flatten, fc=nn.Dense(2, bias=False))
    found = scaling.network(net, (8, 8, 1))
    products = 8 * 8 * 9 * 4 + 8 * 8 * 4 * 2  # of the convolution (padded) and the dense layer; norms are not counted
    assert found.flops == pytest.approx(6 * products, rel=0.25)
    assert found.gradient_bytes == 4 * (9 * 4 + 2 * 4 + 8 * 8 * 4 * 2)
    assert (found.norms, found.statistics_bytes) == (1, 4 * 2 * 4)


@pytest.mark.parametrize("norms", [0, 2])
def test_a_compiled_step_has_as_many_collectives_as_the_model_counts(norms):
    parts = {}
    for i in range(norms):
        parts |= {f"conv{i}": nn.Conv(2, 3), f"norm{i}": nn.BatchNorm(), f"relu{i}": jax.nn.relu}
    net, optimizer = nn.serial(**parts, flat=nn.flatten, fc=nn.Dense(3)), optax.sgd(0.1)
    run = training.data_parallel(training.train_step(net, optimizer), strategy="shard_map", devices=2)
    state = training.create(jax.random.key(0), net, optimizer, (4, 4, 1))
    batch = data.Batch(np.ones((4, 4, 4, 1), np.float32), np.zeros(4, np.int32), np.ones(4, np.float32), np.arange(4))
    program = run.lower(run.place(state), run.shard(batch), jax.random.key(1)).compile().as_text()
    assert program is not None
    assert len(re.findall(r" all-reduce(?:-start)?\(", program)) == 1 + scaling.SUMS_OF_NORM * norms


def lines(path):
    return [line for line in (ROOT / path).read_text(encoding="utf-8").splitlines() if line.startswith("|")]


def test_the_page_has_the_table_that_the_model_makes():
    text = scaling.page(scaling.network(models.resnet50(1000), (224, 224, 3)), scaling.Cluster())
    assert (ROOT / "benchmarks" / "scaling.md").read_text(encoding="utf-8") == text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 6
    assert table == [line for line in lines("docs/scaling.md") if line in table]


def test_the_pages_have_the_measured_differences():
    measured = lines("benchmarks/determinism.md")
    assert len(measured) == 2 + len(determinism.WAYS)
    assert [line for line in lines("docs/reliability.md") if line in measured] == measured


# ---------------------------------------------------------------- launch files


def options_of(text):
    return {option.replace("-", "_") for option in re.findall(r"--([a-z][a-z-]*)", text)}


@pytest.mark.process
def test_the_launch_file_of_slurm_is_a_script_with_options_that_exist():
    script = LAUNCH / "slurm.sh"
    subprocess.run(["bash", "-n", script], check=True)
    command = re.search(r"^srun .*", script.read_text(), re.M)
    assert command is not None
    given = options_of(command[0].partition("experiments.train_cnn")[2])
    assert {"coordinator", "heartbeat"} <= given <= {*Config.__dataclass_fields__}


@pytest.mark.process
def test_the_launch_file_of_kubernetes_is_a_job_whose_pods_are_the_processes():
    service, job = yaml.safe_load_all((LAUNCH / "kubernetes.yaml").read_text())
    assert (service["kind"], job["kind"], job["spec"]["completionMode"]) == ("Service", "Job", "Indexed")
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    pod = job["spec"]["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"]
    (container,) = pod["containers"]
    (script,) = container["args"]
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    name, count = job["metadata"]["name"], job["spec"]["completions"]
    assert f"--coordinator {name}-0.{pod['subdomain']}:1234" in script
    assert f"--processes {count} --process" in script
    assert job["spec"]["parallelism"] == count
    assert options_of(script) <= {*Config.__dataclass_fields__}
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
