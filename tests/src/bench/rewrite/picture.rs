//! What was measured as a picture: bars on a logarithmic scale, since the ways are orders of magnitude
//! apart, each with its seconds and its ratio. SVG is text, so it needs no library.

use std::fmt::Write as _;

use super::{
    case::Way,
    measure::{Measured, median},
};

/// All lengths are in pixels.
const WIDTH: f64 = 860.0;
const MARGIN: f64 = 24.0;
/// Where bars begin; names stand to the left of it.
const LEFT: f64 = 170.0;
/// What a bar's label needs to the right of the longest one.
const LABEL: f64 = 150.0;
const BAR: f64 = 18.0;
const STEP: f64 = 26.0;
const HEAD: f64 = 70.0;
const TITLE: f64 = 34.0;

/// Bars have no shorter time than this: a logarithmic scale has no zero.
const LEAST: f64 = 0.1;

struct Bar {
    name: &'static str,
    seconds: f64,
    colour: &'static str,
    /// The ratio to Upshift, where there is one.
    label: String,
}

/// The picture as SVG.
pub(super) fn draw(all: &[Measured]) -> String {
    let groups: Vec<(&Measured, Vec<Bar>)> = all.iter().map(|m| (m, bars(m))).collect();
    let count: usize = groups.iter().map(|(_, bars)| bars.len()).sum();
    let height = HEAD + groups.len() as f64 * TITLE + count as f64 * STEP + 2.0 * MARGIN;
    let longest = groups
        .iter()
        .flat_map(|(_, bars)| bars)
        .map(|bar| bar.seconds)
        .fold(1.0, f64::max);
    let scale = Scale { longest };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\">\n\
         <title>The same upgrade, done in several ways</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    text(
        &mut svg,
        (MARGIN, 32.0),
        "font-size=\"17\" font-weight=\"bold\" fill=\"#222222\"",
        "The same upgrade, done in several ways",
    );
    let server = all.first().map_or("", |measured| measured.server.as_str());
    text(
        &mut svg,
        (MARGIN, 52.0),
        "fill=\"#666666\"",
        &format!(
            "seconds on a logarithmic scale, shorter is better; × = times as long as upshift; PostgreSQL {server}"
        ),
    );
    grid(&mut svg, &scale, height);
    let mut y = HEAD;
    for (measured, bars) in &groups {
        y += TITLE;
        text(
            &mut svg,
            (MARGIN, y - 10.0),
            "font-weight=\"bold\" fill=\"#222222\"",
            &measured.title,
        );
        for bar in bars {
            draw_bar(&mut svg, &scale, y, bar);
            y += STEP;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// From seconds to pixels.
struct Scale {
    longest: f64,
}

impl Scale {
    fn x(&self, seconds: f64) -> f64 {
        let share = (seconds.max(LEAST) / LEAST).log10() / (self.longest / LEAST).log10();
        LEFT + share * (WIDTH - LEFT - LABEL - MARGIN)
    }
}

fn bars(measured: &Measured) -> Vec<Bar> {
    let upshift = measured.seconds(Way::Upshift);
    let mut bars: Vec<Bar> = Vec::new();
    for timing in &measured.timings {
        let Some(seconds) = median(&timing.seconds) else {
            continue;
        };
        let ratio = upshift.filter(|_| timing.way != Way::Upshift);
        bars.push(Bar {
            name: timing.way.name(),
            seconds,
            colour: colour(timing.way),
            label: ratio.map_or_else(String::new, |u| format!(" · {}", times(seconds / u))),
        });
    }
    if let Some(seconds) = median(&measured.rollback) {
        bars.push(Bar {
            name: "rollback of upshift",
            seconds,
            colour: "#9bc4b0",
            label: String::new(),
        });
    }
    bars
}

/// `18 ×`, `1.1 ×`
fn times(ratio: f64) -> String {
    if ratio >= 9.95 {
        format!("{ratio:.0} ×")
    } else {
        format!("{ratio:.2} ×")
    }
}

fn colour(way: Way) -> &'static str {
    match way {
        Way::Sequential => "#c0c0c0",
        Way::Chunked => "#9a9a9a",
        Way::ByHand => "#5b84b1",
        Way::Shadow => "#b59ad1",
        Way::Upshift => "#2f8f5b",
    }
}

/// A line at each power of ten, with its number below.
fn grid(svg: &mut String, scale: &Scale, height: f64) {
    let bottom = height - 2.0 * MARGIN;
    let mut seconds = LEAST;
    while seconds <= scale.longest * 1.000_1 {
        let x = scale.x(seconds);
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{HEAD}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#e4e4e4\"/>"
        );
        text(
            svg,
            (x, bottom + 18.0),
            "text-anchor=\"middle\" fill=\"#666666\"",
            &format!("{} s", (seconds * 10.0).round() / 10.0),
        );
        seconds *= 10.0;
    }
}

fn draw_bar(svg: &mut String, scale: &Scale, y: f64, bar: &Bar) {
    let middle = y + BAR / 2.0 + 4.5;
    let end = scale.x(bar.seconds);
    text(
        svg,
        (LEFT - 8.0, middle),
        "text-anchor=\"end\" fill=\"#222222\"",
        bar.name,
    );
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\" fill=\"{}\"/>",
        // What is no longer than the least is still seen.
        (end - LEFT).max(2.0),
        bar.colour
    );
    let seconds = if bar.seconds < 9.95 {
        format!("{:.2} s", bar.seconds)
    } else {
        format!("{:.1} s", bar.seconds)
    };
    text(
        svg,
        (end.max(LEFT + 2.0) + 6.0, middle),
        "fill=\"#222222\"",
        &(seconds + &bar.label),
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), attributes: &str, content: &str) {
    let content = content
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{content}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::{super::measure::Timing, *};

    fn measured(upshift: f64) -> Measured {
        let timing = |way, seconds| Timing {
            way,
            seconds: vec![seconds],
            operators: None,
        };
        Measured {
            name: "base",
            title: "rows < 3 & more".to_owned(),
            server: "15".to_owned(),
            timings: vec![
                timing(Way::Sequential, 200.0),
                timing(Way::Upshift, upshift),
            ],
            rollback: vec![0.01],
            wanted: super::super::case::Wanted::default(),
        }
    }

    #[test]
    fn bars_grow_with_the_logarithm_and_say_the_ratio() {
        let svg = draw(&[measured(10.0)]);
        assert!(svg.contains(">200.0 s · 20 ×</text>"), "{svg}");
        assert!(svg.contains(">10.0 s</text>"), "{svg}");
        assert!(svg.contains("rows &lt; 3 &amp; more"), "{svg}");
        let scale = Scale { longest: 1000.0 };
        let decade = scale.x(100.0) - scale.x(10.0);
        assert!((scale.x(10.0) - scale.x(1.0) - decade).abs() < 1e-9);
        assert!((scale.x(0.01) - LEFT).abs() < 1e-9);
    }

    #[test]
    fn nothing_measured_is_still_a_picture() {
        assert!(draw(&[]).ends_with("</svg>\n"));
    }
}
