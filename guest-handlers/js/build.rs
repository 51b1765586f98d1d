//! Embeds the WIT files, so that the program builds components without a checkout, and assembles `support.wat`.
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, error, fs};

fn main() -> Result<(), Box<dyn error::Error>> {
    let directory = Path::new(&env::var("CARGO_MANIFEST_DIR")?)
        .join("../../wit")
        .canonicalize()?;
    println!("cargo::rerun-if-changed={}", directory.display());
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "wit"));
    files.sort();
    let mut source = String::from("pub(crate) const FILES: &[(&str, &str)] = &[\n");
    for file in files {
        let name = file.file_name().unwrap_or_default();
        writeln!(source, "    ({name:?}, include_str!({file:?})),")?;
    }
    source.push_str("];\n");
    let output = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(output.join("wit.rs"), source)?;
    println!("cargo::rerun-if-changed=src/support.wat");
    fs::write(output.join("support.wasm"), wat::parse_file("src/support.wat")?)?;
    Ok(())
}
