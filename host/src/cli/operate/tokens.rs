//! `parlance revoke`, `revocations`, `unrevoke` and `audit`.

use reqwest::Method;
use serde_json::json;

use super::Terminal;
use crate::cli::Failure;
use crate::cli::operate_args::{AuditArgs, RevocationsArgs, RevokeArgs, UnrevokeArgs};
use crate::cli::table::{Table, ago, moment};
use crate::control::api::{AuditView, RevocationView, RevokeRequest};

impl Terminal<'_> {
    /// `parlance revoke`
    ///
    /// # Errors
    /// Why nothing was revoked.
    pub async fn revoke(&mut self, args: &RevokeArgs) -> Result<(), Failure> {
        let client = self.client(&args.server)?;
        let body = RevokeRequest {
            token_id: args.token_id.clone(),
            user: args.user.clone(),
            issued_before: args.issued_before,
            expires_at: None,
        };
        let request = client.request(Method::POST, &["tenants", &args.tenant.tenant, "revocations"])?;
        let made: RevocationView = client.ask(request.json(&body)).await?;
        if args.server.json {
            self.json(&made)
        } else {
            self.line(format_args!("revoked {}", made.id))
        }
    }

    /// `parlance revocations`
    ///
    /// # Errors
    /// Why the revocations cannot be shown.
    pub async fn revocations(&mut self, args: &RevocationsArgs) -> Result<(), Failure> {
        let client = self.client(&args.server)?;
        let request = client.request(Method::GET, &["tenants", &args.tenant.tenant, "revocations"])?;
        let all: Vec<RevocationView> = client.ask(request).await?;
        if args.server.json {
            return self.json(&all);
        }
        let mut table = Table::new(&["ID", "ISSUED BEFORE", "KEPT UNTIL"]);
        for one in &all {
            let before = one.issued_before.map(moment).unwrap_or_default();
            table.row(&[&one.id, &before, &moment(one.expires_at)]);
        }
        self.line(table)
    }

    /// `parlance unrevoke`
    ///
    /// # Errors
    /// Why nothing was taken back.
    pub async fn unrevoke(&mut self, args: &UnrevokeArgs) -> Result<(), Failure> {
        let client = self.client(&args.server)?;
        let path = ["tenants", &args.tenant.tenant, "revocations", &args.id];
        client.send(client.request(Method::DELETE, &path)?).await?;
        if args.server.json {
            return self.json(&json!({ "takenBack": args.id }));
        }
        self.line(format_args!("took back {}", args.id))
    }

    /// `parlance audit`
    ///
    /// # Errors
    /// Why it cannot be shown.
    pub async fn audit(&mut self, args: &AuditArgs) -> Result<(), Failure> {
        let client = self.client(&args.server)?;
        let mut query = vec![("limit", args.limit.to_string())];
        query.extend(args.tenant.clone().map(|tenant| ("tenant", tenant)));
        query.extend(args.before.map(|id| ("before", id.to_string())));
        let entries: Vec<AuditView> = client
            .ask(client.request(Method::GET, &["audit"])?.query(&query))
            .await?;
        if args.server.json {
            return self.json(&entries);
        }
        let mut table = Table::new(&["ID", "WHEN", "WHO", "TENANT", "WHAT", "PARTICULARS"]);
        for entry in &entries {
            table.row(&[
                &entry.id.to_string(),
                &ago(entry.at),
                &entry.actor,
                &entry.tenant,
                &entry.action,
                &entry.detail.to_string(),
            ]);
        }
        self.line(table)?;
        let full = usize::try_from(args.limit).is_ok_and(|limit| entries.len() >= limit);
        if let Some(oldest) = entries.last().filter(|_| full) {
            self.note(format_args!("older ones: --before {}", oldest.id));
        }
        Ok(())
    }
}
