//! The contract in `wit/`: every item says what it is.

use wit_parser::{Docs, Resolve, TypeDefKind};

use crate::{files, hold};

#[test]
fn every_item_of_the_contract_is_documented() {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(files::root().join("wit")).unwrap();
    let package = &resolve.packages[package];
    let (mut broken, mut seen) = (Vec::new(), 0);
    let mut check = |docs: &Docs, item: String| {
        seen += 1;
        if docs.contents.as_deref().unwrap_or_default().trim().is_empty() {
            broken.push(item);
        }
    };
    for (name, world) in &package.worlds {
        check(&resolve.worlds[*world].docs, format!("world {name}"));
    }
    for (interface, id) in &package.interfaces {
        let id = &resolve.interfaces[*id];
        check(&id.docs, format!("interface {interface}"));
        for (name, function) in &id.functions {
            check(&function.docs, format!("{interface}.{name}"));
        }
        for (name, id) in &id.types {
            let definition = &resolve.types[*id];
            let mut part = |docs: &Docs, part: &str| check(docs, format!("{interface}.{name}.{part}"));
            match &definition.kind {
                TypeDefKind::Record(record) => record.fields.iter().for_each(|field| part(&field.docs, &field.name)),
                TypeDefKind::Variant(variant) => variant.cases.iter().for_each(|case| part(&case.docs, &case.name)),
                TypeDefKind::Enum(set) => set.cases.iter().for_each(|case| part(&case.docs, &case.name)),
                TypeDefKind::Flags(set) => set.flags.iter().for_each(|flag| part(&flag.docs, &flag.name)),
                // `use types.{…}`: documented where it comes from.
                TypeDefKind::Type(wit_parser::Type::Id(_)) => continue,
                _ => {}
            }
            check(&definition.docs, format!("{interface}.{name}"));
        }
    }
    assert!(seen > 100, "only {seen} items");
    hold("Every item of wit/ has a documentation comment.", &broken);
}
