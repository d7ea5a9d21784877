//! Stacks as a flame graph: a picture of where time goes, each frame as wide as its part of the samples, its callers below.
//! Pure, and bounded in what it draws.

use std::collections::BTreeMap;
use std::fmt::Write;

const WIDTH: f64 = 1400.0;
const HEIGHT: f64 = 17.0;
/// Room for the title.
const TOP: f64 = 28.0;
/// Frames that are narrower are not drawn: nobody sees them.
const NARROWEST: f64 = 0.3;
/// Deeper stacks are cut.
const DEEPEST: usize = 200;
/// About what a letter takes.
const LETTER: f64 = 6.6;

/// A frame with all that it called.
#[derive(Debug, Default)]
pub(super) struct Flame {
    samples: usize,
    called: BTreeMap<String, Flame>,
}

impl Flame {
    /// Adds so many samples of one stack, which begins with its outermost frame.
    pub(super) fn add<'a>(&mut self, stack: impl IntoIterator<Item = &'a str>, samples: usize) {
        self.samples += samples;
        let mut at = self;
        for frame in stack.into_iter().take(DEEPEST) {
            if !at.called.contains_key(frame) {
                at.called.insert(frame.to_owned(), Flame::default());
            }
            at = at.called.get_mut(frame).expect("it was just put there");
            at.samples += samples;
        }
    }

    /// How many samples there are.
    pub(super) fn samples(&self) -> usize {
        self.samples
    }

    /// The picture, in SVG.
    pub(super) fn svg(&self, title: &str) -> String {
        let mut drawn = String::new();
        let deepest = self.draw(&mut drawn, 0, 0.0, self.samples.max(1));
        let height = TOP + HEIGHT * deepest as f64 + 8.0;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" font-family=\"monospace\" font-size=\"11\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fffdf5\"/>\n\
             <text x=\"6\" y=\"18\" font-size=\"13\">{}</text>\n{drawn}</svg>\n",
            escaped(title)
        )
    }

    /// Draws what was called from `x` on, on the line of `depth` and those below; how many lines there are.
    fn draw(&self, drawn: &mut String, depth: usize, mut x: f64, all: usize) -> usize {
        let mut deepest = depth;
        for (name, flame) in &self.called {
            let width = WIDTH * flame.samples as f64 / all as f64;
            if width >= NARROWEST {
                flame.draw_itself(drawn, name, (x, TOP + HEIGHT * depth as f64, width), all);
                deepest = deepest.max(flame.draw(drawn, depth + 1, x, all));
            }
            x += width;
        }
        deepest
    }

    fn draw_itself(&self, drawn: &mut String, name: &str, (x, y, width): (f64, f64, f64), all: usize) {
        let part = 100.0 * self.samples as f64 / all as f64;
        let (samples, letters) = (self.samples, ((width - 4.0) / LETTER).max(0.0) as usize);
        let label: String = if letters < 3 { String::new() } else { name.chars().take(letters).collect() };
        let (colour, height, below) = (colour(name), HEIGHT - 1.0, y + 12.0);
        // Writing to a text cannot fail.
        let _ = writeln!(
            drawn,
            "<g><title>{} ({samples} samples, {part:.2} %)</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
             height=\"{height}\" fill=\"{colour}\" rx=\"1\"/><text x=\"{:.1}\" y=\"{below:.1}\">{}</text></g>",
            escaped(name),
            x + 3.0,
            escaped(&label)
        );
    }
}

/// The same for the same name, and warm; our own frames stand out.
fn colour(name: &str) -> String {
    let sum = name.bytes().fold(7u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    match name.contains("infergate::") {
        true => format!("hsl({},75%,68%)", 200 + sum % 25),
        false => format!("hsl({},80%,72%)", 20 + sum % 35),
    }
}

fn escaped(text: &str) -> String {
    let printable = text.chars().filter(|letter| !letter.is_control());
    printable.fold(String::new(), |mut escaped, letter| {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            letter => escaped.push(letter),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_frame_is_as_wide_as_its_part_and_lies_under_its_caller() {
        let mut flame = Flame::default();
        flame.add(["main", "infergate::work"], 3);
        flame.add(["main", "wait<&T>"], 1);
        let svg = flame.svg("4 samples");
        assert_eq!(flame.samples(), 4);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
        for part in [
            "<title>main (4 samples, 100.00 %)</title><rect x=\"0.0\" y=\"28.0\" width=\"1400.0\"",
            "<title>infergate::work (3 samples, 75.00 %)</title><rect x=\"0.0\" y=\"45.0\" width=\"1050.0\"",
            "<title>wait&lt;&amp;T&gt; (1 samples, 25.00 %)</title><rect x=\"1050.0\" y=\"45.0\" width=\"350.0\"",
        ] {
            assert!(svg.contains(part), "{part}\n{svg}");
        }
    }

    #[test]
    fn what_nobody_would_see_is_not_drawn_and_stacks_without_end_are_cut() {
        let mut flame = Flame::default();
        flame.add(["wide"], 100_000);
        flame.add(["narrow"], 1);
        flame.add(std::iter::repeat_n("again", 10_000), 100_000);
        let svg = flame.svg("");
        assert!(!svg.contains("narrow"));
        assert_eq!(svg.matches("<title>again").count(), DEEPEST);
    }
}
