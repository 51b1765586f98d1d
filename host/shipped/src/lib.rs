//! The handlers that come with the server, as components. The build script makes them of `guest-handlers/`.

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

/// The shipped handler of that name, as a component; `None` when there is none.
#[must_use]
pub fn component(name: &str) -> Option<&'static [u8]> {
    SHIPPED
        .iter()
        .find(|(shipped, _)| *shipped == name)
        .map(|(_, bytes)| *bytes)
}
