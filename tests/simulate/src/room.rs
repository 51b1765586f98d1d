//! A room as a client sees it. It takes each message once and in order, and asks for what it has missed.

use std::collections::{BTreeMap, VecDeque};

use parlance_history::{Joined, Message, Record};
use serde_json::{Value, json};

/// How far the client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Outside,
    /// It has asked to join.
    Joining,
    /// It reads what it has missed, page by page. New messages wait meanwhile.
    Reading,
    Inside,
}

/// The part of a message that clients look at.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) seq: u64,
    pub(crate) content: String,
    pub(crate) stamp: Option<String>,
}

impl Seen {
    pub(crate) fn of(value: &Value) -> Option<Self> {
        Some(Self {
            id: value["id"].as_str()?.to_owned(),
            seq: value["seq"].as_u64()?,
            content: value["content"].as_str()?.to_owned(),
            stamp: value["metadata"]["by"].as_str().map(str::to_owned),
        })
    }
}

pub(crate) struct Room {
    pub(crate) name: &'static str,
    pub(crate) stage: Stage,
    /// The `seq` up to which all messages are here; `None` before the first join.
    pub(crate) have: Option<u64>,
    /// The last message, for receipts.
    pub(crate) newest: Option<Seen>,
    last: u64,
    /// The messages that were read of the past.
    past: BTreeMap<u64, Seen>,
    /// The messages that came while the past was read.
    held: VecDeque<Seen>,
    /// The users who are typing.
    pub(crate) typing: BTreeMap<String, bool>,
    /// The messages that others have read, by id, as the client was told.
    pub(crate) read: Vec<(String, String)>,
    /// Whether the client stays out of the room for now.
    pub(crate) away: bool,
}

/// What the client does next.
pub(crate) enum Next {
    Nothing,
    /// Ask for the page before this message.
    Page(u64),
    /// Leave and join again, since the past could not be read.
    Again,
    /// Nothing: all messages are here.
    Joined(Vec<Record>),
}

impl Room {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            stage: Stage::Outside,
            have: None,
            newest: None,
            last: 0,
            past: BTreeMap::new(),
            held: VecDeque::new(),
            typing: BTreeMap::new(),
            read: Vec::new(),
            away: false,
        }
    }

    /// Handles that the client is not in the room any more.
    pub(crate) fn leave(&mut self) {
        self.stage = Stage::Outside;
        self.past.clear();
        self.held.clear();
        self.typing.clear();
    }

    pub(crate) fn request(&mut self) -> Value {
        self.leave();
        self.stage = Stage::Joining;
        let past = match self.have {
            Some(after) => json!({ "after": after }),
            None => json!({ "last": 5 }),
        };
        json!(["join-room", self.name, past])
    }

    /// Handles the acknowledgement of a join.
    pub(crate) fn joined(&mut self, answer: &Value, identity: &ClientIdentity) -> Next {
        self.last = answer["lastSeq"].as_u64().unwrap_or(0);
        self.stage = Stage::Reading;
        self.take_page(answer);
        if self.past.is_empty() && answer["complete"] == false {
            return Next::Again;
        }
        self.go_on(identity)
    }

    /// Handles a page.
    pub(crate) fn page(&mut self, answer: &Value, identity: &ClientIdentity) -> Next {
        if self.stage != Stage::Reading {
            return Next::Nothing;
        }
        let before = self.past.len();
        self.take_page(answer);
        if self.past.len() == before {
            // The server has no more messages. The check of the history will report it.
            return self.enter(identity);
        }
        self.go_on(identity)
    }

    fn take_page(&mut self, answer: &Value) {
        let messages = answer["messages"].as_array().into_iter().flatten();
        for message in messages.filter_map(Seen::of) {
            // A page before a message may begin with messages that are here.
            if self.have.is_none_or(|have| message.seq > have) {
                self.past.insert(message.seq, message);
            }
        }
    }

    fn go_on(&mut self, identity: &ClientIdentity) -> Next {
        if let (Some(have), Some(first)) = (self.have, self.past.keys().next())
            && *first > have + 1
        {
            return Next::Page(*first);
        }
        self.enter(identity)
    }

    fn enter(&mut self, identity: &ClientIdentity) -> Next {
        self.stage = Stage::Inside;
        let past = std::mem::take(&mut self.past);
        let message = |seen: &Seen| Message {
            seq: seen.seq,
            content: seen.content.as_str().into(),
        };
        let mut records = vec![Record::Joined(Joined {
            client: identity.client.clone(),
            tenant: identity.tenant.clone(),
            user: identity.user.clone(),
            room: self.name.into(),
            last: self.last,
            after: self.have,
            messages: past.values().map(message).collect(),
            exactly: true,
        })];
        self.newest = past.into_values().next_back().or(self.newest.take());
        self.have = Some(self.last.max(self.have.unwrap_or(0)));
        for seen in std::mem::take(&mut self.held) {
            records.push(self.deliver(seen, identity));
        }
        Next::Joined(records)
    }

    /// Handles a message.
    pub(crate) fn message(&mut self, seen: Seen, identity: &ClientIdentity) -> Option<Record> {
        match self.stage {
            Stage::Inside | Stage::Outside => Some(self.deliver(seen, identity)),
            Stage::Joining | Stage::Reading => {
                self.held.push_back(seen);
                None
            }
        }
    }

    fn deliver(&mut self, seen: Seen, identity: &ClientIdentity) -> Record {
        self.have = Some(seen.seq.max(self.have.unwrap_or(0)));
        let record = Record::Delivered {
            client: identity.client.clone(),
            room: self.name.into(),
            seq: seen.seq,
            content: seen.content.as_str().into(),
        };
        self.newest = Some(seen);
        record
    }
}

/// The client whose view it is.
pub(crate) struct ClientIdentity {
    pub(crate) client: parlance_history::Text,
    pub(crate) tenant: parlance_history::Text,
    pub(crate) user: parlance_history::Text,
}
