//! A bar chart as SVG, readable on a light and on a dark page.

use std::fmt::Write as _;

/// Bars that share a unit. The longest one has the full width.
pub(crate) struct Group {
    /// The scenario and the unit.
    pub(crate) title: String,
    pub(crate) bars: Vec<Bar>,
}

/// The figure of a server, or of a part of one.
pub(crate) struct Bar {
    pub(crate) name: String,
    /// An index into [`COLOURS`], equal in all groups for a server.
    pub(crate) colour: usize,
    pub(crate) value: f64,
}

/// Fill colours that stand out from white and from black.
const COLOURS: [&str; 8] = [
    "#6b8e23", "#2f7f79", "#b5701d", "#3b78c9", "#8a6bb8", "#b84a5e", "#7a7a3a", "#5a7a8a",
];

// Sizes in pixels.
const WIDTH: u32 = 760;
/// Where bars begin; the servers' names end before.
const LEFT: u32 = 120;
/// The longest bar. Its figure follows.
const LONGEST: f64 = 540.0;
const BAR: u32 = 16;
const BAR_GAP: u32 = 4;
const TITLE: u32 = 26;
const GROUP_GAP: u32 = 14;
const MARGIN: u32 = 10;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1b1b1b}.t{font-weight:600}\
    @media(prefers-color-scheme:dark){text{fill:#e8e8e8}}";

/// Draws the groups below each other, without a background. `label` says what is seen, for those who cannot see it.
pub(crate) fn svg(label: &str, groups: &[Group]) -> String {
    let mut body = String::new();
    let mut y = MARGIN;
    for group in groups {
        let _ = writeln!(
            body,
            r#"<text class="t" x="{MARGIN}" y="{}">{}</text>"#,
            y + 14,
            group.title
        );
        y += TITLE;
        let longest = group.bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
        for bar in &group.bars {
            let length = if longest > 0.0 {
                LONGEST * bar.value / longest
            } else {
                0.0
            };
            let colour = COLOURS.get(bar.colour).unwrap_or(&"#888888");
            let baseline = y + BAR - 4;
            let _ = writeln!(
                body,
                r#"<text x="{}" y="{baseline}" text-anchor="end">{}</text><rect x="{LEFT}" y="{y}" width="{length:.1}" height="{BAR}" rx="2" fill="{colour}"/><text x="{:.1}" y="{baseline}">{}</text>"#,
                LEFT - 8,
                bar.name,
                f64::from(LEFT) + length + 6.0,
                figure(bar.value),
            );
            y += BAR + BAR_GAP;
        }
        y += GROUP_GAP;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\" \
         role=\"img\" aria-label=\"{label}\">\n<style>{STYLE}</style>\n{body}</svg>\n"
    )
}

/// A figure with three digits or more.
fn figure(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    thousands(value)
}

/// A whole number with a comma between thousands.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_of_a_group_has_the_full_width() {
        let bar = |server: &str, value| Bar {
            name: server.to_owned(),
            colour: 0,
            value,
        };
        let chart = svg(
            "label",
            &[Group {
                title: "fan10, messages/s".to_owned(),
                bars: vec![bar("Node", 5_000.0), bar("Parlance", 20_000.0)],
            }],
        );
        assert!(chart.contains(r#"width="540.0""#), "{chart}");
        assert!(chart.contains(r#"width="135.0""#), "{chart}");
        assert!(
            chart.contains(">20,000<") && chart.contains(">fan10, messages/s<"),
            "{chart}"
        );
    }

    #[test]
    fn a_group_of_zeros_has_no_bars() {
        let group = Group {
            title: String::new(),
            bars: vec![Bar {
                name: String::new(),
                colour: 9,
                value: 0.0,
            }],
        };
        assert!(svg("label", &[group]).contains(r#"width="0.0""#));
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(thousands(999.4), "999");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
    }
}
