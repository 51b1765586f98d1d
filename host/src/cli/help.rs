//! The texts of `--help`.

use clap::{Command, CommandFactory as _};

use super::Cli;

/// The command line, with help texts that are wrapped at the terminal's width alone, not also where the source's lines
/// end.
#[must_use]
pub fn command() -> Command {
    unwrapped(Cli::command())
}

fn unwrapped(command: Command) -> Command {
    let (short, long) = (
        command.get_after_help().map(ToString::to_string),
        command.get_after_long_help().map(ToString::to_string),
    );
    let command = match short {
        Some(text) => command.after_help(joined(&text)),
        None => command,
    };
    let command = match long {
        Some(text) => command.after_long_help(joined(&text)),
        None => command,
    };
    command.mut_subcommands(unwrapped)
}

/// Joins the lines of each paragraph. Indented lines stay as they are, and a line before them too.
fn joined(text: &str) -> String {
    let mut joined = String::new();
    let mut is_paragraph = false;
    for line in text.lines() {
        let continues = !line.is_empty() && !line.starts_with(' ');
        if !joined.is_empty() {
            joined.push(if is_paragraph && continues { ' ' } else { '\n' });
        }
        joined.push_str(line);
        is_paragraph = continues;
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_joined_and_examples_stay() {
        let text = "One sentence\nthat goes on.\nAnother.\n\nExamples:\n  a\n  b\nAfter\nthem.";
        assert_eq!(
            joined(text),
            "One sentence that goes on. Another.\n\nExamples:\n  a\n  b\nAfter them."
        );
    }
}
