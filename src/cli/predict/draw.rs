//! What `predict` shows: the answer and where the time went, drawn from data.

use serde_json::{Map, Value, json};

use super::timing::{Spread, Timing};
use super::{classes, values};
use crate::cli::message::answer::Answer;
use crate::cli::table::{plain, table};
use crate::tensor::Tensor;

/// An answer as it is shown, with the times of the last call and, where there were several, of all.
#[derive(Debug)]
pub struct Shown<'a> {
    /// The last answer.
    pub answer: &'a Answer,
    /// The names of the outputs of which classes were asked for.
    pub classified: &'a [String],
    /// The last call's time.
    pub timing: &'a Timing,
    /// The times of all calls, where there were several.
    pub spread: Option<&'a Spread>,
}

impl Shown<'_> {
    /// As text.
    pub fn text(&self) -> String {
        let Answer { model, version, outputs } = self.answer;
        let mut text = format!("{} version {}\n\n", plain(model), plain(version));
        let mut tensors = Vec::new();
        for output in outputs {
            match self.rows(output) {
                Some(rows) => text += &format!("{}\n{}\n", plain(output.name()), classes::draw(&rows)),
                None => tensors.push(cells(output)),
            }
        }
        if !tensors.is_empty() {
            text += &table(["OUTPUT", "DATATYPE", "SHAPE", "VALUES"], tensors);
            text.push('\n');
        }
        text += &self.timing.draw();
        if let Some(spread) = self.spread {
            text.push('\n');
            text += &spread.draw();
        }
        text
    }

    /// As JSON, with every value.
    pub fn json(&self) -> Value {
        let outputs: Vec<Value> = self.answer.outputs.iter().map(|output| self.output_json(output)).collect();
        let mut timing = self.timing.json();
        if let Some(spread) = self.spread {
            timing.insert("calls".into(), spread.json());
        }
        json!({
            "model": self.answer.model, "version": self.answer.version, "outputs": outputs, "timing": timing
        })
    }

    fn output_json(&self, output: &Tensor) -> Value {
        let mut object = Map::new();
        object.insert("name".into(), output.name().to_string().into());
        object.insert("datatype".into(), output.dtype().name().into());
        object.insert("shape".into(), output.shape().to_vec().into());
        object.insert("data".into(), values::json(output));
        if let Some(rows) = self.rows(output) {
            object.insert("classes".into(), classes::json(&rows));
        }
        object.into()
    }

    fn rows(&self, output: &Tensor) -> Option<Vec<Vec<classes::Class>>> {
        if self.classified.iter().any(|name| **name == **output.name()) { classes::rows(output) } else { None }
    }
}

fn cells(output: &Tensor) -> [String; 4] {
    [plain(output.name()), output.dtype().to_string(), output.shape().to_string(), values::short(output)]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tensor::{DType, Shape, strings};

    fn answer(output: Tensor) -> Answer {
        Answer { model: "digits".into(), version: "3".into(), outputs: vec![output] }
    }

    fn numbers() -> Tensor {
        let raw = [0.25f32, 0.75].iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        Tensor::new("probs".into(), DType::Fp32, Shape::new(&[1, 2]).unwrap(), raw.into()).unwrap()
    }

    fn best() -> Tensor {
        let mut raw = Vec::new();
        strings::push(&mut raw, b"0.75:1:one").unwrap();
        Tensor::new("probs".into(), DType::Bytes, Shape::new(&[1, 1]).unwrap(), raw.into()).unwrap()
    }

    #[test]
    fn values_stand_in_a_table_above_the_timing() {
        let timing = Timing::new(Duration::from_millis(1), None);
        let spread = Spread::new(vec![1.0, 2.0]);
        let shown = Shown { answer: &answer(numbers()), classified: &[], timing: &timing, spread: Some(&spread) };
        let expected = "\
digits version 3

OUTPUT  DATATYPE  SHAPE  VALUES
probs   FP32      [1,2]  [[0.25, 0.75]]

the call took 1.000 ms; the server does not say where

2 calls in ms: min 1.000, p50 1.000, p99 2.000, max 2.000
";
        assert_eq!(shown.text(), expected);
    }

    #[test]
    fn classes_are_drawn_only_where_they_were_asked_for() {
        let timing = Timing::new(Duration::from_millis(1), None);
        let (answer, probs) = (answer(best()), ["probs".to_owned()]);
        let asked = Shown { answer: &answer, classified: &probs, timing: &timing, spread: None };
        assert!(asked.text().contains("    1  one    0.7500  ██████████████████\n"), "{}", asked.text());
        let text = Shown { classified: &[], ..asked }.text();
        assert!(text.contains("[[\"0.75:1:one\"]]"), "{text}");
    }

    #[test]
    fn json_is_the_whole_answer() {
        let timing = Timing::new(Duration::from_millis(1), None);
        let shown = Shown { answer: &answer(numbers()), classified: &[], timing: &timing, spread: None };
        let expected = json!({
            "model": "digits",
            "version": "3",
            "outputs": [{ "name": "probs", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75] }],
            "timing": { "client_ms": 1.0 }
        });
        assert_eq!(shown.json(), expected);
        let probs = ["probs".to_owned()];
        let shown = Shown { answer: &answer(best()), classified: &probs, ..shown };
        let classes = json!([[{ "score": 0.75, "index": 1, "label": "one" }]]);
        assert_eq!(shown.json()["outputs"][0]["classes"], classes);
    }
}
