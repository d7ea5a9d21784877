//! The keys as a commented configuration file.

use super::Key;

const HEAD: &str = "\
# Infergate's configuration: every key with its meaning and its default. `--config FILE` reads such a file.
# A variable outweighs the file, a flag outweighs both. Variables are named after the keys:
# INFERGATE_LISTEN sets listen, INFERGATE_LIMITS_IN_FLIGHT sets in_flight of [limits].
# Sizes are \"512KiB\", \"64MiB\", \"1GiB\" or bytes; durations \"250ms\", \"5s\", \"2m\", \"1h\".
";

/// A file that sets each key to its default. Keys without one are shown with a sample, as comments.
pub(super) fn render(keys: &[Key]) -> String {
    let mut text = HEAD.to_owned();
    let mut current = "";
    for key in keys {
        let (table, name) = key.table_and_name();
        if table != current {
            text.push_str(&format!("\n[{table}]\n"));
            current = table;
        } else if table.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("# {}\n{}\n", key.meaning, assignment(name, key)));
    }
    text
}

fn assignment(name: &str, key: &Key) -> String {
    match (&key.default, key.sample) {
        (Some(default), _) => format!("{name} = {default}"),
        (None, sample) => format!("#{name} = {}", sample.unwrap_or_default()),
    }
}
