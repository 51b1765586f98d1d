//! `parlance logs`.

use futures_util::TryStreamExt as _;
use reqwest::Method;
use serde::Deserialize;

use super::{Terminal, lines};
use crate::cli::Failure;
use crate::cli::operate_args::LogsArgs;
use crate::cli::table::moment;
use crate::logs::LogLine;

/// The server's line in place of those that were not read in time.
#[derive(Deserialize)]
struct Missed {
    missed: u64,
    tenant: String,
}

impl Terminal<'_> {
    /// `parlance logs`
    ///
    /// # Errors
    /// Why the lines cannot be shown.
    pub async fn logs(&mut self, args: &LogsArgs) -> Result<(), Failure> {
        if !args.follow {
            return Err(Failure::Usage(
                "the server keeps no old lines: use `parlance logs -f`, or look into the server's own log".to_owned(),
            ));
        }
        let client = self.client(&args.server)?;
        let mut query = vec![("level", args.level.clone())];
        query.extend(args.tenant.clone().map(|tenant| ("tenant", tenant)));
        query.extend(args.handler.clone().map(|handler| ("handler", handler)));
        let request = client.request(Method::GET, &["logs"])?.query(&query);
        let mut lines = lines(client.send(request).await?);
        self.note(format_args!(
            "following the node at {}; stop with Ctrl-C",
            args.server.server
        ));
        loop {
            let next = lines.try_next().await.map_err(|error| {
                let cut = anyhow::anyhow!("{error}").context("the node has stopped, or cannot be reached any more");
                Failure::Runtime(cut)
            })?;
            let Some(line) = next else { break };
            if args.server.json {
                self.json_text(&line)?;
            } else if let Ok(line) = serde_json::from_str::<LogLine>(&line) {
                self.line(describe(&line))?;
            } else if let Ok(Missed { missed, tenant }) = serde_json::from_str(&line) {
                self.note(format_args!(
                    "{missed} lines of {tenant} were missed: they came faster than they were read"
                ));
            } else {
                self.note(line);
            }
        }
        self.note("the node has ended the stream, since it stops");
        Ok(())
    }
}

fn describe(line: &LogLine) -> String {
    let LogLine {
        at,
        tenant,
        handler,
        version,
        event,
        level,
        text,
    } = line;
    let at = moment(*at);
    let version = match version {
        0 => String::new(),
        version => format!("@{version}"),
    };
    // Not escaped here: the server escapes what handlers log, and traps have several lines.
    format!("{at} {level:<5} {tenant}/{handler}{version} {event}: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_when_and_of_what_it_is() {
        let line = LogLine {
            at: 1_790_000_000_123,
            tenant: "acme".to_owned(),
            handler: "moderation".to_owned(),
            version: 7,
            event: "00aa-3".to_owned(),
            level: "warn".to_owned(),
            text: "odd".to_owned(),
        };
        assert_eq!(
            describe(&line),
            "2026-09-21T14:13:20.123Z warn  acme/moderation@7 00aa-3: odd"
        );
        let undeployed = LogLine { version: 0, ..line };
        assert!(describe(&undeployed).contains(" acme/moderation 00aa-3"));
    }
}
