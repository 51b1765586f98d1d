//! Makes components of the WebAssembly texts in `tests/guests/attacks`.

use std::path::Path;

use parlance_testing::TestHost;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const WIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");

/// The text of `tests/guests/attacks/<name>.wat`.
macro_rules! text {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/guests/attacks/",
            $name,
            ".wat"
        ))
    };
}
pub(crate) use text;

/// Wraps a core module as a component that exports `on-event`.
pub(crate) fn component(module: &str) -> Vec<u8> {
    let mut module = wat::parse_str(module).unwrap();
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(Path::new(WIT)).unwrap();
    let world = resolve.select_world(&[package], Some("event-handler")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

/// A host whose handler is the module.
#[track_caller]
pub(crate) fn host(module: &str) -> TestHost {
    TestHost::from_bytes(&component(module)).unwrap()
}
