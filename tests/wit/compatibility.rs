//! Finds changes of the contract that break components which are built against the released one.
//!
//! `wit_component::semver_check` decides whether types fit. It compares two worlds, ignores an export that the new world
//! lacks, and does not say which function is at fault. So each function is compared by itself, in a world that does
//! nothing but import or export its interface ([`Comparison::problem`]), and removals are looked for here.
//!
//! The server and a component must agree exactly on each type, in both directions: a new case of a variant and a new
//! field of a record break as a removed one does.

use std::fmt::{self, Display, Formatter};

use anyhow::{Context, Result};
use wit_component::semver_check;
use wit_parser::{Interface, PackageId, PackageName, Resolve, TypeId};

use crate::contract::{Contract, Sources};

/// The world of all interfaces. A component may export any subset of it, so it may gain exports; an author's component
/// for any other world must export all that it says.
const OPEN_WORLD: &str = "handler";

/// A change that breaks components.
#[derive(Debug)]
pub(crate) struct Break {
    /// What has changed: `kv.get`, `world handler`.
    item: String,
    problem: String,
    /// How the released contract and the current one declare it.
    declarations: Option<[String; 2]>,
}

impl Break {
    fn new(item: impl Into<String>, problem: impl Into<String>) -> Self {
        let (item, problem) = (item.into(), problem.into());
        Self {
            item,
            problem,
            declarations: None,
        }
    }
}

impl Display for Break {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.item, self.problem)?;
        if let Some([released, current]) = &self.declarations {
            write!(f, "\n    released: {released}\n    now:      {current}")?;
        }
        Ok(())
    }
}

/// What `make lint` prints for breaks: each of them, and what to do.
pub(crate) fn report(breaks: &[Break]) -> String {
    let breaks: Vec<_> = breaks.iter().map(|found| format!("  {found}\n")).collect();
    format!(
        "wit/ breaks components that are built against the released contract, tests/wit/released:\n\n{}\n\
         Leave what is released as it is: interfaces, functions, records, variants and enums. Put what is new into a \
         new function of an interface that handlers import, or into a new interface.\n\
         If the break is meant, raise the package's version, write in CHANGELOG.md what authors must do, and copy \
         wit/*.wit to tests/wit/released.",
        breaks.concat()
    )
}

/// Every change from the released contract to the current one that breaks components.
pub(crate) fn breaks(released: &Sources, current: &Sources) -> Result<Vec<Break>> {
    let comparison = Comparison::new(released, current)?;
    let mut breaks = comparison.version();
    breaks.extend(comparison.worlds());
    for (name, interface) in comparison.released.interfaces() {
        match comparison.current.interface(name) {
            Some(now) => {
                breaks.extend(comparison.types(name, interface, now));
                breaks.extend(comparison.functions(name, interface, now));
            }
            None => breaks.push(Break::new(name, "the interface is removed")),
        }
    }
    Ok(breaks)
}

/// On which side of an interface components stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Import,
    Export,
}

impl Role {
    fn keyword(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Export => "export",
        }
    }

    /// The name of the world that has the interface in this role, and nothing else.
    fn world(self, interface: &str) -> String {
        format!("probe-{}-{interface}", self.keyword())
    }
}

/// Both contracts, each by itself, and together in one with a world for each interface and role.
struct Comparison {
    released: Contract,
    current: Contract,
    together: Resolve,
    /// The packages of `together`: the released one, and the current one.
    packages: [PackageId; 2],
}

impl Comparison {
    fn new(released: &Sources, current: &Sources) -> Result<Self> {
        let released_contract = Contract::parse(released).context("tests/wit/released cannot be parsed")?;
        let current_contract = Contract::parse(current).context("wit/ cannot be parsed")?;
        let shared = released_contract.interfaces();
        let shared = shared.filter(|(name, _)| current_contract.interface(name).is_some());
        let worlds: String = shared
            .flat_map(|(name, _)| [Role::Import, Role::Export].map(|role| (name, role)))
            .map(|(name, role)| format!("world {} {{ {} {name}; }}\n", role.world(name), role.keyword()))
            .collect();
        let mut together = Resolve::default();
        let mut push = |sources: &Sources, is_released: bool| -> Result<PackageId> {
            let mut group = sources.group(Some(&worlds))?;
            if is_released {
                // Two packages of one name must differ by their versions, which `semver_check` ignores.
                group.main.name.version = None;
            }
            Ok(together.push_group(group)?)
        };
        let packages = [push(released, true)?, push(current, false)?];
        Ok(Self {
            released: released_contract,
            current: current_contract,
            together,
            packages,
        })
    }

    /// A component imports and exports the interfaces by the package's name with its version.
    fn version(&self) -> Vec<Break> {
        let name = |contract: &Contract| contract.resolve.packages[contract.package].name.clone();
        let (released, current) = (name(&self.released), name(&self.current));
        let track = |name: &PackageName| name.version.as_ref().map(PackageName::version_compat_track);
        let is_same = (&released.namespace, &released.name) == (&current.namespace, &current.name);
        if is_same && track(&released) == track(&current) && released.version <= current.version {
            return Vec::new();
        }
        let problem = format!(
            "a component built against {released} finds no interface of the package in a server that has {current}"
        );
        vec![Break::new("package", problem)]
    }

    /// What a world no longer has, and what a component for it must have all of a sudden.
    fn worlds(&self) -> Vec<Break> {
        let mut breaks = Vec::new();
        let current = self.current.worlds();
        for (name, released) in self.released.worlds() {
            let item = format!("world {name}");
            let Some(now) = current.get(name) else {
                breaks.push(Break::new(item, "the world is removed"));
                continue;
            };
            let mut missing = |from: &[String], all: &[String], problem: &str| {
                let gone = all.iter().filter(|interface| !from.contains(interface));
                breaks.extend(gone.map(|interface| Break::new(&item, format!("{problem} `{interface}`"))));
            };
            missing(&now.imports, &released.imports, "it no longer imports");
            missing(&now.exports, &released.exports, "it no longer exports");
            if name != OPEN_WORLD {
                missing(
                    &released.exports,
                    &now.exports,
                    "a component for it must now also export",
                );
            }
        }
        breaks
    }

    /// Types whose declarations have changed, whether or not a function uses them.
    fn types(&self, interface: &str, released: &Interface, current: &Interface) -> Vec<Break> {
        let mut breaks = Vec::new();
        for (name, id) in &released.types {
            if self.released.original(*id) != *id {
                // Of another interface.
                continue;
            }
            let item = format!("{interface}.{name}");
            match current.types.get(name) {
                None => breaks.push(Break::new(item, "the type is removed")),
                Some(now) => {
                    let released = self.released.definition_text(*id, &|id| qualified(&self.released, id));
                    let now = self
                        .current
                        .definition_text(self.current.original(*now), &|id| qualified(&self.current, id));
                    if released != now {
                        let problem = "the type has changed, and with it each function that uses it";
                        breaks.push(Break {
                            declarations: Some([released, now]),
                            ..Break::new(item, problem)
                        });
                    }
                }
            }
        }
        breaks
    }

    /// Functions that are gone or do not fit, and those that released components would have to have.
    fn functions(&self, interface: &str, released: &Interface, current: &Interface) -> Vec<Break> {
        let mut breaks = Vec::new();
        let roles = self.roles(interface);
        let problem = |function: Option<&str>| roles.iter().find_map(|role| self.problem(interface, *role, function));
        for (name, function) in &released.functions {
            let item = format!("{interface}.{name}");
            let Some(now) = current.functions.get(name) else {
                breaks.push(Break::new(item, "the function is removed"));
                continue;
            };
            let Some(problem) = problem(Some(name)) else { continue };
            let released = self
                .released
                .function_text(function, &|id| qualified(&self.released, id));
            let now = self.current.function_text(now, &|id| qualified(&self.current, id));
            breaks.push(Break {
                // Both read alike if a type has changed, which is a break by itself.
                declarations: (released != now).then_some([released, now]),
                ..Break::new(item, problem)
            });
        }
        if roles.contains(&Role::Export) {
            let new = current
                .functions
                .keys()
                .filter(|name| !released.functions.contains_key(*name));
            let problem = "the function is new, and released components, which export the interface, do not have it: \
                           put it into a new interface";
            breaks.extend(new.map(|name| Break::new(format!("{interface}.{name}"), problem)));
        }
        if breaks.is_empty() {
            breaks.extend(problem(None).map(|problem| Break::new(interface, problem)));
        }
        breaks
    }

    /// What released components do with the interface.
    fn roles(&self, interface: &str) -> Vec<Role> {
        let imports = self.released.is_imported(interface).then_some(Role::Import);
        let exports = self.released.is_exported(interface).then_some(Role::Export);
        imports.into_iter().chain(exports).collect()
    }

    /// Why a component built against the released interface does not fit the current one. Only the one function of the
    /// interface counts if one is given.
    fn problem(&self, interface: &str, role: Role, function: Option<&str>) -> Option<String> {
        let mut together = self.together.clone();
        let [released, current] = self.packages.map(|package| {
            for (name, id) in &together.packages[package].interfaces {
                // Other interfaces, whose types this one uses, have problems of their own.
                let counts = |own: &str| name == interface && function.is_none_or(|function| function == own);
                together.interfaces[*id].functions.retain(|own, _| counts(own));
            }
            together.packages[package].worlds[&role.world(interface)]
        });
        let error = semver_check(together, released, current).err()?;
        Some(in_one_line(&error.root_cause().to_string()))
    }
}

/// The validator's message without the lines that name the probes, and without the place in them.
fn in_one_line(message: &str) -> String {
    let lines = message.lines().filter(|line| !line.contains("probe-"));
    let lines: Vec<_> = lines
        .map(|line| line.split(" (at offset").next().unwrap_or_default())
        .collect();
    lines.join(": ")
}

/// The type's name with its interface, which differs from that of another interface.
fn qualified(contract: &Contract, id: TypeId) -> String {
    let name = contract.resolve.types[id].name.as_deref().unwrap_or_default();
    format!("{}.{name}", contract.owner(id))
}

#[cfg(test)]
mod tests;
