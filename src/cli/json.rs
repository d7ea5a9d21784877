//! JSON as the commands print it.

use std::fmt::Write;

use serde_json::{Value, json};

/// JSON that people can read too: a line for each entry, but one for a list or an object of plain values.
pub fn pretty(value: &Value) -> String {
    let mut text = String::new();
    put_json(&mut text, value, 0);
    text + "\n"
}

fn put_json(text: &mut String, value: &Value, depth: usize) {
    let nested = |value: &Value| value.is_array() || value.is_object();
    match value {
        Value::Array(entries) => {
            let keyed: Vec<_> = entries.iter().map(|entry| (String::new(), entry)).collect();
            put_entries(text, ('[', ']'), depth, entries.iter().any(nested), &keyed);
        }
        Value::Object(entries) => {
            let keyed: Vec<_> = entries.iter().map(|(key, entry)| (format!("{}: ", json!(key)), entry)).collect();
            put_entries(text, ('{', '}'), depth, depth == 0 || entries.values().any(nested), &keyed);
        }
        plain => _ = write!(text, "{plain}"),
    }
}

fn put_entries(
    text: &mut String,
    (open, close): (char, char),
    depth: usize,
    on_lines: bool,
    entries: &[(String, &Value)],
) {
    let line =
        |depth: usize| if on_lines && !entries.is_empty() { format!("\n{:1$}", "", 2 * depth) } else { String::new() };
    let separator = if on_lines { "," } else { ", " };
    text.push(open);
    for (index, (key, entry)) in entries.iter().enumerate() {
        let separator = if index > 0 { separator } else { "" };
        _ = write!(text, "{separator}{}{key}", line(depth + 1));
        put_json(text, entry, depth + 1);
    }
    _ = write!(text, "{}{close}", line(depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_what_is_plain_on_one_line() {
        let value = json!({ "a\"": [1, "x"], "b": [{ "c": [[1, 2], [3]] }, {}, { "d": 1, "e": 2 }], "f": [] });
        let expected = r#"{
  "a\"": [1, "x"],
  "b": [
    {
      "c": [
        [1, 2],
        [3]
      ]
    },
    {},
    {"d": 1, "e": 2}
  ],
  "f": []
}
"#;
        assert_eq!(pretty(&value), expected);
        assert_eq!(serde_json::from_str::<Value>(expected).unwrap(), value);
        assert_eq!(pretty(&json!({})), "{}\n");
    }
}
