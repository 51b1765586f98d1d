//! What the pages say, held against what is there. `make docs` checks their links, with anchors.

use std::collections::BTreeSet;

use crate::files::{self, File};
use crate::hold;
use crate::text::TOP;

/// The longest the README may be, in lines: what a visitor needs in five minutes.
const README_LINES: usize = 150;

/// Endings of files, which look like keys of a table: `server.mjs`.
const ENDINGS: [&str; 8] = ["cjs", "js", "md", "mjs", "rs", "toml", "wasm", "wit"];

#[test]
fn the_readme_is_short() {
    let lines = files::one("README.md").lines().count();
    assert!(
        lines <= README_LINES,
        "README.md has {lines} lines: a guide is the place for more"
    );
}

#[test]
fn the_handler_in_the_readme_is_the_example() {
    let example = files::one("examples/moderation/src/lib.rs");
    let code: Vec<&str> = example.lines().filter(|line| !line.starts_with("//!")).collect();
    let code = code.join("\n");
    assert!(
        files::one("README.md").contains(code.trim()),
        "README.md does not show examples/moderation/src/lib.rs as it is"
    );
}

#[test]
fn what_the_pages_point_at_is_there() {
    let (mut broken, mut checked) = (Vec::new(), 0);
    for file in files::all().iter().filter(|file| file.is("md")) {
        let directory = file.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        for (line, number) in file.text.lines().zip(1..) {
            for (target, from) in links(line)
                .map(|link| (link, directory))
                .chain(named(line).map(|path| (path, "")))
            {
                checked += 1;
                if !files::root().join(from).join(&target).exists() {
                    broken.push(format!("{}:{number}: {target}", file.path));
                }
            }
        }
    }
    assert!(checked > 50, "only {checked} pointers in all pages");
    hold("A page points only at files that are there.", &broken);
}

#[test]
fn each_promise_and_its_test_point_at_each_other() {
    let page = files::one("ARCHITECTURE.md");
    let section = page.split("## What it promises\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let promises: Vec<&str> = section.split("\n### ").skip(1).collect();
    // 9 is a promise of the design that is not kept yet, or not under this name.
    let numbers = [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12];
    assert_eq!(promises.len(), numbers.len(), "the promises are those of {numbers:?}");
    let mut broken = Vec::new();
    for (promise, number) in promises.iter().zip(numbers) {
        let heading = promise.lines().next().unwrap();
        let test = format!("tests/e2e/promise-{number}.test.mjs");
        let anchor = format!("ARCHITECTURE.md#{}", anchor(heading));
        if !heading.starts_with(&format!("{number}. ")) {
            broken.push(format!("promise {number} is headed {heading:?}"));
        }
        if !promise.contains(&format!("]({test})")) {
            broken.push(format!("promise {number} does not link to {test}"));
        }
        if !files::one(&test).contains(&anchor) {
            broken.push(format!("{test} does not say {anchor}"));
        }
    }
    hold("A promise says what makes it true and which test shows it.", &broken);
}

#[test]
fn the_commands_on_the_pages_exist() {
    let commands = commands();
    let options = options();
    let goals = goals();
    let (mut broken, mut checked) = (Vec::new(), 0);
    for (page, number, code) in code_of_the_pages() {
        let words: Vec<&str> = code.split_whitespace().collect();
        for (at, word) in words.iter().enumerate() {
            let Some(next) = words.get(at + 1).filter(|next| is_kebab(next)) else {
                continue;
            };
            let known = match *word {
                "make" => &goals,
                "parlance" | "target/release/parlance" => &commands,
                _ => continue,
            };
            checked += 1;
            if !known.contains(*next) {
                broken.push(format!("{page}:{number}: {word} {next}"));
            }
            let given = words[at..].iter().take_while(|word| !["#", "|", "&&"].contains(*word));
            let given = given.filter_map(|word| word.strip_prefix("--"));
            let unknown = given.filter(|option| *word != "make" && !options.contains(*option));
            broken.extend(unknown.map(|option| format!("{page}:{number}: {word} {next} --{option}")));
        }
    }
    assert!(checked > 50, "only {checked} commands on all pages");
    hold("A page names only commands, options and goals that exist.", &broken);
}

#[test]
fn the_settings_on_the_pages_exist() {
    let schema: serde_json::Value = serde_json::from_str(&files::one("host/parlance.schema.json")).unwrap();
    let (mut broken, mut checked) = (Vec::new(), 0);
    for (page, number, code) in code_of_the_pages() {
        let Some((table, key)) = code.split_once('.') else {
            continue;
        };
        let is_key = !key.is_empty() && key.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
        let Some(known) = schema["properties"].get(table).map(|table| &table["properties"]) else {
            continue;
        };
        if is_key && !ENDINGS.contains(&key) {
            checked += 1;
            if known.get(key).is_none() {
                broken.push(format!("{page}:{number}: {code}"));
            }
        }
    }
    assert!(checked > 50, "only {checked} settings on all pages");
    hold("A page names only settings that exist.", &broken);
}

#[test]
fn the_clients_guide_has_every_code() {
    let source = files::one("host/types/src/error.rs");
    let variants = source
        .split("pub enum Code {")
        .nth(1)
        .unwrap()
        .split("\n}")
        .next()
        .unwrap();
    let variants = variants.lines().filter_map(|line| line.trim().strip_suffix(','));
    let codes: Vec<String> = variants
        .filter(|line| !line.starts_with("//"))
        .map(kebab_case)
        .collect();
    assert!(codes.len() > 5, "host/types/src/error.rs has only {codes:?}");
    let page = files::one("host/clients.md");
    let missing = codes.iter().filter(|code| !page.contains(&format!("| `{code}` |")));
    let missing: Vec<_> = missing.cloned().collect();
    hold("host/clients.md says what each code means.", &missing);
}

/// `TooLarge` as `too-large`.
fn kebab_case(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.extend(c.to_lowercase());
    }
    text
}

/// Relative links, without what follows `#`.
fn links(line: &str) -> impl Iterator<Item = String> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let sources = line.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let relative = targets
        .chain(sources)
        .filter(|target| !target.contains("://") && !target.starts_with('#'));
    relative.map(|target| target.split('#').next().unwrap_or_default().to_owned())
}

/// What stands in backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Paths from the top of the repository that stand in backticks by themselves.
fn named(line: &str) -> impl Iterator<Item = String> {
    let is_path = |text: &&str| {
        let first = text.split('/').next().unwrap_or_default();
        text.contains('/') && TOP.contains(&first) && !text.contains([' ', '*', '<', '…'])
    };
    quoted(line).filter(is_path).map(str::to_owned)
}

/// The name that a heading has in links, as forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn is_kebab(word: &str) -> bool {
    let parts = word.starts_with(|first: char| first.is_ascii_lowercase());
    parts && word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-')
}

/// Each line of a block of code and each text in backticks, with its page and line. The changelog tells of the past.
fn code_of_the_pages() -> Vec<(String, usize, String)> {
    let mut code = Vec::new();
    let is_page = |file: &&File| file.is("md") && file.path != "CHANGELOG.md";
    for file in files::all().iter().filter(is_page) {
        let mut in_block = false;
        for (line, number) in file.text.lines().zip(1..) {
            if line.trim_start().starts_with("```") {
                in_block = !in_block;
            } else if in_block {
                code.push((file.path.clone(), number, line.to_owned()));
            } else {
                code.extend(quoted(line).map(|text| (file.path.clone(), number, text.to_owned())));
            }
        }
    }
    code
}

/// The commands of `parlance`.
fn commands() -> BTreeSet<String> {
    let source = files::one("host/src/cli/mod.rs");
    let variants = source.split("pub enum Command {").nth(1).unwrap();
    let variants = variants.split("\n}").next().unwrap();
    let names = variants.lines().filter_map(|line| line.trim().split_once('('));
    let names = names.filter(|(name, _)| name.starts_with(|first: char| first.is_ascii_uppercase()));
    names.map(|(name, _)| kebab(name)).collect()
}

/// `CheckConfig` as `check-config`.
fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.extend(letter.to_lowercase());
    }
    kebab
}

/// The long options of all commands of `parlance`.
fn options() -> BTreeSet<String> {
    let mut options: BTreeSet<String> = ["help", "version"].map(str::to_owned).into();
    for file in files::all()
        .iter()
        .filter(|file| file.path.starts_with("host/src/cli/"))
    {
        for argument in file.text.split("#[arg(").skip(1) {
            let Some((attribute, rest)) = argument.split_once(")]\n") else {
                continue;
            };
            if !attribute
                .split(", ")
                .any(|part| part == "long" || part.starts_with("long = "))
            {
                continue;
            }
            let given = attribute
                .split("long = \"")
                .nth(1)
                .and_then(|rest| rest.split('"').next());
            let field = rest.trim_start().trim_start_matches("pub ").split(':').next();
            options.extend(
                given
                    .map(str::to_owned)
                    .or_else(|| field.map(|name| name.replace('_', "-"))),
            );
        }
    }
    options
}

/// The goals of the Makefile.
fn goals() -> BTreeSet<String> {
    let makefile = files::one("Makefile");
    let goals = makefile.lines().filter_map(|line| line.split_once(':'));
    goals
        .filter(|(goal, _)| is_kebab(goal))
        .map(|(goal, _)| goal.to_owned())
        .collect()
}
