"""The files of examples/deploy name what exists, and their commands run."""

import configparser
import inspect
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from common import small
from server_process import ask, free_port, running

import skclip
from skclip.serve import create_app

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "examples" / "deploy"
PAGE = (ROOT / "docs" / "guide" / "serving.md").read_text("utf-8")
SERVE = ["python", "-m", "skclip.serve"]


def instructions():
    """(instruction, rest) of each line of the Dockerfile, continued ones joined."""
    text = (DEPLOY / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and line[0] != "#"]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def command_of_image():
    return next(json.loads(rest) for word, rest in instructions() if word == "CMD")


def health_check():
    rest = next(rest for word, rest in instructions() if word == "HEALTHCHECK")
    return json.loads(rest.partition(" CMD ")[2])


def unit():
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    assert parser.read(DEPLOY / "skclip.service")
    return parser


def command_of_unit():
    python, *rest = shlex.split(unit()["Service"]["ExecStart"])
    assert python == "/opt/skclip/bin/python"  # where the Dockerfile installs it, too
    return ["python", *rest]


@pytest.fixture(scope="module")
def options_of_server():
    command = [sys.executable, *SERVE[1:], "--help"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(re.findall(r"--[a-z-]+", run.stdout))


def test_commands_have_options_that_exist(options_of_server):
    commands = [command_of_image(), command_of_unit()]
    for command in commands:
        assert command[:3] == SERVE
        assert {word for word in command if word[:2] == "--"} <= options_of_server
    for line in re.findall(r"python -m skclip\.serve[^`\n]*", PAGE):
        assert set(re.findall(r"--[a-z-]+", line)) <= options_of_server
    named = set(re.findall(r"`(--[a-z-]+)[^`]*`", PAGE)) - options_of_server
    assert named <= {"--read-only", "--cpus", "--start-period"}  # those of Docker


def test_what_the_image_copies_exists():
    copied = [rest.split() for word, rest in instructions() if word == "COPY"]
    sources = [one for words in copied for one in words[:-1] if words[0][0] != "-"]
    assert sources == ["pyproject.toml", "README.md", "LICENSE", "skclip"]
    assert all((ROOT / source).exists() for source in sources)
    built = (ROOT / "pyproject.toml").read_text("utf-8")
    assert '"/src[serve]"' in (DEPLOY / "Dockerfile").read_text("utf-8")
    assert "\nserve = [" in built


def test_the_image_runs_as_a_user_that_it_makes():
    lines = instructions()
    made = re.findall(r"useradd .*?(\S+)$", "\n".join(rest for _, rest in lines), re.M)
    assert [rest for word, rest in lines if word == "USER"] == made == ["skclip"]
    port = next(rest for word, rest in lines if word == "EXPOSE")
    assert f"127.0.0.1:{port}/health" in health_check()[-1]


def test_the_unit_gives_requests_time_to_end():
    service = unit()["Service"]
    command = command_of_unit()
    stop = int(command[command.index("--stop-seconds") + 1])
    assert int(service["TimeoutStopSec"]) > stop
    assert f"useradd --no-create-home {service['User']}\n" in PAGE


def test_gunicorn_gets_an_application(monkeypatch, train, tmp_path):
    monkeypatch.setenv("SKCLIP_MODEL", "it's.skclip")
    monkeypatch.setattr("logging.basicConfig", lambda **settings: None)
    settings = runpy.run_path(str(DEPLOY / "gunicorn.conf.py"))
    module, _, call = settings["wsgi_app"].partition(":")
    assert module == create_app.__module__
    arguments = eval(call, {"create_app": inspect.signature(create_app).bind})
    assert arguments.args == ("it's.skclip",)


def test_the_page_shows_the_files():
    shown = re.findall(r"```{literalinclude} \.\./\.\./examples/deploy/(\S+)", PAGE)
    assert sorted(shown) == sorted(path.name for path in DEPLOY.iterdir())


@pytest.fixture
def model_file(train, tmp_path):
    skclip.save(small().fit(train), tmp_path / "model.skclip")
    return tmp_path / "model.skclip"


@pytest.mark.slow
@pytest.mark.parametrize("command", [command_of_image(), command_of_unit()])
def test_commands_serve(command, model_file, train, tmp_path):
    """As they stand, but for the paths of Python and the model, and a free port."""
    port = free_port()
    paths = {"python": sys.executable, "/models/model.skclip": str(model_file)}
    paths["/srv/models/model.skclip"] = str(model_file)
    command = [paths.get(word, word) for word in command]
    if "--port" in command:  # the last one counts
        assert command[command.index("--port") + 1] == "8000"
    command += ["--port", str(port)]
    check = [word.replace(":8000/", f":{port}/") for word in health_check()]
    check[0] = sys.executable
    assert subprocess.run(check, check=False, capture_output=True).returncode != 0
    with running(command, port, tmp_path / "log", OMP_NUM_THREADS="1") as process:
        assert subprocess.run(check, check=False).returncode == 0
        status, answer = ask(port, "/recommend", {"session": train[0].tolist()})
        assert (status, len(answer["items"])) == (200, 10)
        process.terminate()
        process.wait(30)
    assert "Traceback" not in (tmp_path / "log").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX system")
def test_gunicorn_takes_the_settings(model_file, train, tmp_path):
    config = pytest.importorskip("gunicorn.config")
    pytest.importorskip("uvicorn_worker")
    path = DEPLOY / "gunicorn.conf.py"
    names = re.findall(r"^([a-z_]+) = ", path.read_text("utf-8"), re.MULTILINE)
    assert set(names) <= set(config.make_settings())
    command = [sys.executable, "-m", "gunicorn", "-c", str(path)]
    environ = {"SKCLIP_MODEL": str(model_file), "OMP_NUM_THREADS": "1"}
    check = subprocess.run(
        [*command, "--check-config"], env=os.environ | environ, check=False
    )
    assert check.returncode == 0
    port = free_port()
    command += ["--bind", f"127.0.0.1:{port}"]
    with running(command, port, tmp_path / "log", **environ):
        status, answer = ask(port, "/recommend", {"session": train[0].tolist()})
        assert (status, len(answer["items"])) == (200, 10)
    text = (tmp_path / "log").read_text("utf-8")
    assert "Model a is version" in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_systemd_accepts_the_unit(tmp_path):
    """With this Python: the command must exist. It names the keys that it ignores."""
    text = (DEPLOY / "skclip.service").read_text("utf-8")
    path = tmp_path / "skclip.service"
    path.write_text(text.replace("/opt/skclip/bin/python", sys.executable))
    try:
        run = subprocess.run(
            ["systemd-analyze", "verify", path],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("needs systemd-analyze")
    assert (run.returncode, run.stdout + run.stderr) == (0, "")
