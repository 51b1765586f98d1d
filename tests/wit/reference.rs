//! Writes the reference of the contract: a page of Markdown for each interface, and one that lists them.
//!
//! What the pages say are the comments of `wit/`. Names of types, functions and interfaces in them become links, which
//! `make docs` checks.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, bail};
use wit_parser::{Docs, Function, Interface, PackageName, Type, TypeDefKind, TypeId};

use crate::contract::{Contract, parts};

/// The page that lists the interfaces and the worlds.
const INDEX: &str = "README.md";
/// How the comments begin the paragraph that lists a function's faults.
const FAULTS: &str = "Faults: ";

/// The texts of the pages, by file name.
///
/// # Errors
/// When an interface would have the file name of the list.
pub(crate) fn pages(contract: &Contract) -> Result<BTreeMap<String, String>> {
    let mut pages = BTreeMap::from([(INDEX.to_owned(), index(contract))]);
    for (name, interface) in contract.interfaces() {
        let page = Page {
            contract,
            name,
            interface,
        };
        if pages.insert(file(name), page.text()).is_some() {
            bail!("the interface `{name}` has no file name of its own");
        }
    }
    Ok(pages)
}

/// The file name of an interface's page.
fn file(interface: &str) -> String {
    format!("{interface}.md")
}

fn index(contract: &Contract) -> String {
    let package = &contract.resolve.packages[contract.package].name;
    let older = package.version.as_ref().map_or_else(String::new, |version| {
        let track = PackageName::version_compat_track_string(version);
        format!(" A server runs handlers that were built with an older version of {track} too.")
    });
    let mut text = format!(
        "# The contract between server and handlers\n\n\
         The WIT package `{package}`. \
         A handler imports the interfaces that it calls and exports those that it implements.{older}\n"
    );
    let is_called = |name: &str| contract.is_imported(name);
    let is_implemented = |name: &str| contract.is_exported(name);
    let has_functions = |interface: &Interface| !interface.functions.is_empty();
    let mut section = |heading: &str, belongs: &dyn Fn(&str, &Interface) -> bool| {
        let of_section = contract
            .interfaces()
            .filter(|(name, interface)| belongs(name, interface));
        let rows: String = of_section
            .map(|(name, interface)| {
                let page = Page {
                    contract,
                    name,
                    interface,
                };
                format!(
                    "| [`{name}`]({}) | {} |\n",
                    file(name),
                    cell(&page.linked(first_sentence(&interface.docs)))
                )
            })
            .collect();
        if !rows.is_empty() {
            let _ = write!(text, "\n## {heading}\n\n| interface | |\n| --- | --- |\n{rows}");
        }
    };
    section("What a handler implements", &|name, _| is_implemented(name));
    section("What a handler may call", &|name, interface| {
        !is_implemented(name) && is_called(name) && has_functions(interface)
    });
    section("What both use", &|name, interface| {
        !is_implemented(name) && (!is_called(name) || !has_functions(interface))
    });
    text + &worlds(contract)
}

fn worlds(contract: &Contract) -> String {
    let worlds = contract.worlds();
    let links = |interfaces: &[String]| {
        let links = interfaces.iter().map(|name| format!("[`{name}`]({})", file(name)));
        links.collect::<Vec<_>>().join(", ")
    };
    // The world that others include, as long as it is only a list of imports.
    let included = worlds.iter().find(|(_, world)| world.exports.is_empty());
    let rows = worlds.iter().map(|(name, world)| {
        let imports = match included {
            Some((other, of)) if other != name && of.imports == world.imports => format!("those of `{other}`"),
            _ => links(&world.imports),
        };
        let exports = links(&world.exports);
        format!(
            "| `{name}` | {} | {imports} | {exports} |\n",
            cell(world.docs.contents.as_deref().unwrap_or_default())
        )
    });
    let head = "\n## Worlds\n\n\
                A component imports only those of the interfaces that it uses.\n\n\
                | world | | imports | exports |\n| --- | --- | --- | --- |\n";
    head.to_owned() + &rows.collect::<String>()
}

/// The page of an interface.
struct Page<'a> {
    contract: &'a Contract,
    name: &'a str,
    interface: &'a Interface,
}

impl Page<'_> {
    fn text(&self) -> String {
        let package = &self.contract.resolve.packages[self.contract.package].name;
        let role = match (
            self.contract.is_exported(self.name),
            self.interface.functions.is_empty(),
        ) {
            (true, _) => "A handler exports it, and the host calls it.",
            (false, false) => "A handler imports it and calls it.",
            (false, true) => "It has types only.",
        };
        let mut text = format!(
            "# Interface {}\n\n`{}`. {role}\n",
            self.name,
            package.interface_id(self.name)
        );
        self.prose(&mut text, &self.interface.docs);
        for (name, id) in &self.interface.types {
            if self.contract.original(*id) == *id {
                self.declaration(&mut text, name, *id);
            }
        }
        for function in self.interface.functions.values() {
            self.function(&mut text, function);
        }
        let _ = write!(text, "\n[All interfaces]({INDEX})\n");
        text
    }

    fn declaration(&self, text: &mut String, name: &str, id: TypeId) {
        let definition = &self.contract.resolve.types[id];
        let _ = write!(text, "\n## {name}\n\n");
        if let TypeDefKind::Type(ty) = &definition.kind {
            let _ = writeln!(text, "`type`: {}", self.type_link(ty));
        } else {
            let _ = writeln!(text, "`{}`", definition.kind.as_str());
        }
        self.prose(text, &definition.docs);
        let parts = parts(definition);
        if parts.is_empty() {
            return;
        }
        let has_types = parts.iter().any(|part| part.ty.is_some());
        let column = |of: &str| if has_types { format!(" {of} |") } else { String::new() };
        let _ = write!(text, "\n| name |{} |\n| --- |{} --- |\n", column("type"), column("---"));
        for part in parts {
            let ty = column(&part.ty.map_or_else(String::new, |ty| self.type_link(ty)));
            let meaning = cell(&self.linked(part.docs.contents.as_deref().unwrap_or_default()));
            let _ = writeln!(text, "| `{}` |{ty} {meaning} |", part.name);
        }
    }

    fn function(&self, text: &mut String, function: &Function) {
        let declaration = self.contract.function_text(function, &|id| self.type_name(id));
        let _ = write!(text, "\n## {}\n\n```wit\n{declaration}\n```\n", function.name);
        self.prose(text, &function.docs);
        let _ = write!(text, "\n| | type |\n| --- | --- |\n");
        for parameter in &function.params {
            let _ = writeln!(text, "| `{}` | {} |", parameter.name, self.type_link(&parameter.ty));
        }
        let result = function
            .result
            .as_ref()
            .map_or_else(|| "nothing".to_owned(), |ty| self.type_link(ty));
        let _ = writeln!(text, "| returns | {result} |");
    }

    /// The comment, with its list of faults as a list.
    fn prose(&self, text: &mut String, docs: &Docs) {
        let docs = docs.contents.as_deref().unwrap_or_default();
        for paragraph in docs
            .split("\n\n")
            .map(str::trim)
            .filter(|paragraph| !paragraph.is_empty())
        {
            let Some(faults) = paragraph.strip_prefix(FAULTS) else {
                let _ = write!(text, "\n{}\n", self.linked(paragraph));
                continue;
            };
            let _ = write!(text, "\nFaults:\n\n");
            let faults = faults.split_whitespace().collect::<Vec<_>>().join(" ");
            for fault in faults.split("; ") {
                let _ = writeln!(text, "- {}", self.linked(fault));
            }
        }
    }

    /// A text in which each name in backticks that the contract declares is a link.
    fn linked(&self, text: &str) -> String {
        let mut linked = String::new();
        for (at, part) in text.split('`').enumerate() {
            if at % 2 == 0 {
                linked.push_str(part);
                continue;
            }
            let _ = match self.target(part) {
                Some(target) => write!(linked, "[`{part}`]({target})"),
                None => write!(linked, "`{part}`"),
            };
        }
        linked
    }

    /// Where a name leads: `kv.get`, another interface's name, or the name of an item of this interface.
    fn target(&self, name: &str) -> Option<String> {
        if has(self.interface, name) {
            return Some(format!("#{name}"));
        }
        let (interface, item) = name.split_once('.').map_or((name, None), |(of, item)| (of, Some(item)));
        let declared = self.contract.interface(interface)?;
        match item {
            Some(item) => has(declared, item).then(|| format!("{}#{item}", file(interface))),
            None => (interface != self.name).then(|| file(interface)),
        }
    }

    /// A type, each declared type in it as a link.
    fn type_link(&self, ty: &Type) -> String {
        // The names are marked, since a link cannot stand within a text in backticks.
        let text = self.contract.type_text(ty, &|id| {
            let name = self.type_name(id);
            let owner = self.contract.owner(id);
            let page = if owner == self.name { String::new() } else { file(owner) };
            format!("`[`{name}`]({page}#{name})`")
        });
        format!("`{text}`").replace("``", "")
    }

    fn type_name(&self, id: TypeId) -> String {
        self.contract.resolve.types[id].name.clone().unwrap_or_default()
    }
}

/// Whether the interface declares a type or a function of the name.
fn has(interface: &Interface, name: &str) -> bool {
    interface.types.contains_key(name) || interface.functions.contains_key(name)
}

/// A text for a cell of a table, which is one line.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

fn first_sentence(docs: &Docs) -> &str {
    let text = docs.contents.as_deref().unwrap_or_default();
    let end = text.find(". ").or_else(|| text.find(".\n"));
    end.map_or(text, |end| text.get(..=end).unwrap_or(text))
}

#[cfg(test)]
mod tests;
