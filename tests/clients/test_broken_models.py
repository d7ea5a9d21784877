"""Models that cannot be served, some of which mean harm, beside a good one: that one serves, and the others say why
they do not."""

import os

import grpc
import numpy as np
import pytest

from process import PROJECT
from refusals import TIMEOUT_S, code_and_message, refused
from triton_calls import floats, infer

HOSTILE = PROJECT / "tests/fixtures/hostile"
SECRET = b"sixteen secrets\n"
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE

# What cannot be carried, and the word of the reason that says what to do about it.
CURES = {
    "zipmap": ["a sequence of maps", "zipmap=False"],
    "sequence_output": ["a sequence", "ConcatFromSequence"],
    "int4": ["INT4", "cast to INT8"],
    "float8": ["FLOAT8E4M3FN", "cast to FP16"],
    "complex": ["complex64", "real and imaginary"],
}

ATTACKS = {
    "external_parent": "leads out of the model's folder",
    "external_absolute": "is not relative to the model's folder",
    "external_symlink": "symbolic link",
    "external_hardlink": "hard link",
}

BROKEN = ["garbage", "truncated"]


@pytest.fixture
def hostile(repository, tmp_path):
    """A repository of a good model and all the hostile ones, with the links that they mean to follow."""
    folder = repository("add")
    repository(*ATTACKS, *BROKEN, source=HOSTILE)
    secret = tmp_path / "secret.bin"
    secret.write_bytes(SECRET)
    (folder / "external_symlink/1/weights.bin").symlink_to(secret)
    os.link(secret, folder / "external_hardlink/1/weights.bin")
    return folder


def reasons(client):
    index = client.get_model_repository_index(client_timeout=TIMEOUT_S)
    return {each.name: (each.state, each.reason) for each in index.models}


def expect_the_good_one(client):
    assert client.is_server_ready() and client.is_model_ready("add")
    assert np.array_equal(infer(client, "add", a=floats(1, 4), b=floats(1, 4)).as_numpy("sum"), 2 * floats(1, 4))


def test_hostile_and_broken_models_are_refused_and_the_good_one_serves(serve, hostile, triton_client):
    server = serve(hostile)
    client = triton_client(server)
    found = reasons(client)
    assert found.pop("add") == ("READY", "")
    for name, why in ATTACKS.items():
        state, reason = found.pop(name)
        assert state == "UNAVAILABLE" and why in reason, f"{name}: {reason}"
    for name in BROKEN:
        state, reason = found.pop(name)
        assert state == "UNAVAILABLE" and "model.onnx" in reason, f"{name}: {reason}"
    assert not found
    expect_the_good_one(client)


def test_no_call_and_no_message_leaks_a_byte_of_what_lies_outside(serve, hostile, triton_client, open_inference):
    server = serve(hostile)
    client, told = triton_client(server), []
    told += [reason for _, reason in reasons(client).values()]
    for name in (*ATTACKS, *BROKEN):
        with pytest.raises(Exception) as caught:
            infer(client, name, x=np.zeros(1, np.uint8))
        told.append(code_and_message(caught.value)[1])
        assert code_and_message(caught.value)[0] == UNAVAILABLE
        with pytest.raises(Exception) as caught:
            client.load_model(name, client_timeout=TIMEOUT_S)
        told.append(code_and_message(caught.value)[1])
        assert code_and_message(caught.value)[0] == grpc.StatusCode.FAILED_PRECONDITION
    hidden = [SECRET.decode().strip(), str(hostile), str(PROJECT)]
    log = server.log.read_text()
    for text in (*told, log):
        assert SECRET.decode().strip() not in text
    for text in told:
        for each in hidden:
            assert each not in text, f"{each!r} in {text!r}"
    expect_the_good_one(client)


def test_a_link_that_is_laid_down_later_is_refused_at_the_next_load(serve, hostile, triton_client):
    weights = hostile / "external_symlink/1/weights.bin"
    target = weights.resolve()
    weights.unlink()
    client = triton_client(serve(hostile))
    assert "does not exist" in reasons(client)["external_symlink"][1]
    os.link(target, weights)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "hard link"):
        client.load_model("external_symlink", client_timeout=TIMEOUT_S)
    # A copy is the model's own file, and the model is a good one then.
    weights.unlink()
    weights.write_bytes(SECRET)
    client.load_model("external_symlink", client_timeout=TIMEOUT_S)
    answer = infer(client, "external_symlink", x=np.zeros(1, np.uint8)).as_numpy("y")
    assert answer.tobytes() == b"\0" + SECRET


@pytest.mark.parametrize("model", CURES)
def test_what_the_protocols_cannot_carry_is_refused_with_the_cure(client, model):
    state, reason = reasons(client)[model]
    assert state == "UNAVAILABLE"
    for word in CURES[model]:
        assert word.lower() in reason.lower(), reason
    with refused(UNAVAILABLE, model, CURES[model][-1]):
        infer(client, model, x=floats(1))


def test_folders_that_are_no_models_say_what_is_wrong_with_them(serve, repository, triton_client):
    folder = repository("add", "scalar", "empty", "matmul")
    (folder / "no_versions").mkdir()
    (folder / "no_file/1").mkdir(parents=True)
    (folder / "other_name/1").mkdir(parents=True)
    (folder / "other_name/1/net.onnx").write_bytes(b"")
    (folder / "not a name/1").mkdir(parents=True)
    (folder / ".hidden/1").mkdir(parents=True)
    (folder / "README.md").write_text("not a model either")
    (folder / "scalar/model.toml").write_text("instanses = 2\n")
    (folder / "empty/model.toml").write_text('versions = "newest"\n')
    (folder / "matmul/model.toml").write_text('[session]\noptimization_level = "most"\n')
    server = serve(folder)
    client = triton_client(server)
    found = reasons(client)
    assert found.pop("add")[0] == "READY"
    for name, words in {
        "no_versions": ["version", "1/model.onnx"],
        "no_file": ["1/model.onnx", "missing"],
        "other_name": ["1/model.onnx", "rename 1/net.onnx"],
        "scalar": ["model.toml", "instanses", "instances"],
        "empty": ["model.toml", "versions", "newest", "latest"],
        "matmul": ["model.toml", "session.optimization_level", "most", "basic"],
    }.items():
        state, reason = found.pop(name)
        assert state == "UNAVAILABLE" and all(word in reason for word in words), f"{name}: {reason}"
    assert not found
    assert "not a name" in server.log.read_text()
    expect_the_good_one(client)


@pytest.mark.parametrize("lay", ["../secret.txt", "link.txt", "absolute"])
def test_labels_from_outside_the_models_folder_are_refused(serve, repository, tmp_path, triton_client, lay):
    folder = repository("add", "scalar")
    for secret in (tmp_path / "secret.txt", folder / "secret.txt"):
        secret.write_bytes(SECRET)
    (folder / "scalar/link.txt").symlink_to(tmp_path / "secret.txt")
    file = str(tmp_path / "secret.txt") if lay == "absolute" else lay
    (folder / "scalar/model.toml").write_text(f'labels = {{ y = "{file}" }}\n')
    client = triton_client(serve(folder))
    state, reason = reasons(client)["scalar"]
    assert state == "UNAVAILABLE" and "labels.y" in reason and SECRET.decode().strip() not in reason
    expect_the_good_one(client)


def test_a_broken_model_serves_once_it_was_mended(serve, repository, triton_client):
    folder = repository("add")
    good = (folder / "add/1/model.onnx").read_bytes()
    (folder / "mended/1").mkdir(parents=True)
    (folder / "mended/1/model.onnx").write_bytes(good[:-100])
    client = triton_client(serve(folder))
    assert reasons(client)["mended"][0] == "UNAVAILABLE"
    (folder / "mended/1/model.onnx").write_bytes(good)
    client.load_model("mended", client_timeout=TIMEOUT_S)
    assert reasons(client)["mended"] == ("READY", "")
    assert infer(client, "mended", a=floats(1, 4), b=floats(1, 4)).as_numpy("sum").shape == (1, 4)


def test_a_single_file_is_a_model_too(serve, tmp_path, triton_client):
    file = tmp_path / "mine.onnx"
    file.write_bytes((PROJECT / "tests/fixtures/models/scalar/1/model.onnx").read_bytes())
    client = triton_client(serve(file))
    assert infer(client, "mine", x=np.array(2, np.float32)).as_numpy("y") == 4
