//! The body of a failed request: `application/problem+json` (RFC 9457).

use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::control::ControlError;

/// When to try again after too many deployments; nobody knows when these will end.
const TOO_MANY_RETRY: Duration = Duration::from_secs(1);

/// When to try again after an outage; nobody knows when it will end.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);

/// Why a request failed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub(super) status: u16,
    /// The name of the status.
    pub(super) title: &'static str,
    /// The error of this request, in words for the operator.
    pub(super) detail: String,
    /// A stable code for programs.
    pub(super) code: &'static str,
    /// Every problem of the request, each with its key, when there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(super) problems: Vec<String>,
    /// For 429, 503 and 507: when to try again, in milliseconds. The header `Retry-After` has it in seconds.
    #[serde(rename = "retryAfterMs", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1)]
    pub(super) retry_after_ms: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or_default(),
            detail: detail.into(),
            code,
            problems: Vec::new(),
            retry_after_ms: None,
        }
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", detail)
    }

    /// The answer to a request over a rate or limit; `wait` says when to try again.
    pub(super) fn limited(detail: impl Into<String>, wait: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", detail).retry_after(wait)
    }

    /// The answer to a request that this node cannot serve now.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).retry_after(UNAVAILABLE_RETRY)
    }

    fn retry_after(self, wait: Duration) -> Self {
        let ms = wait.as_micros().div_ceil(1000).max(1);
        Self {
            retry_after_ms: Some(u64::try_from(ms).unwrap_or(u64::MAX)),
            ..self
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after_ms.map(|ms| ms.div_ceil(1000));
        let mut response = (status, axum::Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
        }
        response
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let status = match &error {
            ControlError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            ControlError::NotFound(_) => StatusCode::NOT_FOUND,
            ControlError::Conflict(_) | ControlError::Differs(_) => StatusCode::CONFLICT,
            ControlError::Changed(_) => StatusCode::PRECONDITION_FAILED,
            ControlError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            ControlError::TooMany(_) | ControlError::Limited { .. } => StatusCode::TOO_MANY_REQUESTS,
            ControlError::QuotaExceeded { .. } => StatusCode::INSUFFICIENT_STORAGE,
            ControlError::Host(_) | ControlError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        if let ControlError::Unavailable(cause) = &error {
            tracing::error!(error = format!("{cause:#}"), "an admin request failed");
        }
        let code = error.code();
        match error {
            ControlError::Invalid(problems) if problems.len() > 1 => Self {
                problems,
                ..Self::new(status, code, "several things are wrong with what was sent")
            },
            ControlError::Differs(mut problems) => {
                let first = if problems.is_empty() {
                    String::new()
                } else {
                    problems.remove(0)
                };
                Self {
                    problems,
                    ..Self::new(status, code, first)
                }
            }
            ControlError::Limited { why, retry_after_ms } => Self::limited(why, Duration::from_millis(retry_after_ms)),
            ControlError::TooMany(why) => Self::limited(why, TOO_MANY_RETRY),
            ControlError::QuotaExceeded { why, retry_after_ms } => {
                Self::new(status, code, why).retry_after(Duration::from_millis(retry_after_ms))
            }
            error @ (ControlError::Host(_) | ControlError::Unavailable(_)) => Self::unavailable(error.to_string()),
            error => Self::new(status, code, error.to_string()),
        }
    }
}

/// The answer for an unknown path.
pub(super) async fn no_route() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not-found",
        "there is nothing here; /admin/v1/openapi.json lists what there is",
    )
}

/// The answer for a known path and an unknown method.
pub(super) async fn no_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "this address takes other methods; the header Allow lists them",
    )
}
