//! Rust sources as tokens, with what only tests and fuzz targets are made of left out.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::files::{self, File};

/// The sources of the server's own crates, in the order of the table in `ARCHITECTURE.md`.
pub(crate) const HOST: [&str; 7] = [
    "host/src/",
    "host/hub/src/",
    "host/handler/src/",
    "host/shipped/src/",
    "host/store/src/",
    "host/types/src/",
    "host/scheduler/src/",
];

/// A token: an identifier, a mark, a bracket; `"` for any literal.
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// A Rust file.
pub(crate) struct Source {
    pub(crate) path: String,
    /// The whole file's.
    pub(crate) tokens: Vec<Token>,
    /// Those without what is under `#[cfg(test)]`; none, when the whole file is.
    pub(crate) product: Vec<Token>,
    /// The modules that are under `#[cfg(test)]`, by name.
    test_modules: Vec<String>,
}

impl Source {
    fn read(file: &File) -> Self {
        let stream: TokenStream = file
            .text
            .parse()
            .unwrap_or_else(|error| panic!("{}: {error}", file.path));
        let (mut tokens, mut product, mut test_modules) = (Vec::new(), Vec::new(), Vec::new());
        flatten(stream.clone(), &mut tokens, None);
        flatten(stream, &mut product, Some(&mut test_modules));
        Self {
            path: file.path.clone(),
            tokens,
            product,
            test_modules,
        }
    }

    /// The directory in which the file's modules lie, and what their paths begin with.
    fn inner(&self) -> &str {
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        ["/mod", "/lib", "/main"]
            .iter()
            .find_map(|name| stem.strip_suffix(name))
            .unwrap_or(stem)
    }
}

/// Every Rust file below the directories.
pub(crate) fn below(directories: &[&str]) -> Vec<Source> {
    let of = |file: &File| file.is("rs") && directories.iter().any(|directory| file.path.starts_with(directory));
    let mut sources: Vec<Source> = files::all().iter().filter(|file| of(file)).map(Source::read).collect();
    assert!(!sources.is_empty(), "no Rust file below {directories:?}");

    let tests: Vec<String> = sources
        .iter()
        .flat_map(|source| {
            source
                .test_modules
                .iter()
                .map(|module| format!("{}/{module}", source.inner()))
        })
        .collect();
    for source in &mut sources {
        let in_module = |module: &String| {
            source
                .path
                .strip_prefix(module.as_str())
                .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        let by_cargo = ["/tests/", "/benches/", "/examples/"]
            .iter()
            .any(|directory| source.path.contains(directory));
        if by_cargo || tests.iter().any(in_module) {
            source.product.clear();
        }
    }
    sources
}

/// Appends the stream's tokens. With `tests`, leaves out items under `#[cfg(test)]` and notes the modules among them
/// that are files of their own.
fn flatten(stream: TokenStream, into: &mut Vec<Token>, mut tests: Option<&mut Vec<String>>) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        let line = tree.span().start().line;
        let text = match tree {
            TokenTree::Ident(ident) => ident.to_string(),
            TokenTree::Literal(_) => "\"".to_owned(),
            TokenTree::Punct(mark) => {
                let attribute = trees.peek().filter(|_| mark.as_char() == '#').is_some_and(is_cfg_test);
                if attribute && let Some(tests) = &mut tests {
                    trees.next();
                    tests.extend(skip_item(&mut trees));
                    continue;
                }
                mark.to_string()
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::None => ("", ""),
                };
                into.push(Token {
                    text: open.to_owned(),
                    line,
                });
                flatten(group.stream(), into, tests.as_deref_mut());
                into.push(Token {
                    text: close.to_owned(),
                    line: group.span_close().start().line,
                });
                continue;
            }
        };
        into.push(Token { text, line });
    }
}

fn is_cfg_test(tree: &TokenTree) -> bool {
    let TokenTree::Group(group) = tree else { return false };
    let condition = group.stream().to_string().replace(' ', "");
    condition == "cfg(test)" || condition.starts_with("cfg(any(test,")
}

/// Moves past an item, a variant or a match arm. Gives its name when it is a module in a file of its own.
fn skip_item(trees: &mut impl Iterator<Item = TokenTree>) -> Option<String> {
    let mut before = [String::new(), String::new()];
    for tree in trees {
        match &tree {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return None,
            TokenTree::Punct(mark) if mark.as_char() == ',' => return None,
            TokenTree::Punct(mark) if mark.as_char() == ';' => {
                let [keyword, name] = before;
                return (keyword == "mod").then_some(name);
            }
            _ => {}
        }
        before.rotate_left(1);
        before[1] = tree.to_string();
    }
    None
}

/// The line of each place where these tokens follow each other.
pub(crate) fn places(tokens: &[Token], sequence: &[&str]) -> Vec<usize> {
    tokens
        .windows(sequence.len())
        .filter(|window| window.iter().zip(sequence).all(|(token, text)| token.text == *text))
        .map(|window| window[0].line)
        .collect()
}
