"""The Dockerfile, by a linter and by what we ask of it. Nothing is built here."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from project import DOCKERFILE, PROJECT, version

TARGETS = {"gateway", "worker", "worker-gpu"}


def lint(text):
    """What hadolint says of a Dockerfile. It was installed beside the packages that are imported."""
    search = [str(Path(folder) / "bin") for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    hadolint = shutil.which("hadolint", path=os.pathsep.join([*search, os.environ["PATH"]]))
    assert hadolint, "hadolint is not installed: see requirements.txt"
    with tempfile.NamedTemporaryFile("w", suffix="Dockerfile") as file:
        file.write(text)
        file.flush()
        run = subprocess.run([hadolint, "--no-color", file.name], capture_output=True, text=True)
    assert (run.returncode != 0) == bool(run.stdout), run.stderr
    return run.stdout


class Dockerfile:
    """Stages with their instructions, in order; `defaults` are the arguments before the first stage."""

    def __init__(self, text):
        lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        self.defaults, self.stages, self.bases = {}, {}, {}
        for line in "\n".join(lines).replace("\\\n", " ").splitlines():
            word, _, rest = line.strip().partition(" ")
            if word == "FROM":
                base, _, name = rest.partition(" AS ")
                stage = self.stages.setdefault(name, [])
                self.bases[name] = re.sub(r"\$\{(\w+)\}", lambda found: self.defaults[found[1]], base)
            elif not self.stages:
                key, _, value = rest.partition("=")
                self.defaults[key] = value
            else:
                stage.append((word, " ".join(rest.split())))

    def of(self, stage, word):
        return [rest for name, rest in self.stages[stage] if name == word]


def complaints(text):
    """What is wrong with it beyond what a linter knows."""
    file = Dockerfile(text)
    if not TARGETS <= file.stages.keys():
        yield f"there are only {sorted(file.stages)}"
        return
    for name, base in file.bases.items():
        if not re.search(r":[^/@]*$|@sha256:[0-9a-f]{64}$", base) or base.endswith(":latest"):
            yield f"{name} is from {base}, whatever that is"
    for name in file.stages:
        if file.of(name, "ADD"):
            yield f"{name} adds what may be an address or an archive"
    for name in sorted(TARGETS):
        if file.of(name, "USER")[-1:] != ["65532:65532"]:
            yield f"{name} does not run as a user by number, as runAsNonRoot wants it"
        if file.of(name, "RUN"):
            yield f"{name} needs a shell in its base"
        if file.of(name, "ENTRYPOINT") != ['["/usr/local/bin/infergate"]']:
            yield f"{name} starts something else"
        if sorted(file.of(name, "EXPOSE")) != ["8001 8002"]:
            yield f"{name} says other ports"
        carries = any("/opt/onnxruntime" in copied for copied in file.of(name, "COPY"))
        if carries is (name == "gateway") or carries is not bool(file.of(name, "ENV")):
            yield f"{name} carries ONNX Runtime and does not need it, or the other way round"
        labels = " ".join(file.of(name, "LABEL"))
        for label in ("title", "description", "licenses", "version"):
            if f"org.opencontainers.image.{label}=" not in labels:
                yield f"{name} does not tell its {label}"


def test_the_linter_finds_nothing():
    assert lint(DOCKERFILE.read_text()) == ""


@pytest.mark.parametrize("line", ["FROM debian", "FROM debian:latest", "FROM debian:12\nRUN cd /x", "FROM"])
def test_the_linter_can_find_something(line):
    assert lint(line + "\n") != ""


def test_the_images_are_as_they_should_be():
    assert list(complaints(DOCKERFILE.read_text())) == []


@pytest.mark.parametrize(
    "old, new",
    [
        ("AS worker-gpu", "AS gpu"),
        ("USER 65532:65532", "USER root"),
        ("rust:1.92-slim-bookworm", "rust"),
        ("python:3.13-slim-bookworm", "python:latest"),
        ("COPY --from=onnxruntime /opt/onnxruntime /opt/onnxruntime\n", ""),
        ("COPY src src", "ADD https://example.com/src.tar src"),
        ("ENV ORT_DYLIB_PATH=/opt/onnxruntime/libonnxruntime.so\n", ""),
        ('CMD ["worker", "--models", "/models"]', "RUN id"),
        ('ENTRYPOINT ["/usr/local/bin/infergate"]', "ENTRYPOINT infergate"),
        ("org.opencontainers.image.version", "version"),
    ],
)
def test_a_mistake_is_noticed(old, new):
    text = DOCKERFILE.read_text()
    assert old in text
    assert list(complaints(text.replace(old, new))) != []


def test_the_images_are_of_the_version_that_is_built():
    assert Dockerfile(DOCKERFILE.read_text()).defaults["VERSION"] == version()


def test_the_compiler_is_the_one_that_the_manifest_asks_for():
    asked = re.search(r'^rust-version = "(.+)"', (PROJECT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    image = Dockerfile(DOCKERFILE.read_text()).defaults["RUST_IMAGE"]
    assert image.startswith(f"rust:{asked}-")


def copied_into_the_build():
    """The project's files that the stages copy, each named."""
    file = Dockerfile(DOCKERFILE.read_text())
    for stage in file.stages:
        for copied in file.of(stage, "COPY"):
            if not copied.startswith("--from"):
                *patterns, _ = copied.split()
                for pattern in patterns:
                    found = sorted(PROJECT.glob(pattern))
                    assert found, f"COPY {pattern} finds nothing"
                    yield stage, pattern, found


def test_what_is_copied_is_let_into_the_context():
    """Of the entries of .dockerignore that let something in, each is copied, and nothing else is."""
    lines = (PROJECT / ".dockerignore").read_text().split("\n")
    assert "*" in lines
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert {pattern for _, pattern, _ in copied_into_the_build()} == let_in


def test_cargo_has_all_that_it_wants_to_see(tmp_path):
    """Reads the manifest among the copied files only, where a missing target is a mistake."""
    for stage, _, found in copied_into_the_build():
        for path in found if stage == "build" else []:
            to = tmp_path / path.relative_to(PROJECT)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(path, to) if path.is_dir() else shutil.copy(path, to)

    def fetch():
        return subprocess.run(["cargo", "fetch", "--locked"], cwd=tmp_path, capture_output=True, text=True)

    assert fetch().returncode == 0, fetch().stderr
    (tmp_path / "benches/queue.rs").unlink()
    assert "can't find `queue` bench" in fetch().stderr
