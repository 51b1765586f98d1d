//! Proves to a registry who asks: with a password (HTTP Basic), or with a token that another server gives for one.

use anyhow::{Context as _, Result, anyhow, bail};
use http_auth::{ChallengeRef, parse_challenges};
use reqwest::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, Response, Url};
use serde::Deserialize;

use super::read::{read, refusal};
use super::{REQUEST_TIME, unreachable};
use crate::cli::oci::address::Address;
use crate::cli::oci::credentials::Credentials;

/// The largest answer with a token, in bytes.
const TOKEN_BYTES: usize = 256 * 1024;
/// What this program is called where it asks for a token.
const CLIENT_ID: &str = "parlance";

/// What is to be done in the registry.
#[derive(Clone, Copy)]
pub(super) enum Access {
    /// Fetching.
    Pull,
    /// Fetching and storing.
    Push,
}

/// Who asks a registry, and for what.
pub(super) struct Login {
    address: Address,
    credentials: Credentials,
    access: Access,
    plain: bool,
}

/// The answer of a token server.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Login {
    pub(super) fn new(address: &Address, credentials: Credentials, access: Access, plain: bool) -> Self {
        let address = address.clone();
        Self {
            address,
            credentials,
            access,
            plain,
        }
    }

    /// Whose credentials these are, for messages. Empty if there are none.
    fn who(&self) -> String {
        match &self.credentials {
            Credentials::None => String::new(),
            Credentials::Password { user, .. } => format!("the user {user}"),
            Credentials::IdentityToken(_) => "the user of the identity token".to_owned(),
        }
    }

    /// The error for a registry that wants credentials, or others than it got.
    pub(super) fn refused(&self, said: &str) -> anyhow::Error {
        let registry = self.address.registry();
        match self.credentials {
            Credentials::None => anyhow!(
                "{registry} wants credentials, and Docker's configuration has none for it{said}: log in with `docker \
                 login {registry}`, or name the directory of another config.json with DOCKER_CONFIG"
            ),
            _ => anyhow!(
                "{registry} refuses the credentials of {}, which Docker's configuration has for it{said}: log in anew \
                 with `docker login {registry}`",
                self.who()
            ),
        }
    }

    /// The error for a registry that knows who asks, and does not allow it. `what` is what was asked, such as
    /// "to fetch".
    pub(super) fn forbidden(&self, what: &str, said: &str) -> anyhow::Error {
        let (registry, address) = (self.address.registry(), &self.address);
        match self.credentials {
            Credentials::None => anyhow!(
                "{registry} does not allow {what} {address} without credentials{said}: log in with `docker login \
                 {registry}`, or ask its operator"
            ),
            _ => anyhow!(
                "{registry} does not allow {} {what} {address}{said}; ask its operator",
                self.who()
            ),
        }
    }

    /// The value of the header `Authorization` for a registry that answered 401.
    ///
    /// # Errors
    /// When there are no credentials, or they are refused.
    pub(super) async fn proof(&self, http: &Client, response: &Response) -> Result<HeaderValue> {
        let registry = self.address.registry();
        let values = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
        let mut challenges = values
            .iter()
            .flat_map(|value| parse_challenges(value).unwrap_or_default());
        let known = |challenge: &ChallengeRef<'_>| ["bearer", "basic"].contains(&&*challenge.scheme.to_lowercase());
        let Some(challenge) = challenges.find(known) else {
            bail!(
                "{registry} wants credentials of a kind that is not known here: {}",
                values.join(", ")
            );
        };
        let text = if challenge.scheme.eq_ignore_ascii_case("bearer") {
            format!("Bearer {}", self.token(http, &challenge).await?)
        } else {
            let Credentials::Password { user, password } = &self.credentials else {
                return Err(self.refused(""));
            };
            http_auth::basic::encode_credentials(user, password)
        };
        let mut value = HeaderValue::try_from(text).with_context(|| format!("the credentials for {registry}"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Asks for a token where the registry says.
    async fn token(&self, http: &Client, challenge: &ChallengeRef<'_>) -> Result<String> {
        let registry = self.address.registry();
        let parameter = |name: &str| {
            let mut all = challenge.params.iter();
            all.find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_unescaped())
        };
        let realm =
            parameter("realm").with_context(|| format!("{registry} does not say where its tokens come from"))?;
        let url = Url::parse(&realm).with_context(|| format!("{registry} says that its tokens come from {realm:?}"))?;
        if url.scheme() != "https" && !self.plain {
            bail!("{registry} says that its tokens come from {realm}, where credentials would be sent without TLS");
        }
        let scope = match self.access {
            Access::Pull => format!("repository:{}:pull", self.address.repository()),
            Access::Push => format!("repository:{}:pull,push", self.address.repository()),
        };
        let mut form = vec![("scope", scope)];
        form.extend(parameter("service").map(|service| ("service", service)));
        let request = match &self.credentials {
            Credentials::None => http.get(url).query(&form),
            Credentials::Password { user, password } => http.get(url).query(&form).basic_auth(user, Some(password)),
            Credentials::IdentityToken(token) => {
                form.extend([
                    ("grant_type", "refresh_token".to_owned()),
                    ("refresh_token", token.clone()),
                    ("client_id", CLIENT_ID.to_owned()),
                ]);
                let body = form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(&form)
                    .finish();
                http.post(url)
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(body)
            }
        };
        let sent = request.timeout(REQUEST_TIME).send().await;
        let response = sent.map_err(|error| unreachable(&self.address, &error))?;
        if !response.status().is_success() {
            return Err(refusal(response, &self.address, "to give a token for", self).await);
        }
        let body = read(response, TOKEN_BYTES, "token", &self.address).await?;
        let answer: Token = serde_json::from_slice(&body)
            .map_err(|_| anyhow!("{realm}, where the tokens of {registry} come from, answers no token"))?;
        let token = answer.token.or(answer.access_token);
        token.with_context(|| format!("{realm}, where the tokens of {registry} come from, answers no token"))
    }
}
