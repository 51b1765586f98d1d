//! Which module of the host uses which. The table is the one in `ARCHITECTURE.md`; between crates the compiler holds it
//! too.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{HOST, Source, Token};
use crate::{files, hold, source};

const HEADING: &str = "## The modules";

/// A crate of the host.
struct Crate {
    /// Its sources, from the top of the repository.
    path: &'static str,
    /// Its name in a path of Rust.
    name: &'static str,
    /// Its modules in the table, of which the one with the crate's name is all that the others are not. Empty: its
    /// `lib.rs` lists them.
    modules: &'static [&'static str],
}

/// The crates in the order of the table.
const CRATES: [Crate; 7] = [
    Crate {
        path: HOST[0],
        name: "parlance",
        modules: &[],
    },
    Crate {
        path: HOST[1],
        name: "parlance_hub",
        modules: &["commit", "hub", "msgpack"],
    },
    Crate {
        path: HOST[2],
        name: "parlance_handler",
        modules: &[],
    },
    Crate {
        path: HOST[3],
        name: "parlance_shipped",
        modules: &["shipped"],
    },
    Crate {
        path: HOST[4],
        name: "parlance_store",
        modules: &["store"],
    },
    Crate {
        path: HOST[5],
        name: "parlance_types",
        modules: &[],
    },
    Crate {
        path: HOST[6],
        name: "parlance_scheduler",
        modules: &["scheduler"],
    },
];

impl Crate {
    /// Its modules in the table.
    fn declared(&self) -> Vec<String> {
        if !self.modules.is_empty() {
            return self.modules.iter().map(|module| (*module).to_owned()).collect();
        }
        let lib = files::one(&format!("{}lib.rs", self.path));
        let name = |line: &str| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned());
        let lines: Vec<&str> = lib.lines().collect();
        let is_for_tests = |at: usize| at > 0 && lines[at - 1].starts_with("#[cfg(any(test");
        let product = lines.iter().enumerate().filter(|(at, _)| !is_for_tests(*at));
        product.filter_map(|(_, line)| name(line)).collect()
    }

    /// The module of the table that holds what the crate's root calls `name`.
    fn module(&self, name: &str) -> String {
        let own = self.name.trim_start_matches("parlance_");
        let is_listed = self.modules.is_empty() || self.modules.contains(&name);
        if is_listed { name } else { own }.to_owned()
    }
}

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

/// The texts between backticks.
pub(crate) fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// All modules, crate by crate.
fn declared() -> Vec<String> {
    CRATES.iter().flat_map(Crate::declared).collect()
}

/// The modules of the host that the file's product uses, with the line of the first use.
fn used(home: &Crate, source: &Source, depth: usize) -> BTreeMap<String, usize> {
    let tokens = &source.product;
    let mut used = BTreeMap::new();
    let mut at = 0;
    while at < tokens.len() {
        // No crate can name the server's, which stands above them all.
        if let Some(named) = CRATES.iter().skip(1).find(|named| is_path(tokens, at, named.name)) {
            for token in heads(tokens, at + 3) {
                used.entry(named.module(&token.text)).or_insert(token.line);
            }
            at += 3;
            continue;
        }
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
                used.entry(home.module(&token.text)).or_insert(token.line);
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

/// The names with which the path goes on: one, or several in braces.
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
fn the_table_has_the_modules_in_the_order_of_the_crates() {
    let claimed: Vec<String> = claimed().into_iter().map(|(module, _)| module).collect();
    assert_eq!(
        claimed,
        declared(),
        "ARCHITECTURE.md on the left, the crates' lib.rs on the right"
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
    for home in &CRATES {
        for source in source::below(&[home.path]) {
            let path = source.path.strip_prefix(home.path).unwrap();
            let parts: Vec<&str> = path
                .trim_end_matches(".rs")
                .split('/')
                .filter(|part| *part != "mod")
                .collect();
            let is_root = matches!(parts.as_slice(), ["lib" | "main"]);
            if is_root && home.modules.is_empty() {
                continue;
            }
            let module = home.module(parts[0]);
            for (name, line) in used(home, &source, parts.len()) {
                if name == module {
                    continue;
                }
                unused.get_mut(&module).map(|unused| unused.remove(&name));
                if !claimed.get(&module).is_some_and(|uses| uses.contains(&name)) {
                    broken.push(format!("{}:{line}: `{module}` uses `{name}`", source.path));
                }
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
