//! Plants mistakes in the sources, one after the other, to see that the simulation finds them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::options::Options;
use crate::runner::prepare;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutant: Vec<Mutant>,
}

/// A mistake.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    name: String,
    /// The rule that it breaks.
    #[allow(dead_code, reason = "for whoever reads the list")]
    why: String,
    file: String,
    from: String,
    to: String,
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn list() -> Result<Vec<Mutant>> {
    let text = std::fs::read_to_string(repository().join("tests/simulate/mutants.toml"))?;
    Ok(toml::from_str::<List>(&text)?.mutant)
}

impl Mutant {
    /// The text of the file below `root`, with the mistake in it.
    fn planted(&self, root: &Path) -> Result<String> {
        let text = std::fs::read_to_string(root.join(&self.file)).with_context(|| self.file.clone())?;
        let times = text.matches(&self.from).count();
        ensure!(
            times == 1,
            "{}: {} has the text {times} times that it replaces: {:?}",
            self.name,
            self.file,
            self.from
        );
        Ok(text.replacen(&self.from, &self.to, 1))
    }
}

/// The result of a mutant.
enum MutantResult {
    At { seed: u64, violation: String },
    Missed,
    BuildFailed(String),
}

/// Plants each mutant in a copy of the sources. Returns whether all are found.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let mut options = options.clone();
    prepare(&mut options)?;
    let program = std::env::current_exe()?;
    let place = program
        .ancestors()
        .nth(2)
        .context("the target directory")?
        .join("mutants");
    // The copy gets a target directory of its own, since cargo cannot tell its crates from those of the sources.
    let (tree, target) = (place.join("tree"), place.join("target"));
    copy(&repository(), &tree)?;
    let mut all = true;
    let width = list()?.iter().map(|mutant| mutant.name.len()).max().unwrap_or(0);
    println!("{:width$} | found at seed | violation", "mutant");
    for mutant in list()? {
        if !options.only.is_empty() && options.only != mutant.name {
            continue;
        }
        let path = tree.join(&mutant.file);
        let original = std::fs::read_to_string(&path)?;
        std::fs::write(&path, mutant.planted(&tree)?)?;
        let found = find(&options, &tree, &target);
        std::fs::write(&path, original)?;
        let name = &mutant.name;
        match found? {
            MutantResult::At { seed, violation } => println!("{name:width$} | {seed:13} | {violation}"),
            MutantResult::Missed => {
                all = false;
                println!(
                    "{name:width$} |     not found | in {} seeds",
                    options.seeds.end - options.seeds.start
                );
            }
            MutantResult::BuildFailed(why) => {
                all = false;
                println!("{name:width$} |       no build | {why}");
            }
        }
    }
    Ok(all)
}

/// Copies the files that have changed since the last time, so that little is built.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(from)
        .output()
        .context("git, which lists the sources")?;
    ensure!(listed.status.success(), "git does not list the sources");
    for name in String::from_utf8(listed.stdout)?.split_terminator('\0') {
        let (source, copy) = (from.join(name), to.join(name));
        std::fs::create_dir_all(copy.parent().context("a directory")?)?;
        // The crates refer to files of the repository by links.
        if let Ok(target) = std::fs::read_link(&source) {
            let _ = std::fs::remove_file(&copy);
            std::os::unix::fs::symlink(target, &copy)?;
            continue;
        }
        let Ok(bytes) = std::fs::read(&source) else { continue };
        if std::fs::read(&copy).is_ok_and(|old| old == bytes) {
            continue;
        }
        // The permissions are copied too, since some files are scripts.
        std::fs::copy(&source, &copy)?;
    }
    Ok(())
}

fn find(options: &Options, tree: &Path, target: &Path) -> Result<MutantResult> {
    let built = Command::new("cargo")
        .args(["build", "--workspace", "--bin", "parlance-simulate"])
        .env("CARGO_TARGET_DIR", target)
        .current_dir(tree)
        .output()
        .context("cargo")?;
    if !built.status.success() {
        let stderr = String::from_utf8_lossy(&built.stderr).into_owned();
        let first = stderr.lines().find(|line| line.starts_with("error"));
        return Ok(MutantResult::BuildFailed(
            first.unwrap_or("it does not build").to_owned(),
        ));
    }
    let seeds = format!("{}..{}", options.seeds.start, options.seeds.end);
    let ran = Command::new(target.join("debug/parlance-simulate"))
        .args(["--seeds", &seeds, "--stop", "--no-shrink"])
        .args([
            "--jobs",
            &options.jobs.to_string(),
            "--nodes",
            &options.nodes.to_string(),
        ])
        .arg("--components")
        .arg(&options.components)
        .arg("--cache")
        .arg(&options.cache)
        .output()?;
    let stdout = String::from_utf8_lossy(&ran.stdout).into_owned();
    let mut lines = stdout.lines();
    let seed = lines.find_map(|line| line.strip_prefix("seed ")?.split(' ').next()?.parse().ok());
    Ok(match seed {
        Some(seed) => MutantResult::At {
            seed,
            violation: lines.next().unwrap_or_default().trim().to_owned(),
        },
        None => MutantResult::Missed,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_mutant_can_be_planted() {
        let mutants = list().unwrap();
        for mutant in &mutants {
            mutant.planted(&repository()).unwrap();
        }
        let names: BTreeSet<&String> = mutants.iter().map(|mutant| &mutant.name).collect();
        assert_eq!(names.len(), mutants.len());
        assert!(names.len() >= 20, "{}", names.len());
    }

    #[test]
    fn a_copy_has_the_files_that_crates_refer_to_by_links() {
        let tree = tempfile::tempdir().unwrap();
        copy(&repository(), tree.path()).unwrap();
        assert!(tree.path().join("host/handler/wit/types.wit").is_file());
    }
}
