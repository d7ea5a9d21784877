//! Figures as pictures.

use std::fmt::Write;
use std::io;
use std::path::Path;

use crate::Outcomes;
use crate::list::{EARLY, RULES};
use crate::scenario::Rule;
use crate::statistics::mean;

const COLOURS: [&str; 7] = ["#444444", "#b8860b", "#999999", "#8e44ad", "#2e86c1", "#1e8449", "#c0392b"];
const WIDTH: f64 = 860.0;

/// Writes all pictures into a folder.
pub fn write(folder: &Path, outcomes: &Outcomes, sweep: &Outcomes, loads: &[f64]) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("load.svg"), by_load(sweep, loads))?;
    std::fs::write(folder.join("scenarios.svg"), by_scenario(outcomes))
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, colour: &str, words: &str) {
    let _ = writeln!(
        out,
        r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{colour}" font-family="sans-serif" font-size="12">{words}</text>"#
    );
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(out, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}"/>"#);
}

fn framed(height: f64, title: &str, inner: &str) -> String {
    let mut out = format!(r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">"#);
    out.push_str("\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
    text(&mut out, 16.0, 24.0, "start", "black", title);
    out.push_str(inner);
    out.push_str("</svg>\n");
    out
}

/// p99.9 over load.
fn by_load(sweep: &Outcomes, loads: &[f64]) -> String {
    let (left, right, top, bottom, most) = (50.0, 640.0, 40.0, 420.0, 140.0);
    let x = |load: f64| left + (load - loads[0]) / (loads[loads.len() - 1] - loads[0]) * (right - left);
    let y = |millis: f64| bottom - millis.min(most) / most * (bottom - top);
    let mut out = String::new();
    for millis in [0.0, 20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 140.0] {
        line(&mut out, (left, y(millis)), (right, y(millis)), "#dddddd");
        text(&mut out, left - 6.0, y(millis) + 4.0, "end", "black", &format!("{millis}"));
    }
    for load in loads.iter().filter(|load| (*load * 100.0).round() % 10.0 == 0.0) {
        text(&mut out, x(*load), bottom + 18.0, "middle", "black", &format!("{load:.1}"));
    }
    for (index, (rule, colour)) in RULES.iter().zip(COLOURS).enumerate() {
        let values = sweep
            .scenarios()
            .zip(loads)
            .map(|(scenario, load)| (x(*load), y(mean(sweep.runs(scenario, *rule), |summary| summary.p999))));
        let points: Vec<String> = values.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            out,
            r#"<polyline fill="none" stroke="{colour}" stroke-width="2" points="{}"/>"#,
            points.join(" ")
        );
        text(&mut out, right + 16.0, top + 20.0 * (index as f64 + 1.0), "start", colour, rule.name());
    }
    framed(450.0, "p99.9 in ms over load (part of the fleet's capacity), unequal fleet of 10, 4 gateways", &out)
}

/// p99.9 against peak-EWMA in every scenario.
fn by_scenario(outcomes: &Outcomes) -> String {
    let (left, right, top, row, most) = (400.0, 840.0, 70.0, 22.0, 1.4);
    let x = |ratio: f64| left + f64::min(ratio, most) / most * (right - left);
    let scenarios: Vec<&str> = outcomes.scenarios().collect();
    let bottom = top + row * scenarios.len() as f64;
    let mut out = String::new();
    for ratio in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4] {
        line(&mut out, (x(ratio), top - 8.0), (x(ratio), bottom), if ratio == 1.0 { "#444444" } else { "#dddddd" });
        text(&mut out, x(ratio), bottom + 16.0, "middle", "black", &format!("{ratio}"));
    }
    for (index, scenario) in scenarios.iter().enumerate() {
        let y = top + row * (index as f64 + 0.5);
        text(&mut out, left - 10.0, y + 4.0, "end", "black", scenario);
        for (rule, colour, shift) in [(EARLY, COLOURS[5], -4.0), (Rule::Planned, COLOURS[6], 4.0)] {
            let Some(ratio) = outcomes.ratio(scenario, rule, Rule::TowerPeakEwma, |summary| summary.p999) else {
                continue;
            };
            line(&mut out, (x(ratio.low), y + shift), (x(ratio.high), y + shift), colour);
            let at = x(ratio.mean);
            let _ = writeln!(out, r#"<circle cx="{at:.1}" cy="{:.1}" r="3.5" fill="{colour}"/>"#, y + shift);
        }
    }
    text(&mut out, left, 46.0, "start", COLOURS[5], EARLY.name());
    text(&mut out, left + 180.0, 46.0, "start", COLOURS[6], Rule::Planned.name());
    framed(
        bottom + 30.0,
        "p99.9 as a part of that of P2C peak-EWMA (tower), with 95 % intervals; beyond 1.4 at the edge",
        &out,
    )
}
