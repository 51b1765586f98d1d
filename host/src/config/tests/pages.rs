//! What the server's guide says of settings, held against their declarations.

use std::collections::BTreeMap;

use toml::Value;

use super::*;
use crate::config::tables;

fn guide() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The rows of the guide's tables, by cells.
fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = page.lines().filter(|line| line.starts_with("| "));
    rows.map(|row| row.trim_matches(['|', ' ']).split(" | ").collect())
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A default as the guide writes it: "64 KiB", "50 ms", "2,048".
fn shown(default: &Value) -> String {
    match default {
        Value::Integer(number) => {
            let digits = number.to_string();
            let groups: Vec<&str> = digits
                .as_bytes()
                .rchunks(3)
                .rev()
                .map(|group| std::str::from_utf8(group).unwrap())
                .collect();
            groups.join(",")
        }
        Value::String(text) => match text.find(|char: char| !char.is_ascii_digit()) {
            Some(unit @ 1..) => format!("{} {}", &text[..unit], &text[unit..]),
            _ => text.clone(),
        },
        other => other.to_string(),
    }
}

/// The ways to write a default: a whole number of minutes is often shown in seconds.
fn ways(default: &Value) -> Vec<String> {
    let mut ways = vec![shown(default)];
    if let Some(minutes) = default.as_str().and_then(|text| text.strip_suffix('m'))
        && let Ok(minutes) = minutes.parse::<u64>()
    {
        ways.push(format!("{} s", minutes * 60));
    }
    ways
}

#[test]
fn the_guide_shows_the_defaults_that_are_declared() {
    let defaults: BTreeMap<String, Value> = tables::settings()
        .into_iter()
        .filter_map(|setting| Some((setting.path(), setting.default?)))
        .collect();
    let page = guide();
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for row in rows(&page).filter(|row| row.len() == 3) {
        let (mut table, mut known) = ("", Vec::new());
        for name in quoted(row[0]) {
            let path = match name.split_once('.') {
                Some((head, _)) => {
                    table = head;
                    name.to_owned()
                }
                None => format!("{table}.{name}"),
            };
            known.extend(defaults.get(&path).map(|default| (path, default)));
        }
        // "2,048, 4 MiB" are two values.
        for ((path, default), cell) in known.iter().zip(row[1].split(", ")) {
            checked += 1;
            let cell = cell.replace('`', "");
            if !cell.is_empty()
                && !ways(default)
                    .iter()
                    .any(|way| cell.starts_with(way) || cell == way.replace(' ', ""))
            {
                wrong.push(format!("{path}: {cell:?} is {default}"));
            }
        }
    }
    assert!(wrong.is_empty(), "host/README.md:\n{}", wrong.join("\n"));
    assert!(checked > 50, "only {checked} defaults in host/README.md");
}

#[test]
fn the_guide_has_every_variable_with_a_name_of_its_own() {
    let page = guide();
    for variable in VARIABLES {
        let row = rows(&page).find(|row| quoted(row[0]).next() == Some(variable.name));
        let row = row.unwrap_or_else(|| panic!("host/README.md has no row of {}", variable.name));
        if let Some(key) = variable.key {
            assert!(quoted(row[1]).any(|text| text == key), "{}: {key}", variable.name);
        }
    }
}
