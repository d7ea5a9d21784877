"""Train the penguins example: a scikit-learn pipeline on words and numbers.

python3 examples/training/penguins.py
"""

import json

import numpy as np
from palmerpenguins import load_penguins
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import examples

SEED = 7
WORDS = ["island", "sex"]
NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]


def load():
    table = load_penguins().dropna(subset=WORDS + NUMBERS)
    table = table.astype({column: np.float32 for column in NUMBERS})
    return train_test_split(table, test_size=0.25, random_state=SEED, stratify=table["species"])


def train(table):
    # An island or sex never seen is no reason to fail: it counts as none of them.
    columns = ColumnTransformer(
        [
            ("words", OneHotEncoder(handle_unknown="ignore"), WORDS),
            ("numbers", StandardScaler(), NUMBERS),
        ]
    )
    return make_pipeline(columns, LogisticRegression()).fit(
        table[WORDS + NUMBERS], table["species"]
    )


def to_onnx(pipeline):
    words = [(name, StringTensorType([None, 1])) for name in WORDS]
    numbers = [(name, FloatTensorType([None, 1])) for name in NUMBERS]
    model = convert_sklearn(
        pipeline,
        "penguins",
        words + numbers,
        target_opset={"": examples.OPSET, "ai.onnx.ml": 3},
        options={id(pipeline): {"zipmap": False}},
        final_types=[
            ("species", StringTensorType([None])),
            ("probabilities", FloatTensorType([None, 3])),
        ],
    )
    # The converter leaves the first dimension without a name: it is the batch.
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return model


def inputs_of(table):
    words = {name: table[[name]].to_numpy(dtype=object) for name in WORDS}
    numbers = {name: table[[name]].to_numpy(dtype=np.float32) for name in NUMBERS}
    return words | numbers


def save_rows(name, table):
    rows = {
        column: [
            [cell if isinstance(cell, str) else round(float(cell), 1)] for cell in table[column]
        ]
        for column in WORDS + NUMBERS
    }
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in rows.items())
    folder = examples.EXAMPLES / "inputs"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"{{\n{lines}\n}}\n")


def main():
    train_table, test_table = load()
    pipeline = train(train_table)
    features, species = test_table[WORDS + NUMBERS], test_table["species"].to_numpy()
    accuracy = float((pipeline.predict(features) == species).mean())
    print(f"held-out accuracy {accuracy:.4f} on {len(species)} penguins")
    examples.refuse_below(accuracy, 0.97)

    model = examples.finish(to_onnx(pipeline))
    answers = examples.run_model(model, inputs_of(test_table))
    if list(answers["species"]) != list(pipeline.predict(features)):
        raise SystemExit("ONNX Runtime names other species than scikit-learn does")
    expected = pipeline.predict_proba(features)
    examples.refuse_difference(
        answers["probabilities"], expected, 1e-5, "ONNX Runtime against scikit-learn"
    )
    examples.save_model("penguins", model, pipeline.classes_, "probabilities")

    save_rows("penguin.json", test_table[test_table["species"] == "Chinstrap"][:1])
    save_rows("penguins.json", test_table.groupby("species").head(1).sort_values("species"))


if __name__ == "__main__":
    main()
