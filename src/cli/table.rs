//! What every command draws with: tables without lines, bars, and text that cannot disturb a terminal.

use comfy_table::{Cell, CellAlignment, Table, presets};

/// Cells of the widest bar.
const BAR: usize = 24;

/// Columns under their names. Where the name of a column ends in a space, its cells stand at the right, as numbers do.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.map(|name| Cell::new(name.trim_end())));
    for row in rows {
        table.add_row(row.map(Cell::new));
    }
    for (column, name) in table.column_iter_mut().zip(header) {
        column.set_padding((0, 2));
        if name.ends_with(' ') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    lines(table.lines())
}

/// Each with its end, and nothing behind what can be seen.
fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| format!("{}\n", line.trim_end())).collect()
}

/// A bar for a share of the whole, between nothing and all of it.
pub fn bar(share: f64) -> String {
    bar_of(share, BAR)
}

/// A bar that begins where what came before it ends: one step of a waterfall.
pub fn step(before: f64, share: f64) -> String {
    let before = if before.is_finite() { before.clamp(0.0, 1.0) } else { 0.0 };
    match bar(share) {
        nothing if nothing.is_empty() => nothing,
        bar => format!("{}{bar}", " ".repeat((before * BAR as f64).round() as usize)),
    }
}

/// A bar, where the whole is so many cells.
pub fn bar_of(share: f64, cells: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let eighths = (share * (8 * cells) as f64).round() as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// The columns that standard output has, or would have in most terminals where it is none.
pub fn width() -> usize {
    const USUAL: usize = 80;
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(USUAL)
}

/// Text from a peer: control characters are escaped, so that they cannot move the cursor or hide anything.
pub fn plain(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// Text from a peer, cut to `most` characters.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", plain(&text[..end])),
        None => plain(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_at_the_right() {
        let rows = [["a".to_owned(), "1.5".to_owned()], ["longer".to_owned(), "10.25".to_owned()]];
        assert_eq!(table(["NAME", "MS "], rows), "NAME       MS\na         1.5\nlonger  10.25\n");
    }

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!(bar(0.0), "");
        assert_eq!(bar(1.0), "█".repeat(BAR));
        assert_eq!(bar(0.5), "█".repeat(BAR / 2));
        assert_eq!(bar(1.0 / (8 * BAR) as f64), "▏");
        assert_eq!(bar(7.0), bar(1.0));
        assert_eq!(bar(f64::NAN), "");
        assert_eq!(step(0.5, 0.5), " ".repeat(BAR / 2) + &bar(0.5));
        assert_eq!((step(0.5, 0.0), step(f64::NAN, 1.0)), (String::new(), bar(1.0)));
    }

    #[test]
    fn text_from_a_peer_cannot_move_the_cursor() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(cut("größer", 3), "grö…");
        assert_eq!(cut("groß", 4), "groß");
    }
}
