//! Sources that cannot be built, with the message that the author gets.
#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml exempts test functions, and not their helpers"
)]

mod built;

use std::fs;
use std::path::Path;

/// Whether these files are built, of which the first is named, and what the program prints.
fn built(files: &[(&str, &str)]) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    for (name, source) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, source).unwrap();
    }
    let output = directory.path().join("out.wasm");
    let (entry, _) = files.first().unwrap();
    let built = built::build(directory.path(), entry, &output);
    assert_eq!(built.status.success(), output.exists());
    (built.status.success(), String::from_utf8(built.stderr).unwrap())
}

/// What the program prints for these files, which it cannot build.
fn message(files: &[(&str, &str)]) -> String {
    let (is_built, message) = built(files);
    assert!(!is_built, "the sources were built");
    message
}

/// Asserts that the message begins with `place` and has each of `parts`.
#[track_caller]
fn assert_message(files: &[(&str, &str)], place: &str, parts: &[&str]) {
    let message = message(files);
    assert!(message.starts_with(place), "{message}");
    for part in parts {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
}

const HANDLER: &str = "export function onMessage() {}\n";

#[test]
fn a_syntax_error() {
    let source = "export function onMessage() {\n  const = 5;\n}\n";
    assert_message(
        &[("src/chat.js", source)],
        "src/chat.js:2:9: ",
        &["    2 |   const = 5;\n      |         ^"],
    );
}

#[test]
fn a_syntax_error_of_typescript() {
    let source = "export function onMessage(): void {\n  let a: = 5;\n}\n";
    assert_message(&[("chat.ts", source)], "chat.ts:2:10: ", &[]);
    let source = "const a = 1;\nconst a = 2;\nexport function onMessage() {}\n";
    assert_message(&[("chat.ts", source)], "chat.ts:1:7: ", &["`a`"]);
}

#[test]
fn types_in_a_javascript_file() {
    let source = "export function onMessage(context: string) {}\n";
    assert_message(&[("chat.js", source)], "chat.js:1:34: ", &[]);
}

#[test]
fn an_error_in_an_imported_file() {
    let entry = format!("import './lib/a.js';\n{HANDLER}");
    assert_message(
        &[("chat.js", &entry), ("lib/a.js", "\n\nfoo(;\n")],
        "lib/a.js:3:5: ",
        &[],
    );
}

#[test]
fn no_handler() {
    assert_message(
        &[("chat.js", "const a = 1;\n")],
        "chat.js: the file exports no handler",
        &["onMessage, onTyping"],
    );
    let source = "export default function () {}\n";
    assert_message(
        &[("chat.js", source)],
        "chat.js: the default export is not a handler",
        &[],
    );
}

#[test]
fn a_misspelt_handler() {
    let source = "export function onMesage() {}\n";
    assert_message(
        &[("chat.js", source)],
        "chat.js:1:17: `onMesage` is not a handler's name",
        &["did you mean `onMessage`?"],
    );
    let source = "export const on_message = () => {};\n";
    assert_message(&[("chat.ts", source)], "chat.ts:1:14: ", &["did you mean `onMessage`?"]);
    let source = "export const message = { handle() {} };\n";
    assert_message(&[("chat.js", source)], "chat.js:1:14: ", &["did you mean `onMessage`?"]);
    let entry = format!("{HANDLER}export * from './more.js';\n");
    let more = "export function onEvnt() {}\n";
    assert_message(
        &[("chat.js", &entry), ("more.js", more)],
        "more.js:1:17: ",
        &["did you mean `onEvent`?"],
    );
}

#[test]
fn a_handler_that_is_not_a_function() {
    let source = "\nexport const onMessage = { handle() {} };\n";
    assert_message(
        &[("chat.js", source)],
        "chat.js:2:14: onMessage must be a function",
        &["export function onMessage"],
    );
}

#[test]
fn an_import_that_is_not_there() {
    let source = |name: &str| format!("\nimport fs from '{name}';\nfs.x();\n{HANDLER}");
    let of = |name: &str, place: &str, part: &str| assert_message(&[("chat.js", &source(name))], place, &[part]);
    of(
        "fs",
        "chat.js:2:16: `fs` belongs to Node",
        "a handler has neither files nor a network",
    );
    of(
        "node:fs/promises",
        "chat.js:2:16: `node:fs/promises` belongs to Node",
        "what `parlance-handlers` exports",
    );
    of(
        "lodash",
        "chat.js:2:16: the package `lodash` is not there",
        "npm install",
    );
    of("./util", "chat.js:2:16: there is no file `./util`", "");
    of(
        "parlance:chat/nothing@0.1.0",
        "chat.js:2:16: ",
        "is not an interface that a handler may call",
    );
    of(
        "parlance:chat/kv@0.2.0",
        "chat.js:2:16: `parlance:chat/kv@0.2.0` is not the version",
        "`parlance:chat/kv@0.1.0`",
    );
    of(
        "parlance-handlers/json.js",
        "chat.js:2:16: ",
        "import from `parlance-handlers`",
    );
    let source = "export async function onMessage() {\n  await import('./later.js');\n}\n";
    assert_message(
        &[("chat.js", source)],
        "chat.js:2:9: import()",
        &["at the top of the file"],
    );
}

#[test]
fn an_export_that_is_not_there() {
    let source = format!("import {{ message }} from 'parlance-handlers';\nmessage();\n{HANDLER}");
    assert_message(
        &[("chat.js", &source)],
        "chat.js:1:10: `parlance-handlers` does not export `message`",
        &[],
    );
}

#[test]
fn a_package_without_modules() {
    let entry = format!("import old from 'old';\nold();\n{HANDLER}");
    let package = "module.exports = () => {};\n";
    let manifest = r#"{"name": "old", "main": "index.js"}"#;
    let files = [
        ("chat.js", entry.as_str()),
        ("node_modules/old/index.js", package),
        ("node_modules/old/package.json", manifest),
    ];
    assert_message(
        &files,
        "node_modules/old/index.js: this is a CommonJS module",
        &["`import` and `export`"],
    );
}

#[test]
fn an_exception_at_the_top_level() {
    let source = "interface A { b: string }\n\nconst nothing: any = undefined;\n\nnothing.property;\nexport function onMessage(a: A) {}\n";
    assert_message(
        &[("chat.ts", source)],
        "chat.ts:5:1: ",
        &["cannot read property 'property' of undefined"],
    );
    let entry = format!("import './lib/a.js';\n{HANDLER}");
    let library = "function check() {\n  throw new Error('not ready');\n}\ncheck();\n";
    assert_message(
        &[("chat.js", &entry), ("lib/a.js", library)],
        "lib/a.js:2:3: not ready",
        &[],
    );
}

#[test]
fn a_top_level_that_does_not_end_well() {
    let of = |top: &str, part: &str| assert_message(&[("chat.js", &format!("{top}\n{HANDLER}"))], "chat.js: ", &[part]);
    of("throw 'a string';", "the top level threw a value that is not an Error");
    of(
        "await new Promise(() => {});",
        "an `await` at the top level never settles",
    );
    of("for (;;);", "the top level runs for more than 10 s");
    let source = format!("{HANDLER}const all = [];\nfor (;;) all.push(new Uint8Array(1 << 20));\n");
    assert_message(&[("chat.js", &source)], "chat.js:3:1: out of memory", &[]);
}

#[test]
fn calls_of_the_host_at_the_top_level() {
    let source =
        format!("import {{ settings }} from 'parlance-handlers';\n\nconst word = settings.get('word');\n{HANDLER}");
    assert_message(
        &[("chat.js", &source)],
        "chat.js:3:1: settings.get() needs an event",
        &["inside a handler"],
    );
    let source = format!("const started = Date.now();\n{HANDLER}");
    assert_message(&[("chat.js", &source)], "chat.js:1:1: the time needs an event", &[]);
}

#[test]
fn a_thrown_value_without_a_stack_is_pointed_out() {
    let source = "import './node_modules/a.js';\nexport function onEvent(context, name) {\n  if (name) throw `no ${name}`;\n  throw new Error(name);\n}\n";
    let package = "export function fail() {\n  throw 'a text';\n}\n";
    let (is_built, message) = built(&[("chat.js", source), ("node_modules/a.js", package)]);
    assert!(is_built, "{message}");
    assert!(message.starts_with("chat.js:3:13: warning: "), "{message}");
    assert_eq!(message.matches("warning").count(), 1, "{message}");
    assert!(message.contains("throw new Denied("), "{message}");
}

#[test]
fn a_file_that_cannot_be_built() {
    assert_message(
        &[("chat.py", HANDLER)],
        "chat.py: the file is neither JavaScript nor TypeScript",
        &[".mts"],
    );
    let directory = tempfile::tempdir().unwrap();
    let built = built::build(directory.path(), "absent.js", Path::new("out.wasm"));
    let message = String::from_utf8(built.stderr).unwrap();
    assert!(message.starts_with("absent.js: cannot be read"), "{message}");
}
