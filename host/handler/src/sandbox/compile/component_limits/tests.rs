//! Small components that stand for many instances.

use super::*;

fn checked(text: &str) -> Result<(), ComponentLimitError> {
    check(&wat::parse_str(text).unwrap())
}

fn what(text: &str) -> &'static str {
    match checked(text) {
        Err(ComponentLimitError::TooMany { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

/// `levels` nested components, each of which instantiates the one in it four times.
fn tower(levels: usize, innermost: &str) -> String {
    let four = "(instance (instantiate 0))".repeat(4);
    (0..levels).fold(innermost.to_owned(), |inner, _| format!("(component {inner} {four})"))
}

#[test]
fn a_small_component_with_millions_of_instances_is_refused_at_once() {
    let began = std::time::Instant::now();
    assert_eq!(what(&tower(11, "(component)")), "instances of components");
    let module = "(component (core module) (core instance (instantiate 0)))";
    assert_eq!(what(&tower(11, module)), "core instances");
    assert!(began.elapsed() < std::time::Duration::from_secs(2));
}

#[test]
fn an_imported_component_is_counted_where_it_is_instantiated() {
    let four = "(instance (instantiate $given))".repeat(4);
    let mut text = "(component $c0 (core module $m) (core instance (instantiate $m)))".to_owned();
    for level in 1..=4 {
        text.push_str(&format!(
            "(component $user{level} (import \"given\" (component $given)) {four})
             (component $c{level} (alias outer 1 $user{level} (component $user)) (alias outer 1 $c{} (component $in))
               (instance (instantiate $user (with \"given\" (component $in)))))",
            level - 1
        ));
    }
    assert_eq!(
        what(&format!("(component {text} (instance (instantiate $c4)))")),
        "core instances"
    );
}

#[test]
fn an_exported_component_is_counted_where_it_is_instantiated() {
    let again = "(instance (instantiate $again))".repeat(33);
    let text = format!(
        "(component
           (component $maker
             (component $inner (core module $m) (core instance (instantiate $m)))
             (export \"inner\" (component $inner)))
           (instance $made (instantiate $maker))
           (alias export $made \"inner\" (component $again))
           {again})"
    );
    assert_eq!(what(&text), "core instances");
}

#[test]
fn as_many_as_the_pool_has_are_accepted_and_one_more_is_refused() {
    let instances = |n: u32| "(core instance (instantiate $m))".repeat(n as usize);
    let with = |module: &str, n| format!("(component (core module $m {module}) {})", instances(n));
    assert_eq!(checked(&with("", CORE_INSTANCES_PER_COMPONENT)), Ok(()));
    assert_eq!(what(&with("", CORE_INSTANCES_PER_COMPONENT + 1)), "core instances");
    assert_eq!(checked(&with("(memory 1)", MEMORIES_PER_COMPONENT)), Ok(()));
    assert_eq!(what(&with("(memory 1)", MEMORIES_PER_COMPONENT + 1)), "memories");
    assert_eq!(checked(&with("(table 1 funcref)", TABLES_PER_COMPONENT)), Ok(()));
    assert_eq!(what(&with("(table 1 funcref)", TABLES_PER_COMPONENT + 1)), "tables");
}

#[test]
fn an_instance_that_exports_millions_of_names_is_refused() {
    let levels = |count| {
        let level = |n: usize| {
            format!(
                "(instance $i{n} (export \"a\" (instance $i{0})) (export \"b\" (instance $i{0})))",
                n - 1
            )
        };
        (1..=count).map(level).collect::<String>()
    };
    let text = |count| {
        format!(
            "(component (component $c) (instance $i0 (instantiate $c)) {})",
            levels(count)
        )
    };
    assert_eq!(checked(&text(12)), Ok(()));
    assert_eq!(what(&text(18)), "names that an instance exports");
}

#[test]
fn nesting_of_components_is_limited() {
    // Built as bytes, since the parser of the text format does not nest so deep. Each is a component's header; the
    // outer ones then have a section (4) with the inner one, whose length is LEB128.
    let nested = |depth: usize| {
        (1..depth).fold(b"\0asm\x0d\0\x01\0".to_vec(), |inner, _| {
            let (low, high) = (inner.len() % 128, inner.len() / 128);
            let length = [u8::try_from(low | 0x80).unwrap(), u8::try_from(high).unwrap()];
            [b"\0asm\x0d\0\x01\0\x04".as_slice(), &length, &inner].concat()
        })
    };
    assert_eq!(check(&nested(NESTING_MAX)), Ok(()));
    let too_deep = check(&nested(NESTING_MAX + 1));
    assert!(
        matches!(too_deep, Err(ComponentLimitError::TooMany { .. })),
        "{too_deep:?}"
    );
}

#[test]
fn a_truncated_component_is_malformed() {
    let bytes = wat::parse_str("(component (core module (memory 1)) (core instance (instantiate 0)))").unwrap();
    assert_eq!(check(&bytes), Ok(()));
    // The cut is within the last section.
    let cut = check(&bytes[..bytes.len() - 1]);
    assert!(matches!(cut, Err(ComponentLimitError::Malformed(_))), "{cut:?}");
}
