"""Where the examples live, and how every training script leaves one there.

A model is saved as `models/<name>/1/model.onnx` with its labels and its
`model.toml` beside the version folder. A script saves only after the checks
here have seen ONNX Runtime give the answers that the training framework gives.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

EXAMPLES = Path(__file__).resolve().parent.parent

# New enough for LayerNormalization, and no newer: older runtimes serve these too.
OPSET = 17
IR_VERSION = 8


def finish(model: onnx.ModelProto) -> onnx.ModelProto:
    model.ir_version = IR_VERSION
    # skl2onnx lists these in an order that changes from run to run.
    model.opset_import.sort(key=lambda opset: opset.domain)
    onnx.checker.check_model(model, full_check=True)
    return model


def run_model(model: onnx.ModelProto, inputs: dict) -> dict:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs)))


def save_model(name: str, model: onnx.ModelProto, labels: list, labelled_output: str) -> None:
    folder = EXAMPLES / "models" / name
    path = folder / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    (folder / "model.toml").write_text(f'labels = {{ {labelled_output} = "labels.txt" }}\n')
    print(f"saved {path.relative_to(EXAMPLES.parent)}, {path.stat().st_size} bytes")


def save_array(name: str, array: np.ndarray) -> None:
    folder = EXAMPLES / "inputs"
    folder.mkdir(exist_ok=True)
    np.save(folder / name, np.ascontiguousarray(array))


def refuse_below(accuracy: float, floor: float) -> None:
    """A model that came out worse than promised is not saved."""
    if accuracy < floor:
        raise SystemExit(f"held-out accuracy {accuracy:.4f} is below {floor}: model not saved")


def refuse_difference(ours: np.ndarray, theirs: np.ndarray, tolerance: float, what: str) -> None:
    difference = float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())
    print(f"{what}: largest difference {difference:.1e}")
    if not difference <= tolerance:
        raise SystemExit(f"{what} differs by more than {tolerance}: model not saved")
