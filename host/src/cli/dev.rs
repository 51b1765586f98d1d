//! `parlance dev`: the server in development mode, whose handlers are built again and swapped when a source is saved.

mod builds;
mod watcher;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::watch;

use super::project::{Project, no_project};
use super::{DevArgs, Failure, serve};
use crate::app::{Builds, Development, PageMinter};
use crate::config::{Config, Environment, USUAL_FILE};
use builds::Builder;
use parlance_types::auth::{Minter, dev_key};

/// What serves in place of the configured handlers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// A component, which something else builds.
    Component(PathBuf),
    Project(Project),
}

impl Target {
    fn component(&self) -> PathBuf {
        match self {
            Self::Component(path) => path.clone(),
            Self::Project(project) => project.component(),
        }
    }
}

/// Builds the projects, then runs the server in development mode until a signal stops it. Waits for the sources to be
/// mended if they do not build.
///
/// # Errors
/// A path has no handler, what building needs is missing, the configuration is wrong, the development key cannot be
/// kept, or why the server could not start.
pub fn run(args: &DevArgs, env: &Environment) -> Result<(), Failure> {
    let targets = targets(&args.paths)?;
    let (sender, builds) = watch::channel(Builds::default());
    let mut builder = Builder::new(&targets, sender)?;
    builder.build_all()?;

    let own = args.config.path.clone().or_else(|| project_config(&targets));
    let mut config = Config::load(own.as_deref(), env)?;
    config.server.host.clone_from(&args.host);
    config.server.port = args.port.unwrap_or(config.server.port);
    let mut key_file = None;
    if config.default_tenant.auth.keys.is_empty() {
        let made = dev_key::load_or_create(Path::new(""))?;
        key_file = Some(made.path);
        config.default_tenant.auth.keys.push(made.key);
    }
    let key = config.default_tenant.auth.keys.iter().find(|key| key.algorithm().is_hmac()).ok_or_else(|| {
        Failure::Usage("`parlance dev` makes tokens for its page and needs an HMAC key for that; add one to auth.keys, or configure none".to_owned())
    })?;
    let minter = Minter::new(key, &config.default_tenant.auth).context("the development tokens")?;
    let development = Development {
        minter: Arc::new(PageMinter {
            minter,
            host: args.host.clone(),
        }),
        key_file,
        components: targets.iter().map(Target::component).collect(),
        builds,
    };
    // Ends with the process.
    std::thread::Builder::new()
        .name("builds".to_owned())
        .spawn(move || builder.run())
        .context("the thread that builds could not be started")?;
    serve::run(config, Some(development))
}

/// What the paths name; without any the project in the current directory, if there is one.
fn targets(paths: &[PathBuf]) -> Result<Vec<Target>, Failure> {
    if paths.is_empty() {
        let here = Project::find(Path::new("."))?;
        return Ok(here.into_iter().map(Target::Project).collect());
    }
    let target = |path: &PathBuf| match Project::find(path)? {
        Some(project) => Ok(Target::Project(project)),
        None if path.is_file() && path.extension().is_some_and(|extension| extension == "wasm") => {
            Ok(Target::Component(path.clone()))
        }
        None => Err(no_project(path)),
    };
    paths.iter().map(target).collect()
}

/// The configuration beside a single project.
fn project_config(targets: &[Target]) -> Option<PathBuf> {
    let [Target::Project(project)] = targets else {
        return None;
    };
    let file = match project.directory.as_path() {
        here if here == Path::new(".") => PathBuf::from(USUAL_FILE),
        directory => directory.join(USUAL_FILE),
    };
    file.is_file().then_some(file)
}
