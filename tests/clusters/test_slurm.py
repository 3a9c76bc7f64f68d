"""experiments/clusters/slurm.sh on a real Slurm: two nodes, requeued runs, and the same digest."""

import signal

import pytest
from campaign import last_logged
from slurm_cluster import (
  ROOT,
  SlurmCluster,
  has_pending,
  send,
  stopped_in_training,
  wait_until,
  why_not,
)
from tiny_run import flags

from transformer_jax.checkpoints import Checkpoints
from transformer_jax.runs.digest import digest_of

pytestmark = [
  pytest.mark.slurm,
  pytest.mark.slow,
  pytest.mark.skipif(bool(why_not()), reason=why_not()),
]

SCRIPTS = ROOT / "experiments" / "clusters"
TRAINING = flags(
  train_steps=200, log_every=5, checkpoint_every=50, evaluate_every=100, bleu_sentences=0
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
  with SlurmCluster(tmp_path_factory.mktemp("slurm")) as running:
    yield running


@pytest.fixture
def train(cluster, tmp_path):
  """A function that submits a training in `tmp_path / "run"`; it takes flags of sbatch."""

  def submit(*options):
    workdir = f"--workdir={tmp_path / 'run'}"
    return cluster.submit(*options, str(SCRIPTS / "slurm.sh"), *TRAINING, workdir)

  return submit


@pytest.fixture(scope="module")
def whole(cluster, tmp_path_factory):
  """The digest of a run on two nodes that nothing interrupts."""
  workdir = tmp_path_factory.mktemp("whole") / "run"
  job = cluster.submit(str(SCRIPTS / "slurm.sh"), *TRAINING, f"--workdir={workdir}")
  fields = cluster.wait(job, "COMPLETED", "FAILED", "CANCELLED")
  assert fields["JobState"] == "COMPLETED" and fields["NodeList"] == "n[1-2]", cluster.log(job)
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    assert checkpoints.meta(200)["num_devices"] == 2
  return digest_of(workdir)


def test_a_job_at_its_time_limit_is_saved_requeued_and_goes_on(cluster, train, whole, tmp_path):
  run = tmp_path / "run"
  job = train("--time=100", "--signal=TERM@600")
  ids = stopped_in_training(run, last_logged)  # a fast machine would be done before the limit
  assert cluster.output("scontrol", "update", f"JobId={job}", "TimeLimit=9") == ""
  wait_until(lambda: has_pending(ids, signal.SIGTERM), "TERM")
  cluster.output("scontrol", "update", f"JobId={job}", "TimeLimit=1000")
  send(ids, signal.SIGCONT)
  fields = cluster.wait(job, "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")
  assert (fields["JobState"], fields["Restarts"]) == ("COMPLETED", "1"), cluster.log(job)
  assert "by signal 15, saved" in cluster.log(job)
  assert "resumed at step" in (run / "log.txt").read_text()
  assert digest_of(run) == whole


def test_a_killed_task_ends_the_others_and_the_job_goes_on(cluster, train, whole, tmp_path):
  run = tmp_path / "run"
  job = train()
  first, second = stopped_in_training(run, last_logged)
  send([second], signal.SIGKILL)
  send([first], signal.SIGCONT)
  fields = cluster.wait(job, "COMPLETED", "FAILED", "CANCELLED")
  assert (fields["JobState"], fields["Restarts"]) == ("COMPLETED", "1"), cluster.log(job)
  assert "ended without a word" in (run / "log.txt").read_text()
  assert digest_of(run) == whole


def test_a_canceled_job_is_saved_and_stays_canceled(cluster, train, tmp_path):
  run = tmp_path / "run"
  job = train()
  ids = stopped_in_training(run, last_logged)
  cluster.output("scancel", job)
  send(ids, signal.SIGCONT)
  cluster.wait(job, "CANCELLED")
  wait_until(lambda: "by signal 15, saved" in (run / "log.txt").read_text(), "the save")
  wait_until(lambda: cluster.output("squeue", "-h", "-j", job) == "", "the job's end")
  fields = cluster.state(job)
  assert (fields["JobState"], fields["Restarts"]) == ("CANCELLED", "0")


def test_a_wrong_flag_ends_the_job(cluster, tmp_path):
  job = cluster.submit(str(SCRIPTS / "slurm.sh"), "--d_model=-1", f"--workdir={tmp_path / 'run'}")
  fields = cluster.wait(job, "COMPLETED", "FAILED")
  assert (fields["JobState"], fields["ExitCode"]) == ("FAILED", "2:0"), cluster.log(job)


def test_an_array_job_does_the_runs_of_an_ablation(cluster, tmp_path):
  table = tmp_path / "table"
  table.mkdir()
  base = "\n".join(flags(train_steps=4, evaluate_every=4, checkpoint_every=4))
  (table / "base.flags").write_text(f"{base}\n")
  (table / "narrow.flags").write_text(f"{base}\n--d_ff=16\n")
  places = [f"--table={table}", f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'out'}"]
  places.append("--seeds=1")
  commands = cluster.output("transformer-jax", "ablate", *places, "--print_commands")
  (tmp_path / "commands.txt").write_text(f"{commands}\n")
  count = len(commands.splitlines())
  assert count == 2
  script = str(SCRIPTS / "slurm_array.sh")
  job = cluster.submit(f"--array=1-{count}", script, str(tmp_path / "commands.txt"))
  wait_until(lambda: cluster.output("squeue", "-h", "-j", job) == "", "the array's end")
  assert len(list((tmp_path / "out").glob("*-seed*.json"))) == 2
  assert cluster.output("transformer-jax", "ablate", *places, "--print_commands") == ""
