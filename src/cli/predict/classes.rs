//! The best classes of each row, as the `classification` parameter answers them: `value:index[:label]`.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::cli::table::{bar, plain, table};
use crate::tensor::{DType, Tensor};

/// One class of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    /// What the model says of it.
    pub score: f64,
    /// Its place among all classes.
    pub index: u64,
    /// Its name, where the model has names.
    pub label: Option<String>,
}

impl Class {
    /// Reads `value:index[:label]`; a label may have colons of its own.
    pub fn parse(text: &str) -> Option<Class> {
        let mut parts = text.splitn(3, ':');
        let score = parts.next()?.trim().parse().ok()?;
        let index = parts.next()?.parse().ok()?;
        Some(Class { score, index, label: parts.next().map(str::to_owned) })
    }

    fn json(&self) -> Value {
        // JSON has no number for what is not finite.
        let score = if self.score.is_finite() { self.score.into() } else { Value::from(self.score.to_string()) };
        match &self.label {
            Some(label) => json!({ "score": score, "index": self.index, "label": label }),
            None => json!({ "score": score, "index": self.index }),
        }
    }
}

/// The classes in an output, row by row; nothing where it is no answer of classes.
pub fn rows(output: &Tensor) -> Option<Vec<Vec<Class>>> {
    if output.dtype() != DType::Bytes {
        return None;
    }
    let read = |element: &[u8]| std::str::from_utf8(element).ok().and_then(Class::parse);
    let classes: Vec<Class> = output.elements().map(read).collect::<Option<_>>()?;
    let each = (output.shape().last().copied().unwrap_or(1) as usize).max(1);
    Some(classes.chunks(each).map(<[Class]>::to_vec).collect())
}

/// The rows as JSON.
pub fn json(rows: &[Vec<Class>]) -> Value {
    rows.iter().map(|row| row.iter().map(Class::json).collect::<Value>()).collect()
}

/// The rows as tables with bars. Scores between 0 and 1 are shares of the whole, others of the largest.
pub fn draw(rows: &[Vec<Class>]) -> String {
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        if rows.len() > 1 {
            let gap = if index > 0 { "\n" } else { "" };
            _ = writeln!(text, "{gap}row {index}");
        }
        let whole = row.iter().map(|class| class.score).fold(1.0, f64::max);
        text += &table(["CLASS ", "LABEL", "SCORE ", ""], row.iter().map(|class| cells(class, whole)));
    }
    text
}

fn cells(class: &Class, whole: f64) -> [String; 4] {
    let label = class.label.as_deref().map(plain).unwrap_or_default();
    [class.index.to_string(), label, format!("{:.4}", class.score), bar(class.score / whole)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{Shape, strings};

    fn output(dims: &[i64], elements: &[&str]) -> Tensor {
        let mut raw = Vec::new();
        elements.iter().for_each(|element| strings::push(&mut raw, element.as_bytes()).unwrap());
        Tensor::new("y".into(), DType::Bytes, Shape::new(dims).unwrap(), raw.into()).unwrap()
    }

    fn class(score: f64, index: u64, label: Option<&str>) -> Class {
        Class { score, index, label: label.map(str::to_owned) }
    }

    #[test]
    fn a_class_has_a_score_an_index_and_perhaps_a_label() {
        assert_eq!(Class::parse("0.5:3"), Some(class(0.5, 3, None)));
        assert_eq!(Class::parse("-1.25e3:0:a: b"), Some(class(-1250.0, 0, Some("a: b"))));
        for text in ["", "0.5", "x:1", "0.5:y", "0.5:-1"] {
            assert_eq!(Class::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn rows_are_cut_along_the_last_axis() {
        let two = rows(&output(&[2, 2], &["0.9:1:b", "0.1:0:a", "0.8:0:a", "0.2:1:b"])).unwrap();
        assert_eq!(
            two,
            [
                vec![class(0.9, 1, Some("b")), class(0.1, 0, Some("a"))],
                vec![class(0.8, 0, Some("a")), class(0.2, 1, Some("b"))]
            ]
        );
        assert_eq!(rows(&output(&[1], &["plain text"])), None);
        assert_eq!(rows(&output(&[0, 3], &[])), Some(vec![]));
    }

    #[test]
    fn rows_are_drawn_with_their_labels_and_bars() {
        let text = draw(&[vec![class(0.75, 7, Some("seven")), class(0.25, 1, Some("one"))]]);
        let expected = "\
CLASS  LABEL   SCORE
    7  seven  0.7500  ██████████████████
    1  one    0.2500  ██████
";
        assert_eq!(text, expected);
    }

    #[test]
    fn scores_over_one_are_drawn_beside_the_largest() {
        let text = draw(&[vec![class(8.0, 0, None), class(2.0, 1, None), class(-3.0, 2, None)]]);
        let bars: Vec<usize> = text.lines().skip(1).map(|line| line.matches('█').count()).collect();
        assert_eq!(bars, [24, 6, 0]);
    }

    #[test]
    fn json_has_a_list_for_each_row() {
        let rows = json(&[vec![class(0.5, 3, None)], vec![class(f64::NAN, 1, Some("b"))]]);
        assert_eq!(rows, json!([[{ "score": 0.5, "index": 3 }], [{ "score": "NaN", "index": 1, "label": "b" }]]));
    }
}
