//! Builds handlers in Python with `componentize-py`.
//!
//! The decorators in the sources say which interfaces the component exports, so its author writes no world.

mod inputs;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf, absolute};
use std::process::{Command, Stdio};

use anyhow::{Context as _, anyhow};

use super::{replace, temporary, tool};
use crate::cli::Failure;
use crate::cli::new::TEMPLATES;
use crate::cli::project::Project;
use inputs::Inputs;

const BUILDER: &str = "componentize-py";
const VERSION: &str = "0.25.1";
/// The oldest Python in which it can be installed.
const PYTHON: (u32, u32) = (3, 10);
/// The virtual environment of a project.
const ENVIRONMENT: &str = ".venv";
/// The files that a build makes, below the project's directory.
const WORK: &str = "target/parlance-python";
/// Where the kit is, in a project and among the templates.
const KIT: &str = "vendor/parlance_handlers";
/// The module that `componentize-py` is told of.
const APP: &str = "parlance_app";
/// Most source files that are read for decorators, and most bytes of one.
const MAX_SOURCES: usize = 10_000;
const MAX_SOURCE_BYTES: u64 = 4 * 1024 * 1024;
/// The WIT of the module `http`, among the templates, and what it adds to the world.
const WASI: &str = "wasi/";
const HTTP_IMPORT: &str = "import wasi:http/outgoing-handler@0.2.0;";
/// The names of two interfaces that would otherwise both be `types` in Python.
const HTTP_NAMES: [&str; 2] = ["parlance:chat/types@0.1.0=types", "wasi:http/types@0.2.0=wasi_http"];

/// The decorators, with the interface and the class of each.
const HANDLERS: [(&str, &str, &str); 13] = [
    ("on_message", "on-message", "OnMessage"),
    ("on_typing", "on-typing", "OnTyping"),
    ("on_receipt", "on-receipt", "OnReceipt"),
    ("on_presence", "on-presence", "OnPresence"),
    ("on_room", "on-room", "OnRoom"),
    ("on_event", "on-event", "OnEvent"),
    ("on_event_ack", "on-event-ack", "OnEventAck"),
    ("on_answer", "on-answer", "OnAnswer"),
    ("on_server_event", "on-server-event", "OnServerEvent"),
    ("on_timer", "on-timer", "OnTimer"),
    ("on_response", "on-response", "OnResponse"),
    ("on_revise", "on-revise", "OnRevise"),
    ("on_connect", "on-connect", "OnConnect"),
];

type Handler = (&'static str, &'static str, &'static str);

/// What the sources say of the component.
struct Sources {
    handlers: Vec<Handler>,
    /// Whether they import the kit's module `http`.
    sends_http: bool,
}

pub(super) fn build(project: &Project, component: &Path, notes: &mut impl Write) -> Result<(), Failure> {
    let main = project.directory.join(&project.main);
    let sources = main.parent().unwrap_or(&project.directory).to_owned();
    let found = scan(&sources)?;
    if found.handlers.is_empty() {
        let names: Vec<_> = HANDLERS.iter().map(|(decorator, ..)| format!("@{decorator}")).collect();
        return Err(anyhow!(
            "{}: no function has a handler's decorator; write, for example, `@on_message` before `def moderate(context, \
             message):`; the decorators are {}",
            main.display(),
            names.join(", ")
        )
        .into());
    }
    let full = |path: &Path| absolute(path).with_context(|| path.display().to_string());
    let work = full(&project.directory.join(WORK))?;
    let environment = full(&project.directory.join(ENVIRONMENT))?;
    let kit = project.directory.join(KIT);
    let own: Vec<&Path> = [sources.as_path(), &kit]
        .into_iter()
        .filter(|path| path.is_dir())
        .collect();
    let inputs = || Inputs::of(&format!("{BUILDER} {VERSION}"), &own, &environment);
    if inputs().is_some_and(|inputs| inputs.are_built(&work, component)) {
        return Ok(());
    }
    let builder = builder(&full(&project.directory)?, notes)?;
    // With what the builder's installation has added, and before the build, so that a change during it counts.
    let inputs = inputs();
    let module = main.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let directory = project
        .main
        .parent()
        .unwrap_or(Path::new(""))
        .to_string_lossy()
        .into_owned();
    prepare(&work, &found, &module, &directory)?;
    // A single file has no kit beside it.
    let kit = if kit.is_dir() {
        full(&project.directory.join("vendor"))?
    } else {
        write_kit(&work)?;
        work.join("vendor")
    };
    let file = temporary(component);
    let mut command = Command::new(builder);
    command
        .args(["--quiet", "--world", "handler", "--wit-path"])
        .arg(work.join("wit"));
    if found.sends_http {
        command.args(HTTP_NAMES.map(|name| format!("--import-interface-name={name}")));
    }
    command.arg("componentize").arg(APP);
    for directory in [&work.join("app"), &full(&sources)?, &kit] {
        command.arg("--python-path").arg(directory);
    }
    command.arg("--output").arg(full(&file)?);
    if environment.is_dir() {
        command.env("VIRTUAL_ENV", environment);
    }
    // Its own backtrace tells an author nothing.
    let output = command
        .current_dir(&work)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output();
    let output = output.with_context(|| format!("{BUILDER} cannot be run"))?;
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    if !output.status.success() {
        let said = of_author(&printed, &directory);
        return Err(anyhow!("{said}\n{} could not be built", project.name).into());
    }
    // What the modules print at their top level. A note that cannot be written is not a failure.
    let _ = write!(notes, "{printed}");
    replace(&file, component)?;
    if let Some(inputs) = inputs {
        inputs
            .keep(&work, component)
            .with_context(|| format!("cannot write below {}", work.display()))?;
    }
    Ok(())
}

/// What the builder says of the author's modules, with their names for them: without its own frames, and without saying
/// it twice.
fn of_author(printed: &str, directory: &str) -> String {
    const BEGINS: &str = "AssertionError: ";
    let text = printed.split_once(BEGINS).map_or(printed, |(_, text)| text);
    let text = text.split("\n\nCaused by:").next().unwrap_or(text);
    // The directory of the author's modules is the second of the search path, and the one of `APP` the first.
    let author = match directory {
        "" => "File \"".to_owned(),
        directory => format!("File \"{directory}/"),
    };
    let mut kept = String::new();
    let mut is_own = false;
    for line in text.replace("File \"/1/", &author).lines() {
        let is_frame = line.starts_with("  File ");
        if is_frame {
            is_own = line.starts_with("  File \"/0/");
        } else if !line.starts_with("    ") {
            is_own = false;
        }
        if !is_own {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept.trim_end().to_owned()
}

/// Reads the sources below the directory: which decorators stand there, and whether `http` is imported.
fn scan(directory: &Path) -> Result<Sources, Failure> {
    let (mut found, mut sends_http) = (Vec::new(), false);
    let (mut left, mut read) = (vec![directory.to_owned()], 0);
    while let Some(path) = left.pop() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !is_of_tools(&path) || path == directory {
                let entries = fs::read_dir(&path).with_context(|| path.display().to_string())?;
                left.extend(entries.flatten().map(|entry| entry.path()));
            }
        } else if name.ends_with(".py") {
            read += 1;
            let size = fs::metadata(&path).map_or(0, |data| data.len());
            if read > MAX_SOURCES || size > MAX_SOURCE_BYTES {
                return Err(anyhow!(
                    "{}: a handler may have {MAX_SOURCES} source files of {MAX_SOURCE_BYTES} bytes",
                    path.display()
                )
                .into());
            }
            let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
            found.extend(text.lines().filter_map(decorator));
            sends_http |= imports_http(&text);
        }
    }
    Ok(Sources {
        handlers: HANDLERS.into_iter().filter(|(name, ..)| found.contains(name)).collect(),
        sends_http,
    })
}

/// Whether a directory belongs to tools, or has what they make.
fn is_of_tools(directory: &Path) -> bool {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || ["target", "vendor", "node_modules", "__pycache__"].contains(&&*name)
}

/// The decorator of a handler on this line: `@on_message`, or `@parlance_handlers.on_message`.
fn decorator(line: &str) -> Option<&'static str> {
    let path = line.strip_prefix('@')?;
    let path = path.split(['#', '(']).next()?.trim();
    let name = path.rsplit('.').next()?;
    HANDLERS.iter().map(|(name, ..)| *name).find(|known| *known == name)
}

/// Whether a source imports the kit's module `http`: `from parlance_handlers import http, messages`, perhaps over several
/// lines in parentheses, or `import parlance_handlers.http`.
fn imports_http(source: &str) -> bool {
    let names = source
        .split("from parlance_handlers import ")
        .skip(1)
        .filter_map(|names| match names.trim_start().strip_prefix('(') {
            Some(names) => names.split(')').next(),
            None => names.lines().next(),
        });
    let mut names = names.flat_map(str::lines).flat_map(|line| {
        let code = line.split('#').next().unwrap_or_default();
        code.split(',').filter_map(|name| name.split_whitespace().next())
    });
    names.any(|name| name == "http") || source.contains("parlance_handlers.http")
}

/// Writes the WIT with the handler's world, and the module that the component begins with.
fn prepare(work: &Path, sources: &Sources, module: &str, directory: &str) -> Result<(), Failure> {
    let handlers = sources.handlers.as_slice();
    let mut world =
        "package parlance:author;\n\nworld handler {\n  include parlance:chat/capabilities@0.1.0;\n".to_owned();
    for (_, interface, _) in handlers {
        world.push_str(&format!("  export parlance:chat/{interface}@0.1.0;\n"));
    }
    if sources.sends_http {
        world.push_str(&format!("  {HTTP_IMPORT}\n"));
    }
    world.push_str("}\n");
    let classes: Vec<_> = handlers.iter().map(|(.., class)| *class).collect();
    let names: Vec<_> = handlers.iter().map(|(name, ..)| format!("{name:?}")).collect();
    let app = format!(
        "from parlance_handlers import system\n\nsystem.install({module:?}, {directory:?})\n\nimport {module}  # noqa: E402, F401\n\
         from parlance_handlers.export import check, {classes}  # noqa: E402, F401\n\ncheck([{names}])\n",
        classes = classes.join(", "),
        names = names.join(", ")
    );
    // What a build before has left may be of another version.
    if work.exists() {
        fs::remove_dir_all(work).with_context(|| format!("cannot remove {}", work.display()))?;
    }
    write(&work.join("wit/handler.wit"), &world)?;
    write(&work.join("app").join(format!("{APP}.py")), &app)?;
    for (path, text) in TEMPLATES {
        if let Some(file) = path.strip_prefix("rust/vendor/parlance-guest/wit/") {
            write(&work.join("wit/deps/parlance-chat").join(file), text)?;
        }
        // Each file is a package, which has a directory of its own.
        if let Some(file) = path.strip_prefix(WASI).filter(|_| sources.sends_http) {
            write(&work.join("wit/deps").join(file).with_extension("").join(file), text)?;
        }
    }
    Ok(())
}

fn write_kit(work: &Path) -> Result<(), Failure> {
    for (path, text) in TEMPLATES {
        if let Some(file) = path.strip_prefix("python/").filter(|file| file.starts_with(KIT)) {
            write(&work.join(file), text)?;
        }
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let written = file
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(file, text));
    Ok(written.with_context(|| format!("cannot write {}", file.display()))?)
}

/// `componentize-py`: that of the project's virtual environment or of the search path, else it is installed into the
/// virtual environment.
fn builder(directory: &Path, notes: &mut impl Write) -> Result<PathBuf, Failure> {
    let environment = directory.join(ENVIRONMENT);
    let own = environment.join("bin").join(BUILDER);
    if is_right(&own) {
        return Ok(own);
    }
    let of_search_path = PathBuf::from(BUILDER);
    if is_right(&of_search_path) {
        return Ok(of_search_path);
    }
    let python = Path::new("python3");
    let Some(version) = tool::version(python) else {
        return Err(Failure::Usage(
            "Python is not installed: python3 is not on the search path; install it with its module venv (on Debian and \
             Ubuntu: apt-get install python3 python3-venv)"
                .to_owned(),
        ));
    };
    if release(&version).is_some_and(|release| release < PYTHON) {
        let (major, minor) = PYTHON;
        return Err(Failure::Usage(format!(
            "python3 is {version}, and {BUILDER} {VERSION} needs Python {major}.{minor} or later; put a later python3 first \
             on the search path, or {BUILDER} {VERSION} itself"
        )));
    }
    // A note that cannot be written is not a failure.
    let _ = writeln!(
        notes,
        "installing {BUILDER} {VERSION} with pip into {}, since it is neither there nor on the search path",
        environment.display()
    );
    let program = environment.join("bin/python");
    if !program.exists() {
        let mut command = Command::new(python);
        command.args(["-m", "venv"]).arg(&environment);
        tool::run(&mut command, ENVIRONMENT).map_err(|_| {
            Failure::Usage(
                "no virtual environment could be made; python3's module venv may be missing (on Debian and Ubuntu: \
                 apt-get install python3-venv)"
                    .to_owned(),
            )
        })?;
    }
    let mut command = Command::new(program);
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    command.arg(format!("{BUILDER}=={VERSION}"));
    tool::run(&mut command, BUILDER).map_err(|_| {
        Failure::Usage(format!(
            "pip could not install {BUILDER} {VERSION}; its message is above. Install it where pip may, and put it on the \
             search path"
        ))
    })?;
    Ok(own)
}

/// The release of Python in what it prints for `--version`: (3, 9) for `Python 3.9.2`.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix("Python ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether the program is there, in the right version.
fn is_right(path: &Path) -> bool {
    tool::version(path).is_some_and(|version| version == format!("{BUILDER} {VERSION}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_shown_as_the_authors() {
        let printed = "Traceback (most recent call last):\n  File \"/venv/bin/componentize-py\", line 8, in <module>\n    \
                       sys.exit(script())\nAssertionError: Traceback (most recent call last):\n  File \
                       \"/0/parlance_app.py\", line 5, in <module>\n    import handler\n  File \"/1/handler.py\", line 19\n    \
                       words == 1\nSyntaxError: invalid syntax\n\n\nCaused by:\n    SyntaxError: invalid syntax\n";
        let expected = "Traceback (most recent call last):\n  File \"src/handler.py\", line 19\n    words == 1\n\
                        SyntaxError: invalid syntax";
        assert_eq!(of_author(printed, "src"), expected);
        assert_eq!(of_author("no such world", "src"), "no such world");
    }

    #[test]
    fn a_release_of_python_is_compared_by_its_numbers() {
        assert_eq!(release("Python 3.9.2"), Some((3, 9)));
        assert!(release("Python 3.9.2").unwrap() < PYTHON && release("Python 3.14.0rc1").unwrap() > PYTHON);
        assert_eq!(release("pyenv: no such command"), None);
    }

    #[test]
    fn a_decorator_is_found_by_its_line() {
        assert_eq!(decorator("@on_message"), Some("on_message"));
        assert_eq!(decorator("@parlance_handlers.on_event  # all"), Some("on_event"));
        assert_eq!(decorator("@on_event_ack"), Some("on_event_ack"));
        assert_eq!(decorator("# @on_message"), None);
        assert_eq!(decorator("@on_mesage"), None);
        assert_eq!(decorator("on_message"), None);
    }

    #[test]
    fn the_import_of_http_is_found_in_all_its_forms() {
        for source in [
            "from parlance_handlers import http",
            "import x\nfrom parlance_handlers import messages, http as web  # why\n",
            "from parlance_handlers import (\n    Context,  # who\n    http,\n    messages,\n)\n",
            "import parlance_handlers.http\n",
            "from parlance_handlers.http import request\n",
        ] {
            assert!(imports_http(source), "{source}");
        }
        for source in [
            "import http.client\nfrom http import HTTPStatus\n",
            "from parlance_handlers import messages\nhttp = 1\n",
            "from parlance_handlers import (  # no http\n    messages,\n)\nhttp = (1, 2)\n",
        ] {
            assert!(!imports_http(source), "{source}");
        }
    }
}
