//! Verifies the tokens of one tenant.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::crypto;

use super::claims::{self, Claims, Header};
use super::error::AuthError;
use super::identity::{Identity, VerifiedClaims};
use super::jwks::{JwksSource, KeyRing};
use super::key::{Algorithm, Key};
use super::revocation::{Revocation, Revocations};
use crate::id::{InvalidId, TenantId};
use crate::settings::{Texts, Time, secs, settings};

/// Longest token, in bytes. A longer one is refused before it is parsed.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

settings! {
    /// Which tokens (JWT) are accepted.
    pub struct TokenRules of each tenant in "auth" {
        /// How far the clocks of the token's issuer and of this server may be apart.
        leeway: Duration = secs(5), Time(Duration::ZERO, secs(300));
        /// How long before its token expires a client is told with `token-expiring`.
        expiring_notice: Duration = secs(60), Time(secs(1), secs(86_400));
        /// When not empty, a token's `aud` must have one of these.
        audience: Vec<String> = Vec::new(), Texts;
        /// When not empty, a token's `iss` must be one of these.
        issuer: Vec<String> = Vec::new(), Texts;
    }
}

/// The keys and rules by which one tenant accepts tokens. The default has no key, so it accepts none.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The configured keys, tried in this order.
    pub keys: Vec<Key>,
    /// Sources of published keys.
    pub jwks: Vec<JwksSource>,
    /// What tokens must say.
    pub rules: TokenRules,
}

impl Policy {
    /// Whether there is a key or a source of published keys. Without any, nobody can connect.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !(self.keys.is_empty() && self.jwks.is_empty())
    }
}

/// The id of a tenant that the operator has named, in the configuration or the catalog. No text of a client comes here.
///
/// # Errors
/// When the name is not a valid tenant name.
pub fn operator_tenant(name: &str) -> Result<TenantId, InvalidId> {
    TenantId::from_trusted_name(name)
}

/// Verifies tokens for one tenant.
pub struct Authenticator {
    tenant: TenantId,
    keys: Vec<Key>,
    rings: Vec<Arc<KeyRing>>,
    policy: Policy,
    leeway_ms: u64,
    revocations: ArcSwap<Revocations>,
}

impl Authenticator {
    /// Takes the tenant's name from the configuration, and its policy. Without keys every token is refused. Starts to
    /// read published key sets, if there are any; that needs a runtime.
    ///
    /// # Errors
    /// When the name is not a valid tenant name.
    pub fn new(tenant: &str, policy: &Policy) -> Result<Self, InvalidId> {
        Ok(Self::with(operator_tenant(tenant)?, policy, &[], Arc::default()))
    }

    /// An authenticator for the same tenant with another policy. What is revoked stays revoked. A published key set
    /// that was read before keeps its keys, whether or not its issuer can be reached now. If its source is unchanged,
    /// it also keeps its refresh schedule.
    #[must_use]
    pub fn with_policy(&self, policy: &Policy) -> Self {
        Self::with(self.tenant.clone(), policy, &self.rings, self.revocations.load_full())
    }

    fn with(tenant: TenantId, policy: &Policy, known: &[Arc<KeyRing>], revocations: Arc<Revocations>) -> Self {
        Self {
            tenant,
            keys: policy.keys.clone(),
            rings: policy
                .jwks
                .iter()
                .map(|source| KeyRing::reuse_or_open(source, known))
                .collect(),
            policy: policy.clone(),
            leeway_ms: u64::try_from(policy.rules.leeway.as_millis()).unwrap_or(u64::MAX),
            revocations: ArcSwap::new(revocations),
        }
    }

    /// Replaces all revocations.
    pub fn set_revocations<'a>(&self, entries: impl IntoIterator<Item = &'a Revocation>) {
        self.revocations.store(Arc::new(Revocations::from_entries(entries)));
    }

    /// Whether the identity's token has been revoked.
    #[must_use]
    pub fn is_revoked(&self, identity: &Identity) -> bool {
        self.revocations.load().revoke(identity)
    }

    /// The tenant of the identities that this makes.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// [`Policy::has_keys`]
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.policy.has_keys()
    }

    /// How long before its token expires a client is notified.
    #[must_use]
    pub fn expiring_notice(&self) -> Duration {
        self.policy.rules.expiring_notice
    }

    /// Whether the identity's token has expired, with the policy's leeway.
    #[must_use]
    pub fn has_expired(&self, identity: &Identity, now_ms: u64) -> bool {
        identity.expires_at_ms().saturating_add(self.leeway_ms) <= now_ms
    }

    /// Like [`verify`](Self::verify), but a token that names an unknown key waits for a refresh of the published key
    /// sets. All such tokens share one refresh.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub async fn verify_fresh(&self, token: &str, now_ms: u64) -> Result<Identity, AuthError> {
        let verified = self.verify(token, now_ms);
        if !matches!(verified, Err(AuthError::Unverified)) || !self.names_unknown_key(token) {
            return verified;
        }
        futures_util::future::join_all(self.rings.iter().map(|ring| ring.refresh_now())).await;
        self.verify(token, now_ms)
    }

    fn names_unknown_key(&self, token: &str) -> bool {
        let header = token.split('.').next().unwrap_or_default();
        let kid = Header::read(header).ok().and_then(|header| header.kid);
        !self.rings.is_empty()
            && !self
                .all_keys()
                .iter()
                .any(|key| key.id().is_some() && key.id() == kid.as_deref())
    }

    /// The configured keys, then the published ones.
    fn all_keys(&self) -> Vec<Key> {
        let published = self.rings.iter().flat_map(|ring| ring.keys().to_vec());
        self.keys.iter().cloned().chain(published).collect()
    }

    /// Verifies a token. `now_ms` is the time in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// The token is not accepted. If the signature is wrong, the error reveals nothing beyond the token's form.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Identity, AuthError> {
        if token.is_empty() {
            return Err(AuthError::Missing);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(AuthError::TooLong);
        }
        let text = self.verified_claims(token)?;
        let claims = Claims::read(&text)?;
        self.check_audience_and_issuer(&claims)?;

        let expires_at_ms = claims.time_ms("exp")?.ok_or(AuthError::NoExpiry)?;
        if now_ms >= expires_at_ms.saturating_add(self.leeway_ms) {
            return Err(AuthError::Expired);
        }
        if let Some(not_before_ms) = claims.time_ms("nbf")?
            && now_ms.saturating_add(self.leeway_ms) < not_before_ms
        {
            return Err(AuthError::NotYetValid);
        }
        let name = claims.visible_text("name").or_else(|| claims.visible_text("username"));
        let token = VerifiedClaims {
            user: claims.user()?,
            name: name.as_deref(),
            claims: text.as_str().into(),
            expires_at_ms,
            issued_at_ms: claims.time_ms("iat")?,
            token_id: claims.token_id()?.map(Arc::from),
        };
        let identity = Identity::verified(self.tenant.clone(), token);
        if self.is_revoked(&identity) {
            return Err(AuthError::Revoked);
        }
        Ok(identity)
    }

    /// The claims as they were signed, if a key verifies the signature.
    fn verified_claims(&self, token: &str) -> Result<String, AuthError> {
        let (message, signature) = token.rsplit_once('.').ok_or(AuthError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(AuthError::Malformed)?;
        if payload.contains('.') {
            return Err(AuthError::Malformed);
        }
        let header = Header::read(header)?;
        let algorithm = Algorithm::from_name(&header.alg).ok_or(AuthError::Malformed)?;
        let keys = self.all_keys();
        let mut candidates = candidates(&keys, header.kid.as_deref()).filter(|key| key.algorithm() == algorithm);
        let verified = candidates.any(|key| {
            let library = algorithm.to_library();
            crypto::verify(signature, message.as_bytes(), &key.decoding, library).unwrap_or_default()
        });
        if !verified {
            return Err(AuthError::Unverified);
        }
        claims::decode(payload)
    }

    /// Checks `aud` and `iss`. Without a configured audience any is accepted, as a usual Node server does: otherwise
    /// every token with an `aud` would be refused.
    fn check_audience_and_issuer(&self, claims: &Claims<'_>) -> Result<(), AuthError> {
        let names_one_of = |claim: &str, known: &[String]| {
            known.is_empty() || claims.texts(claim).iter().any(|text| known.contains(text))
        };
        if !names_one_of("aud", &self.policy.rules.audience) {
            return Err(AuthError::WrongAudience);
        }
        if !names_one_of("iss", &self.policy.rules.issuer) {
            return Err(AuthError::WrongIssuer);
        }
        Ok(())
    }
}

/// The keys that may verify a token. A `kid` selects the keys that have it. A `kid` that no key has leaves the keys
/// without an id, such as a single JWT_SECRET.
fn candidates<'a>(keys: &'a [Key], kid: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
    let known = keys.iter().any(|key| key.id() == kid);
    keys.iter().filter(move |key| match kid {
        None => true,
        Some(_) if known => key.id() == kid,
        Some(_) => key.id().is_none(),
    })
}
