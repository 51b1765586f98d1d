//! Credentials for registries, where Docker keeps them: `config.json` in `~/.docker`, or in `DOCKER_CONFIG`.
//!
//! The file has them (`auths`), or names a program that does (`credsStore`, `credHelpers`).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use tokio::sync::oneshot;

/// The largest `config.json`, in bytes.
const FILE_BYTES: u64 = 1024 * 1024;
/// How long a program that keeps credentials may take, which may have to ask a person for a password.
const HELPER_TIME: Duration = Duration::from_secs(60);

/// What a registry is told about who asks.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// Nothing: the registry decides what everybody may do.
    None,
    /// A user's name and password.
    Password { user: String, password: String },
    /// A token that stands for both.
    IdentityToken(String),
}

/// Docker's directory of settings, by the environment.
pub(super) fn directory(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    match variable("DOCKER_CONFIG") {
        Some(directory) => Some(directory.into()),
        None => variable("HOME").map(|home| Path::new(&home).join(".docker")),
    }
}

/// Looks a registry up in the `config.json` of `directory`. Without a file, and if the file does not know the registry,
/// there are none.
///
/// # Errors
/// When the file cannot be understood, or the program that it names fails.
pub(super) async fn find(directory: Option<PathBuf>, key: &str) -> Result<Credentials> {
    let Some(path) = directory.map(|directory| directory.join("config.json")) else {
        return Ok(Credentials::None);
    };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Credentials::None),
        Err(error) => {
            let context = format!("{}, where Docker keeps credentials, cannot be read", path.display());
            return Err(anyhow::Error::new(error).context(context));
        }
    };
    let (done, found) = oneshot::channel();
    let key = key.to_owned();
    // The look-up may wait for another program. Nothing waits for this thread, so the command can end before it.
    thread::Builder::new()
        .name("credentials".to_owned())
        .spawn(move || {
            // Nobody hears of it when the time is up.
            let _ = done.send(get_credential_from_reader(file.take(FILE_BYTES), &key));
        })
        .context("a thread to look for credentials")?;
    let found = tokio::time::timeout(HELPER_TIME, found).await;
    let path = path.display();
    let Ok(found) = found else {
        let seconds = HELPER_TIME.as_secs();
        bail!("the program that keeps credentials, which {path} names, has not answered within {seconds} s");
    };
    match found.context("looking for credentials")? {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(Credentials::Password { user, password }),
        Ok(DockerCredential::IdentityToken(token)) => Ok(Credentials::IdentityToken(token)),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(Credentials::None),
        // Docker's helpers say so, on standard output, for a registry that they do not know.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. }) if stdout.contains("credentials not found") => {
            Ok(Credentials::None)
        }
        // What a helper printed is not shown: it may have a secret in it.
        Err(CredentialRetrievalError::HelperFailure { helper, .. }) => Err(anyhow!(
            "{helper}, which {path} names for credentials, failed; does `docker login` work?"
        )),
        Err(CredentialRetrievalError::HelperCommunicationError) => Err(anyhow!(
            "the program docker-credential-…, which {path} names in credsStore or credHelpers, cannot be run, or \
             ended before it was asked: is it on the search path?"
        )),
        Err(CredentialRetrievalError::ConfigReadError) => Err(anyhow!(
            "{path} is not JSON as Docker writes it, or larger than {FILE_BYTES} bytes; mend it, or `docker login` again"
        )),
        Err(error) => Err(anyhow!("{path}: {error}; `docker login` writes it anew")),
    }
}
