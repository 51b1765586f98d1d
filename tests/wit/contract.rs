//! Reads a WIT package, and writes its types and functions as text.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use wit_parser::{
    Docs, Function, Handle, Interface, PackageId, Resolve, SourceMap, Type, TypeDef, TypeDefKind, TypeId, TypeOwner,
    UnresolvedPackageGroup, WorldItem,
};

/// The texts of a package's files, by name.
#[derive(Clone, Debug)]
pub(crate) struct Sources(BTreeMap<String, String>);

impl Sources {
    /// Reads the `.wit` files of a directory.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "wit") {
                let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                files.insert(path.display().to_string(), text);
            }
        }
        if files.is_empty() {
            bail!("there is no .wit file in {}", directory.display());
        }
        Ok(Self(files))
    }

    /// Parses the files as one package. `probes` is one more file of it.
    pub(crate) fn group(&self, probes: Option<&str>) -> Result<UnresolvedPackageGroup> {
        let mut map = SourceMap::default();
        for (path, text) in &self.0 {
            map.push_str(path, text.as_str());
        }
        if let Some(probes) = probes {
            map.push_str("probes.wit", probes);
        }
        map.parse()
            .map_err(|(map, error)| anyhow::anyhow!("{}", error.render(&map)))
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self(
            files
                .iter()
                .map(|(name, text)| ((*name).into(), (*text).into()))
                .collect(),
        )
    }

    /// The sources with a text replaced, which must be there.
    #[cfg(test)]
    pub(crate) fn with(mut self, file: &str, old: &str, new: &str) -> Self {
        let own = |path: &String| path.rsplit('/').next() == Some(file);
        let path = self.0.keys().find(|path| own(path)).cloned().unwrap();
        let text = self.0.get_mut(&path).unwrap();
        assert!(text.contains(old), "{file} does not contain {old:?}");
        *text = text.replace(old, new);
        self
    }
}

/// A parsed package.
pub(crate) struct Contract {
    pub(crate) resolve: Resolve,
    pub(crate) package: PackageId,
}

impl Contract {
    pub(crate) fn parse(sources: &Sources) -> Result<Self> {
        let mut resolve = Resolve::default();
        let package = resolve.push_group(sources.group(None)?)?;
        Ok(Self { resolve, package })
    }

    /// The package's interfaces, sorted by name.
    pub(crate) fn interfaces(&self) -> impl Iterator<Item = (&str, &Interface)> {
        let interfaces = self.resolve.packages[self.package].interfaces.iter();
        let interfaces: BTreeMap<_, _> = interfaces
            .map(|(name, id)| (name.as_str(), &self.resolve.interfaces[*id]))
            .collect();
        interfaces.into_iter()
    }

    pub(crate) fn interface(&self, name: &str) -> Option<&Interface> {
        let id = self.resolve.packages[self.package].interfaces.get(name)?;
        Some(&self.resolve.interfaces[*id])
    }

    /// The package's worlds by name, each with the names of the interfaces that it imports and exports.
    pub(crate) fn worlds(&self) -> BTreeMap<&str, World<'_>> {
        let names = |items: &mut dyn Iterator<Item = &WorldItem>| {
            let interfaces = items.filter_map(|item| match item {
                WorldItem::Interface { id, .. } => self.resolve.interfaces[*id].name.clone(),
                _ => None,
            });
            interfaces.collect::<Vec<_>>()
        };
        let worlds = self.resolve.packages[self.package].worlds.iter();
        let worlds = worlds.map(|(name, id)| {
            let world = &self.resolve.worlds[*id];
            let imports = names(&mut world.imports.values());
            let exports = names(&mut world.exports.values());
            let docs = &world.docs;
            (name.as_str(), World { docs, imports, exports })
        });
        worlds.collect()
    }

    /// Whether a world imports the interface.
    pub(crate) fn is_imported(&self, name: &str) -> bool {
        let mut worlds = self.worlds().into_values();
        worlds.any(|world| world.imports.iter().any(|import| import == name))
    }

    /// Whether a world exports the interface.
    pub(crate) fn is_exported(&self, name: &str) -> bool {
        let mut worlds = self.worlds().into_values();
        worlds.any(|world| world.exports.iter().any(|export| export == name))
    }

    /// The type that a name stands for, past every `use`.
    pub(crate) fn original(&self, id: TypeId) -> TypeId {
        let mut id = id;
        while let TypeDefKind::Type(Type::Id(next)) = self.resolve.types[id].kind
            && self.resolve.types[id].owner != self.resolve.types[next].owner
        {
            id = next;
        }
        id
    }

    /// The name of the interface that declares the type.
    pub(crate) fn owner(&self, id: TypeId) -> &str {
        match self.resolve.types[id].owner {
            TypeOwner::Interface(interface) => self.resolve.interfaces[interface].name.as_deref().unwrap_or_default(),
            _ => "",
        }
    }

    /// A type as WIT writes it, where `name` writes a declared type.
    pub(crate) fn type_text(&self, ty: &Type, name: &dyn Fn(TypeId) -> String) -> String {
        let text = |ty: &Type| self.type_text(ty, name);
        let optional = |ty: &Option<Type>| ty.as_ref().map_or("_".to_owned(), text);
        let id = match ty {
            Type::Id(id) => *id,
            Type::Bool => return "bool".into(),
            Type::U8 => return "u8".into(),
            Type::U16 => return "u16".into(),
            Type::U32 => return "u32".into(),
            Type::U64 => return "u64".into(),
            Type::S8 => return "s8".into(),
            Type::S16 => return "s16".into(),
            Type::S32 => return "s32".into(),
            Type::S64 => return "s64".into(),
            Type::F32 => return "f32".into(),
            Type::F64 => return "f64".into(),
            Type::Char => return "char".into(),
            Type::String => return "string".into(),
            Type::ErrorContext => return "error-context".into(),
        };
        match &self.resolve.types[id] {
            TypeDef { name: Some(_), .. } => name(self.original(id)),
            TypeDef { kind, .. } => match kind {
                TypeDefKind::Option(of) => format!("option<{}>", text(of)),
                TypeDefKind::List(of) => format!("list<{}>", text(of)),
                TypeDefKind::FixedLengthList(of, length) => format!("list<{}, {length}>", text(of)),
                TypeDefKind::Map(key, value) => format!("map<{}, {}>", text(key), text(value)),
                TypeDefKind::Tuple(tuple) => {
                    let types: Vec<_> = tuple.types.iter().map(text).collect();
                    format!("tuple<{}>", types.join(", "))
                }
                TypeDefKind::Result(result) => match (&result.ok, &result.err) {
                    (None, None) => "result".into(),
                    (Some(ok), None) => format!("result<{}>", text(ok)),
                    (ok, err) => format!("result<{}, {}>", optional(ok), optional(err)),
                },
                TypeDefKind::Handle(Handle::Own(resource)) => name(self.original(*resource)),
                TypeDefKind::Handle(Handle::Borrow(resource)) => format!("borrow<{}>", name(self.original(*resource))),
                TypeDefKind::Future(of) => format!("future<{}>", optional(of)),
                TypeDefKind::Stream(of) => format!("stream<{}>", optional(of)),
                other => other.as_str().into(),
            },
        }
    }

    /// The declaration of a function, in one line.
    pub(crate) fn function_text(&self, function: &Function, name: &dyn Fn(TypeId) -> String) -> String {
        let parameter =
            |parameter: &wit_parser::Param| format!("{}: {}", parameter.name, self.type_text(&parameter.ty, name));
        let parameters: Vec<_> = function.params.iter().map(parameter).collect();
        let result = function.result.as_ref();
        let result = result.map_or(String::new(), |ty| format!(" -> {}", self.type_text(ty, name)));
        format!("{}: func({}){result}", function.name, parameters.join(", "))
    }

    /// The declaration of a type, in one line, without comments.
    pub(crate) fn definition_text(&self, id: TypeId, name: &dyn Fn(TypeId) -> String) -> String {
        let definition = &self.resolve.types[id];
        let own = definition.name.as_deref().unwrap_or_default();
        if let TypeDefKind::Type(ty) = &definition.kind {
            return format!("type {own} = {}", self.type_text(ty, name));
        }
        let between = if matches!(definition.kind, TypeDefKind::Record(_)) {
            [": ", ""]
        } else {
            ["(", ")"]
        };
        let part = |part: Part<'_>| match part.ty {
            Some(ty) => format!("{}{}{}{}", part.name, between[0], self.type_text(ty, name), between[1]),
            None => part.name.to_owned(),
        };
        let parts: Vec<_> = parts(definition).into_iter().map(part).collect();
        format!("{} {own} {{ {} }}", definition.kind.as_str(), parts.join(", "))
    }
}

/// A world: what it imports and exports.
pub(crate) struct World<'a> {
    pub(crate) docs: &'a Docs,
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

/// A field of a record, a case of a variant or an enum, or a flag.
pub(crate) struct Part<'a> {
    pub(crate) name: &'a str,
    pub(crate) ty: Option<&'a Type>,
    pub(crate) docs: &'a Docs,
}

/// The parts of a type's declaration, in order.
pub(crate) fn parts(definition: &TypeDef) -> Vec<Part<'_>> {
    match &definition.kind {
        TypeDefKind::Record(record) => record
            .fields
            .iter()
            .map(|field| Part {
                name: &field.name,
                ty: Some(&field.ty),
                docs: &field.docs,
            })
            .collect(),
        TypeDefKind::Variant(variant) => {
            let cases = variant.cases.iter();
            cases
                .map(|case| Part {
                    name: &case.name,
                    ty: case.ty.as_ref(),
                    docs: &case.docs,
                })
                .collect()
        }
        TypeDefKind::Enum(set) => set
            .cases
            .iter()
            .map(|case| Part {
                name: &case.name,
                ty: None,
                docs: &case.docs,
            })
            .collect(),
        TypeDefKind::Flags(set) => set
            .flags
            .iter()
            .map(|flag| Part {
                name: &flag.name,
                ty: None,
                docs: &flag.docs,
            })
            .collect(),
        _ => Vec::new(),
    }
}
