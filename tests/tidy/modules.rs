//! Which module of the host uses which. The table is the one in `ARCHITECTURE.md`.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, Token};
use crate::{files, hold, source};

const HEADING: &str = "## The modules";
const HOST: &str = "host/src/";

/// The rows of the table: each module and those it may use.
fn claimed() -> Vec<(String, BTreeSet<String>)> {
    let page = files::one("ARCHITECTURE.md");
    let section = page
        .split(HEADING)
        .nth(1)
        .unwrap_or_else(|| panic!("no heading {HEADING:?}"));
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").collect();
        let [module, .., uses] = cells.as_slice() else {
            panic!("no table row: {row}")
        };
        (quoted(module).remove(0), quoted(uses).into_iter().collect())
    })
    .collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The modules as `lib.rs` declares them.
fn declared() -> Vec<String> {
    let lib = files::one("host/src/lib.rs");
    let name = |line: &str| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned());
    lib.lines().filter_map(name).collect()
}

/// The modules of the host that the file's product uses, with the line of the first use.
fn used(source: &Source, depth: usize) -> BTreeMap<String, usize> {
    let tokens = &source.product;
    let mut used = BTreeMap::new();
    let mut at = 0;
    while at < tokens.len() {
        let mut supers = 0;
        while is_path(tokens, at, "super") {
            supers += 1;
            at += 3;
        }
        let from_root = is_path(tokens, at, "crate");
        if from_root {
            at += 3;
        }
        if from_root || (supers > 0 && supers >= depth) {
            for token in heads(tokens, at) {
                used.entry(token.text.clone()).or_insert(token.line);
            }
        } else if supers == 0 {
            at += 1;
        }
    }
    used
}

/// Whether a path goes on from this keyword here.
fn is_path(tokens: &[Token], at: usize, keyword: &str) -> bool {
    let text = |at: usize| tokens.get(at).map(|token| token.text.as_str());
    text(at) == Some(keyword) && text(at + 1) == Some(":") && text(at + 2) == Some(":")
}

/// What the path goes on with: one name, or in braces several.
fn heads(tokens: &[Token], at: usize) -> Vec<&Token> {
    let Some(first) = tokens.get(at) else { return Vec::new() };
    if first.text != "{" {
        return vec![first];
    }
    let (mut heads, mut depth, mut begins) = (Vec::new(), 0, true);
    for token in tokens.iter().skip(at) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            "," if depth == 1 => begins = true,
            _ if begins => {
                heads.push(token);
                begins = false;
            }
            _ => {}
        }
    }
    heads
}

#[test]
fn the_table_has_the_modules_in_the_order_of_lib_rs() {
    let claimed: Vec<String> = claimed().into_iter().map(|(module, _)| module).collect();
    assert_eq!(
        claimed,
        declared(),
        "ARCHITECTURE.md on the left, host/src/lib.rs on the right"
    );
}

#[test]
fn a_module_uses_only_those_below_it() {
    let order = declared();
    let mut broken = Vec::new();
    for (at, (module, uses)) in claimed().iter().enumerate() {
        for name in uses {
            if !order.iter().skip(at + 1).any(|below| below == name) {
                broken.push(format!(
                    "ARCHITECTURE.md lets `{module}` use `{name}`, which is not below it"
                ));
            }
        }
    }
    hold("A module uses only modules that stand below it.", &broken);
}

#[test]
fn a_module_uses_what_the_table_says() {
    let claimed: BTreeMap<String, BTreeSet<String>> = claimed().into_iter().collect();
    let mut unused = claimed.clone();
    let mut broken = Vec::new();
    for source in source::below(&[HOST]) {
        let path = source.path.strip_prefix(HOST).unwrap();
        let parts: Vec<&str> = path
            .trim_end_matches(".rs")
            .split('/')
            .filter(|part| *part != "mod")
            .collect();
        if matches!(parts.as_slice(), ["lib" | "main"]) {
            continue;
        }
        let module = parts[0];
        for (name, line) in used(&source, parts.len()) {
            if name == module {
                continue;
            }
            unused.get_mut(module).map(|unused| unused.remove(&name));
            if !claimed.get(module).is_some_and(|uses| uses.contains(&name)) {
                broken.push(format!("{}:{line}: `{module}` uses `{name}`", source.path));
            }
        }
    }
    for (module, names) in unused {
        broken.extend(
            names
                .iter()
                .map(|name| format!("ARCHITECTURE.md: `{module}` does not use `{name}` any more")),
        );
    }
    hold("The table of modules in ARCHITECTURE.md says who uses whom.", &broken);
}
