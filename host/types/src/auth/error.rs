//! Why a token is refused.

/// Why a token is refused. The client gets the message. It starts with `Authentication error`, as clients of the usual
/// Socket.IO server expect, and says nothing about keys: a wrong signature, an unknown key and an algorithm without a
/// key are one error, so that nobody can probe which keys there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The handshake has no token, or an empty one.
    #[error("Authentication error: no token was sent")]
    Missing,
    /// More than [`MAX_TOKEN_BYTES`](super::MAX_TOKEN_BYTES) bytes.
    #[error("Authentication error: the token is too long")]
    TooLong,
    /// It is not three parts of base64url with JSON in the first two, or its header uses an unsupported extension.
    #[error("Authentication error: the token is malformed")]
    Malformed,
    /// No key of this tenant verifies the signature.
    #[error("Authentication error: the token's signature is not accepted here")]
    Unverified,
    /// No `exp`.
    #[error("Authentication error: the token has no expiry (claim `exp`)")]
    NoExpiry,
    /// `exp`, `iat` or `nbf` is not a number.
    #[error("Authentication error: the token's `{0}` is not a number")]
    NotANumber(&'static str),
    /// The time is at or past `exp` plus the leeway.
    #[error("Authentication error: the token has expired")]
    Expired,
    /// The time plus the leeway is before `nbf`.
    #[error("Authentication error: the token is not valid yet")]
    NotYetValid,
    /// An audience is configured, and `aud` is absent or different.
    #[error("Authentication error: the token is for another audience")]
    WrongAudience,
    /// An issuer is configured, and `iss` is absent or different.
    #[error("Authentication error: the token is from another issuer")]
    WrongIssuer,
    /// The tenant's operator has revoked it.
    #[error("Authentication error: the token has been revoked")]
    Revoked,
    /// `jti` is not a valid id: 1 to 512 bytes without control characters, or an integer.
    #[error("Authentication error: the token's id (claim `jti`) is not valid")]
    TokenId,
    /// Neither `sub` nor `id` is a valid user id: an integer, or a string that
    /// [`UserId::from_token`](crate::id::UserId::from_token) accepts.
    #[error("Authentication error: the token names no valid user (claim `sub` or `id`)")]
    NoUser,
    /// The user id begins with [`BOT_PREFIX`](crate::id::BOT_PREFIX), as only those of bots do.
    #[error("Authentication error: a user id that begins with `bot:` is reserved for bots, which have no tokens")]
    ReservedUser,
}

impl AuthError {
    /// A stable name for logs, metrics and programs: kebab-case, never changed.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "token-missing",
            Self::TooLong => "token-too-long",
            Self::Malformed => "token-malformed",
            Self::Unverified => "token-unverified",
            Self::NoExpiry => "token-no-expiry",
            Self::NotANumber(_) => "token-not-a-number",
            Self::Expired => "token-expired",
            Self::NotYetValid => "token-not-yet-valid",
            Self::WrongAudience => "token-wrong-audience",
            Self::WrongIssuer => "token-wrong-issuer",
            Self::Revoked => "token-revoked",
            Self::TokenId => "token-invalid-id",
            Self::NoUser => "token-no-user",
            Self::ReservedUser => "token-reserved-user",
        }
    }
}
