//! `parlance new`: makes the directory of a handler that builds, with its test, its configuration and the kit of its
//! language.
//!
//! The kit is a copy in the project, below `vendor/`: neither a checkout of Parlance nor a registry is needed.

use std::fs;
use std::io::{self, BufRead, Write};
use std::path::Path;

use anyhow::Context as _;
use clap::ValueEnum as _;

use super::project::Language;
use super::{Failure, NewArgs};
use parlance_types::id::check_handler_name;

include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// The name in the templates.
const PLACEHOLDER: &str = "my-handler";
/// The directory of what all languages have.
const COMMON: &str = "common";
/// The longest answer to the question for the language, in bytes.
const ANSWER_BYTES: u64 = 256;
/// Names that a crate cannot have, or that hide one that it needs.
const TAKEN_BY_RUST: [&str; 7] = ["alloc", "core", "parlance-guest", "proc-macro", "serde", "std", "test"];

/// Makes the project. `answers` is where the language is read from if none is given: a terminal.
///
/// # Errors
/// The name is not allowed or taken, the language is missing, or a file cannot be written.
pub fn run(
    args: &NewArgs,
    answers: Option<&mut dyn BufRead>,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), Failure> {
    let name = args.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    check_name(name)?;
    if args.path.symlink_metadata().is_ok() {
        return Err(Failure::Usage(format!(
            "{} exists already; choose another name, or remove it",
            args.path.display()
        )));
    }
    let language = match (args.lang, answers) {
        (Some(language), _) => language,
        (None, Some(answers)) => ask(answers, notes)?,
        (None, None) => {
            return Err(Failure::Usage(
                "the language is missing: add --lang rust, --lang ts, --lang js or --lang python".to_owned(),
            ));
        }
    };
    if language == Language::Rust && (TAKEN_BY_RUST.contains(&name) || is_rust_keyword(name)) {
        return Err(Failure::Usage(format!(
            "a crate cannot have the name {name:?}; choose another"
        )));
    }
    write(&args.path, name, language)?;
    writeln!(out, "{}", said(&args.path, language)).context("standard output")?;
    Ok(())
}

fn check_name(name: &str) -> Result<(), Failure> {
    let begins_with_letter = name.starts_with(|first: char| first.is_ascii_lowercase());
    match check_handler_name(name) {
        Ok(()) if begins_with_letter && !name.ends_with('-') => Ok(()),
        Ok(()) => Err(Failure::Usage(format!(
            "the name {name:?} must begin with a letter, and not end with '-'"
        ))),
        Err(error) => Err(Failure::Usage(format!("the name {name:?}: {error}"))),
    }
}

fn is_rust_keyword(name: &str) -> bool {
    const KEYWORDS: &str = " abstract as async await become box break const continue crate do dyn else enum extern false \
                            final fn for gen if impl in let loop macro match mod move mut override priv pub ref return \
                            self static struct super trait true try type typeof unsafe unsized use virtual where while \
                            yield ";
    KEYWORDS.contains(&format!(" {name} "))
}

fn ask(answers: &mut dyn BufRead, notes: &mut impl Write) -> Result<Language, Failure> {
    write!(notes, "Language (rust, ts, js, python): ")
        .and_then(|()| notes.flush())
        .context("standard error")?;
    let mut line = String::new();
    let read = io::Read::take(answers, ANSWER_BYTES).read_line(&mut line);
    read.context("standard input")?;
    Language::from_str(line.trim(), true)
        .map_err(|_| Failure::Usage(format!("{:?} is none of rust, ts, js and python", line.trim())))
}

fn write(directory: &Path, name: &str, language: Language) -> Result<(), Failure> {
    let value = language.to_possible_value();
    let own = value.as_ref().map_or("", |value| value.get_name());
    for (path, text) in TEMPLATES {
        let Some((of, path)) = path.split_once('/') else {
            continue;
        };
        if of != own && of != COMMON {
            continue;
        }
        let file = match path {
            // Under its own name it would count in Parlance's repository.
            "gitignore" => directory.join(".gitignore"),
            path => directory.join(path),
        };
        let text = if path.starts_with("vendor/") {
            (*text).to_owned()
        } else {
            text.replace(PLACEHOLDER, name)
        };
        let written = file
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&file, text));
        written.with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// What to do next.
fn said(directory: &Path, language: Language) -> String {
    let main = match language {
        Language::Rust => "src/lib.rs",
        Language::Ts => "src/handler.ts",
        Language::Js => "src/handler.js",
        Language::Python => "src/handler.py",
    };
    format!(
        "Made {directory}, a handler in {language}: {main}, scenarios/ to test it, and README.md.\n\
         vendor/ has a copy of Parlance's kit for {language}, so that no clone of Parlance is needed to build it.\n\n  \
         cd {directory}\n  parlance dev     serves it on http://localhost:3000/, and again whenever you save\n  \
         parlance test    runs the scenarios",
        directory = directory.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str, lang: Option<Language>, answer: Option<&str>) -> Result<String, Failure> {
        let directory = tempfile::tempdir().unwrap();
        let args = NewArgs {
            path: directory.path().join(name),
            lang,
        };
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let mut answers = answer.map(str::as_bytes);
        let answers = answers.as_mut().map(|answers| answers as &mut dyn BufRead);
        run(&args, answers, &mut out, &mut notes)?;
        assert!(args.path.join("README.md").is_file());
        let again = run(&args, None, &mut out, &mut notes).unwrap_err();
        assert!(again.to_string().contains("exists already"), "{again}");
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_language_is_given_or_asked_for() {
        assert!(
            new("greeter", Some(Language::Rust), None)
                .unwrap()
                .contains("src/lib.rs")
        );
        assert!(
            new("greeter", None, Some("Python\n"))
                .unwrap()
                .contains("src/handler.py")
        );
        let missing = new("greeter", None, None).unwrap_err();
        assert!(missing.to_string().contains("--lang rust"), "{missing}");
        let unknown = new("greeter", None, Some("cobol\n")).unwrap_err();
        assert!(
            unknown
                .to_string()
                .contains("\"cobol\" is none of rust, ts, js and python"),
            "{unknown}"
        );
    }

    #[test]
    fn names_are_checked() {
        for name in [
            "Greeter",
            "gree_ter",
            "1st",
            "greeter-",
            "-greeter",
            "grüße",
            &"g".repeat(65),
        ] {
            let refused = new(name, Some(Language::Ts), None).unwrap_err();
            assert_eq!(refused.exit_code(), 2, "{name}: {refused}");
        }
        for name in ["fn", "core", "parlance-guest"] {
            assert!(new(name, Some(Language::Rust), None).is_err(), "{name}");
            assert!(new(name, Some(Language::Js), None).is_ok(), "{name}");
        }
    }

    #[test]
    fn the_rust_kit_stands_on_its_own() {
        let manifest = TEMPLATES
            .iter()
            .find(|(path, _)| *path == "rust/vendor/parlance-guest/Cargo.toml");
        let manifest = crate::config::to_json(manifest.unwrap().1).unwrap();
        assert_eq!(manifest["package"]["name"], "parlance-guest");
        assert!(manifest["dependencies"]["serde"]["version"].is_string(), "{manifest}");
        assert!(!manifest.to_string().contains("\"workspace\""), "{manifest}");
        let files: Vec<_> = TEMPLATES.iter().map(|(path, _)| *path).collect();
        assert!(
            files.contains(&"rust/vendor/parlance-guest/wit/worlds.wit"),
            "{files:?}"
        );
    }
}
