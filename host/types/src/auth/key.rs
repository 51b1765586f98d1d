//! A key for exactly one algorithm.

use std::fmt;
use std::sync::Arc;

use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::{AlgorithmFamily, DecodingKey, EncodingKey};

/// Shortest strong HMAC secret, in bytes: the size of SHA-256's output (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;
/// Shortest RSA modulus, in bits (RFC 7518, section 3.3).
const MIN_RSA_BITS: usize = 2048;
/// A point of P-256 in its uncompressed form: a tag and two coordinates.
const P256_POINT_BYTES: usize = 65;

/// A signature algorithm (RFC 7518, section 3.1; RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "UPPERCASE")]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSA PKCS#1 v1.5 with SHA-256.
    Rs256,
    /// RSA-PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    #[strum(serialize = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// All algorithms, in the order in which messages list them.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The name in a token's header (`alg`) and in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The algorithm of that name, which is case-sensitive.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// Whether the key is a secret that both signs and verifies.
    #[must_use]
    pub fn is_hmac(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }

    pub(super) fn to_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Hs384 => jsonwebtoken::Algorithm::HS384,
            Self::Hs512 => jsonwebtoken::Algorithm::HS512,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// Why something is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// An HMAC secret for an algorithm that needs a public key.
    #[error("{} needs a public key, not a secret", .0.name())]
    NeedsPublicKey(Algorithm),
    /// A public key for an algorithm that needs a secret.
    #[error("{} needs a secret, not a public key", .0.name())]
    NeedsSecret(Algorithm),
    /// The secret is empty.
    #[error("the secret is empty")]
    EmptySecret,
    /// The PEM text is a private key.
    #[error("this is a private key; the server verifies and needs the public key only")]
    Private,
    /// It is not the PEM text of a public key of the algorithm's kind.
    #[error("this is not a PEM public key for {} (expected {})", .0.name(), kind_of(*.0))]
    NotThisKind(Algorithm),
    /// The RSA key is too short.
    #[error("this RSA key has {0} bits; at least {MIN_RSA_BITS} are needed")]
    WeakRsa(usize),
}

fn kind_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => "a secret",
        Algorithm::Rs256 | Algorithm::Ps256 => "RSA",
        Algorithm::Es256 => "EC on the curve P-256",
        Algorithm::EdDsa => "Ed25519",
    }
}

/// A key that verifies tokens of exactly one algorithm. Cheap to clone. Its `Debug` output hides the key.
#[derive(Clone)]
pub struct Key {
    algorithm: Algorithm,
    id: Option<Arc<str>>,
    pub(super) decoding: DecodingKey,
    pub(super) encoding: Option<EncodingKey>,
}

impl Key {
    /// A key from a secret shared with the issuer of the tokens. The caller checks its length, since the rule depends
    /// on where the secret comes from; see [`MIN_SECRET_BYTES`].
    ///
    /// # Errors
    /// When the algorithm is not HMAC or the secret is empty.
    pub fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        if !algorithm.is_hmac() {
            return Err(KeyError::NeedsPublicKey(algorithm));
        }
        if secret.is_empty() {
            return Err(KeyError::EmptySecret);
        }
        Ok(Self {
            algorithm,
            id: None,
            decoding: DecodingKey::from_secret(secret),
            encoding: Some(EncodingKey::from_secret(secret)),
        })
    }

    /// A key from the PEM text of a public key: `PUBLIC KEY` (RFC 5280), or `RSA PUBLIC KEY` (RFC 8017).
    ///
    /// # Errors
    /// When the text is not such a key, is of another kind than the algorithm's, or is too weak.
    pub fn from_public_pem(algorithm: Algorithm, pem: &str) -> Result<Self, KeyError> {
        let read = match algorithm {
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => return Err(KeyError::NeedsSecret(algorithm)),
            Algorithm::Rs256 | Algorithm::Ps256 => DecodingKey::from_rsa_pem,
            Algorithm::Es256 => DecodingKey::from_ec_pem,
            Algorithm::EdDsa => DecodingKey::from_ed_pem,
        };
        if pem.contains("PRIVATE KEY-----") {
            return Err(KeyError::Private);
        }
        // The library would also accept a certificate, and use the first bit string inside.
        if !pem.contains("PUBLIC KEY-----") {
            return Err(KeyError::NotThisKind(algorithm));
        }
        let decoding = read(pem.as_bytes()).map_err(|_| KeyError::NotThisKind(algorithm))?;
        check_strength(algorithm, &decoding)?;
        Ok(Self {
            algorithm,
            id: None,
            decoding,
            encoding: None,
        })
    }

    /// A key from a member of a key set that has been checked.
    pub(super) fn from_jwk(algorithm: Algorithm, jwk: &jsonwebtoken::jwk::Jwk) -> Result<Self, KeyError> {
        let decoding = DecodingKey::from_jwk(jwk).map_err(|_| KeyError::NotThisKind(algorithm))?;
        Ok(Self {
            algorithm,
            id: None,
            decoding,
            encoding: None,
        })
    }

    /// Sets the key's id, which tokens may name in their header (`kid`).
    #[must_use]
    pub fn with_id(mut self, id: &str) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The one algorithm this key verifies.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The id that tokens may name.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }
}

/// Checks the curve and the modulus. The library would notice a P-384 point or a short modulus only at the first token,
/// and then report the token as wrong.
fn check_strength(algorithm: Algorithm, key: &DecodingKey) -> Result<(), KeyError> {
    let bytes = key.try_get_as_bytes().map_err(|_| KeyError::NotThisKind(algorithm))?;
    match key.family() {
        AlgorithmFamily::Ec if bytes.len() != P256_POINT_BYTES => Err(KeyError::NotThisKind(algorithm)),
        AlgorithmFamily::Rsa => {
            let components = (aws_lc::DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key)(bytes);
            let (modulus, _) = components.map_err(|_| KeyError::NotThisKind(algorithm))?;
            let bits = modulus.len() * 8;
            if bits < MIN_RSA_BITS {
                Err(KeyError::WeakRsa(bits))
            } else {
                Ok(())
            }
        }
        AlgorithmFamily::Ec | AlgorithmFamily::Ed | AlgorithmFamily::Hmac => Ok(()),
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("algorithm", &self.algorithm)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
