//! The bindings that wasmtime generates from `wit/`, which is a link to the repository's.

wasmtime::component::bindgen!({
    path: "wit",
    world: "handler",
    imports: {
        "parlance:chat/messages.get": async | trappable,
        "parlance:chat/messages.history": async | trappable,
        "parlance:chat/messages.mark-read": async | trappable,
        "parlance:chat/kv.get": async | trappable,
        "parlance:chat/kv.get-many": async | trappable,
        "parlance:chat/kv.increment": async | trappable,
        "parlance:chat/kv.scan": async | trappable,
        "parlance:chat/kv.set-if-absent": async | trappable,
        "parlance:chat/kv.swap": async | trappable,
        "parlance:chat/rooms.members": async | trappable,
        "parlance:chat/rooms.member-count": async | trappable,
        "parlance:chat/presence.get": async | trappable,
        "parlance:chat/revise.delete": async | trappable,
        "parlance:chat/revise.edit": async | trappable,
        "parlance:chat/revise.get": async | trappable,
        "parlance:chat/revise.mark": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: false },
});
