//! Runs a recorded event again, with the answers of the recording in place of the server.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::anyhow;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::answers::{Answer, RecordedRequest, Stored};
use super::event::{Context, Event};
use super::file::{Entry, Header};
use super::identities::Identities;
use super::limits::Limits;
use super::mask_text::text;
use super::outcome::Outcome;
use super::questions::{
    ELAPSED, HTTP_RATE, RANDOM, ROOM_COUNT, history_question, http_question, joined_question, key_question,
    keys_question, last_seq_question, member_count_question, members_question, message_question, presence_question,
    random_bytes_question, space,
};
use crate::capability::{
    Call, DnsLookupLimit, Effects, Grants, HandlerInfo, HostContext, HttpAnswer, HttpRequest, HttpTap, Logs,
    PresenceState, RandomSource, WasiTap,
};
use crate::sandbox::{GuestLimits, Handler, Interface};
use parlance_scheduler::Quantum;
use parlance_store::{
    ChangeRange, Changes, Epoch, KvKey, KvPage, KvRange, Message, Page, Place, Range, ReadSet, Reader, StoreError,
};
use parlance_types::id::{ConnectionId, MessageId, RoomId, TenantId, UserId};

/// Replays events of one tenant on one component.
pub struct Replayer {
    handler: Handler,
    identities: Identities,
    /// Settings in place of the recorded ones of the same name.
    settings: Vec<(String, String)>,
    limits: GuestLimits,
    with_content: bool,
}

/// What became of an event that was replayed.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// What the handler did.
    pub outcome: Outcome,
    /// The questions that the handler asked, in order.
    pub asked: Vec<String>,
    /// Those that the recording has no answer to.
    pub missing: Vec<String>,
    /// The requests that it would have sent, by their numbers in the event.
    pub requests: Vec<(u32, RecordedRequest)>,
}

impl Replayer {
    /// Replays events of a recording on a component. `most` bounds the limits that the recording asks for.
    ///
    /// # Errors
    /// When the name is not that of a tenant.
    pub fn new(
        handler: Handler,
        header: &Header,
        settings: Vec<(String, String)>,
        most: Option<GuestLimits>,
    ) -> Result<Self, String> {
        Ok(Self {
            handler,
            identities: Identities::new(&header.tenant)?,
            with_content: header.with_content,
            settings,
            limits: most.unwrap_or_else(Limits::most),
        })
    }

    /// The component's handler.
    #[must_use]
    pub fn handler(&self) -> &Handler {
        &self.handler
    }

    /// Whether the component exports what handles the event.
    #[must_use]
    pub fn handles(&self, event: &Event) -> bool {
        self.handler.handles(event.input.interface())
    }

    /// Runs an event again, in a task with this quantum.
    ///
    /// # Errors
    /// When the recording says something that no server would have recorded.
    pub async fn replay(&self, entry: &Entry, quantum: &Quantum) -> Result<Replayed, String> {
        let Entry { event, context, .. } = entry;
        let identity = Arc::new(self.identities.identity(&event.identity)?);
        let answers = Arc::new(Answers::of(event, self.with_content));
        let limits = Arc::new(context.limits.call());
        let call = Call {
            identity,
            connection: ConnectionId::from_socket_id(&event.connection),
            handshake: Arc::new((&event.handshake).into()),
            handler: Arc::new(self.info(context)?),
            now_ms: event.at,
            sent: event.input.sent(),
            random: answers.clone(),
            store: answers.clone(),
            host_context: answers.clone(),
            wasi_tap: Some(answers.clone()),
            has_reserved_slot: false,
            is_rerun: false,
            is_server_event: event.input.handler_input(&[]).is_of_nobody(),
            takes_answers: self.handler.handles(Interface::Answer),
            effects: Effects::with_allowance(limits.effects.effects, limits.effects.output),
            reads: ReadSet::default(),
            logs: Logs::with_allowance(limits.effects.log_bytes),
            limits,
            retry_after: None,
            not_joined: AtomicBool::new(false),
            store_failed: false,
        };
        let attachments = event.input.attachments();
        let input = event.input.handler_input(&attachments);
        let guest_limits = context.limits.guest(&self.limits);
        let outcome = self.handler.call(input, call, &guest_limits, quantum).await;
        let mut state = answers.state.lock();
        let mut requests = std::mem::take(&mut state.requests);
        requests.sort_by_key(|(number, _)| *number);
        Ok(Replayed {
            outcome: Outcome::from(&outcome),
            asked: std::mem::take(&mut state.asked),
            missing: std::mem::take(&mut state.missing),
            requests,
        })
    }

    fn info(&self, context: &Context) -> Result<HandlerInfo, String> {
        let http = context.grants.iter().map(|pattern| pattern.parse());
        let http = http
            .collect::<Result<_, _>>()
            .map_err(|error| format!("a grant: {error}"))?;
        let mut settings = context.settings.clone();
        settings.extend(self.settings.iter().cloned());
        Ok(HandlerInfo {
            name: context.handler.as_str().into(),
            settings,
            grants: Arc::new(Grants {
                http,
                moderate: context.moderate,
            }),
            version: context.version,
            ..HandlerInfo::default()
        })
    }
}

/// The answers of a recorded event, which stand for the store, the connection, chance, time and web servers.
pub(super) struct Answers {
    state: Mutex<AnswersState>,
    /// What random numbers beyond the recorded ones are made of.
    seed: [u8; 32],
    /// Whether questions are told apart as they are. Where what a handler got is masked, it asks for masked keys.
    with_content: bool,
}

#[derive(Default)]
struct AnswersState {
    left: HashMap<String, VecDeque<Answer>>,
    asked: Vec<String>,
    missing: Vec<String>,
    requests: Vec<(u32, RecordedRequest)>,
    /// Requests that were admitted, and that the handler dropped before they were sent: of these the recording knows
    /// only that the tenant's rate was asked.
    dropped: usize,
    /// Random numbers that were made up.
    made_up: u64,
}

impl Answers {
    pub(super) fn of(event: &Event, with_content: bool) -> Self {
        let mut left: HashMap<String, VecDeque<Answer>> = HashMap::new();
        let mut dropped: usize = 0;
        for answer in &event.answers {
            match answer {
                Answer::HttpRate { answer: true } => dropped += 1,
                Answer::Http { .. } => dropped = dropped.saturating_sub(1),
                _ => {}
            }
            let question = comparable(answer.question(), with_content);
            left.entry(question).or_default().push_back(answer.clone());
        }
        let mut seed = Sha256::new();
        seed.update(event.at.to_le_bytes());
        seed.update(event.connection.as_bytes());
        Self {
            state: Mutex::new(AnswersState {
                left,
                dropped,
                ..AnswersState::default()
            }),
            seed: seed.finalize().into(),
            with_content,
        }
    }

    /// The next answer to a read. The last one stays for those who ask again. `None` is noted as missing.
    fn read(&self, question: String) -> Option<Answer> {
        let mut state = self.state.lock();
        let key = comparable(question.clone(), self.with_content);
        let found = state.left.get_mut(&key).and_then(|answers| match answers.len() {
            0 | 1 => answers.front().cloned(),
            _ => answers.pop_front(),
        });
        if found.is_none() {
            state.missing.push(question.clone());
        }
        state.asked.push(question);
        found
    }

    /// The next answer of a sequence, each of which is given once.
    fn next(&self, question: String) -> Option<Answer> {
        let mut state = self.state.lock();
        let key = comparable(question.clone(), self.with_content);
        let found = state.left.get_mut(&key).and_then(VecDeque::pop_front);
        state.asked.push(question);
        found
    }

    /// A number in place of one that the recording does not have: always the same, and not equal to another one.
    fn made_up(&self) -> u64 {
        let mut state = self.state.lock();
        state.made_up += 1;
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(state.made_up.to_le_bytes());
        hash.finalize()
            .iter()
            .take(8)
            .fold(0, |bits, byte| (bits << 8) | u64::from(*byte))
    }
}

/// A question as it is compared: masked like the text that it may be made of, unless content was recorded.
pub(super) fn comparable(mut question: String, with_content: bool) -> String {
    if !with_content {
        text(&mut question);
    }
    question
}

/// The value of an answer of the store. One that did not come when it was recorded does not come now.
async fn value<T>(answer: Option<Option<Stored<T>>>) -> Result<T, StoreError> {
    match answer {
        Some(Some(Stored::Value(value))) => Ok(value),
        Some(Some(Stored::Failed)) => Err(StoreError::Unavailable(anyhow!("the store could not serve"))),
        Some(None) => std::future::pending().await,
        None => Err(StoreError::Unavailable(anyhow!("the recording has no answer"))),
    }
}

/// The answer of the connection's context; see [`value`].
async fn known<T: Default>(answer: Option<Option<T>>) -> T {
    match answer {
        Some(Some(value)) => value,
        Some(None) => std::future::pending().await,
        None => T::default(),
    }
}

fn corrupt() -> StoreError {
    StoreError::Corrupt(anyhow!("the recording has an id that is not one"))
}

#[async_trait::async_trait]
impl Reader for Answers {
    fn epoch(&self) -> Epoch {
        Epoch::default()
    }

    async fn message(&self, _: &TenantId, id: MessageId) -> Result<Option<Message>, StoreError> {
        let answer = match self.read(message_question(&id.to_string())) {
            Some(Answer::Message { answer, .. }) => Some(answer),
            _ => None,
        };
        let found = value(answer).await?;
        found
            .map(|message| message.to_message().ok_or_else(corrupt))
            .transpose()
    }

    async fn history(&self, _: &TenantId, room: &RoomId, range: Range) -> Result<Page, StoreError> {
        let question = history_question(room.as_str(), range.before, range.limit);
        let answer = match self.read(question) {
            Some(Answer::History { answer, .. }) => Some(answer),
            _ => None,
        };
        let messages = value(answer).await?;
        let messages = messages.iter().map(|message| message.to_message().ok_or_else(corrupt));
        Ok(Page {
            messages: messages.collect::<Result<_, _>>()?,
            complete: true,
        })
    }

    async fn changed_messages(&self, _: &TenantId, _: &RoomId, _: ChangeRange) -> Result<Changes, StoreError> {
        // No call of a handler asks for it.
        Ok(Changes::default())
    }

    async fn places(&self, _: &TenantId, rooms: &[RoomId]) -> Result<Vec<Place>, StoreError> {
        let mut places = Vec::with_capacity(rooms.len());
        for room in rooms {
            let answer = match self.read(last_seq_question(room.as_str())) {
                Some(Answer::LastSeq { answer, .. }) => Some(answer),
                _ => None,
            };
            let seq = value(answer).await?;
            places.push(Place { seq, rev: 0 });
        }
        Ok(places)
    }

    async fn kv_get_many(&self, _: &TenantId, keys: &[KvKey], _: u64) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            let answer = match self.read(key_question(space(&key.handler), &key.key)) {
                Some(Answer::Key { answer, .. }) => Some(answer),
                // Earlier releases did not ask for members and bans: nobody was a member, or banned.
                None if key.is_of_host() => Some(Some(Stored::Value(None))),
                _ => None,
            };
            values.push(value(answer).await?.map(|blob| blob.0));
        }
        Ok(values)
    }

    async fn kv_scan(&self, _: &TenantId, range: &KvRange, limit: u32, _: u64, _: u64) -> Result<KvPage, StoreError> {
        let answer = match self.read(keys_question(
            space(&range.handler),
            &range.from,
            range.until.as_deref(),
            limit,
        )) {
            Some(Answer::Keys { answer, .. }) => Some(answer),
            _ => None,
        };
        let page = value(answer).await?;
        Ok(KvPage {
            // Recordings do not have the expired ones.
            rows: u32::try_from(page.entries.len()).unwrap_or(u32::MAX),
            entries: page.entries.into_iter().map(|(key, value)| (key, value.0)).collect(),
            next: page.next,
        })
    }

    async fn reads_hold(&self, _: &TenantId, _: &ReadSet) -> Result<bool, StoreError> {
        // What a recording has is what the run that was committed has read.
        Ok(true)
    }
}

#[async_trait::async_trait]
impl HostContext for Answers {
    fn joined(&self, room: &str) -> bool {
        matches!(
            self.read(joined_question(room)),
            Some(Answer::Joined { answer: true, .. })
        )
    }

    fn room_count(&self) -> usize {
        match self.read(ROOM_COUNT.to_owned()) {
            Some(Answer::RoomCount { answer }) => answer,
            _ => 0,
        }
    }

    fn admit_http_request(&self) -> bool {
        !matches!(
            self.next(HTTP_RATE.to_owned()),
            Some(Answer::HttpRate { answer: false })
        )
    }

    fn dns_lookups(&self) -> DnsLookupLimit {
        DnsLookupLimit::default()
    }

    async fn wait_in_flight(&self) {}

    async fn members(&self, room: &RoomId, limit: usize) -> Vec<UserId> {
        let answer = match self.read(members_question(room.as_str(), limit)) {
            Some(Answer::Members { answer, .. }) => Some(answer),
            _ => None,
        };
        let users = known(answer).await;
        users.iter().filter_map(|user| UserId::new(user).ok()).collect()
    }

    async fn member_count(&self, room: &RoomId, _: &UserId) -> usize {
        let answer = match self.read(member_count_question(room.as_str())) {
            Some(Answer::MemberCount { answer, .. }) => Some(answer),
            _ => None,
        };
        known(answer).await
    }

    async fn presence(&self, users: &[UserId]) -> Vec<PresenceState> {
        let names: Vec<String> = users.iter().map(ToString::to_string).collect();
        let answer = match self.read(presence_question(&names)) {
            Some(Answer::Presence { answer, .. }) => Some(answer),
            _ => {
                return users.iter().cloned().map(PresenceState::offline).collect();
            }
        };
        let states = known(answer).await;
        states
            .iter()
            .filter_map(super::answers::RecordedPresence::to_state)
            .collect()
    }
}

impl RandomSource for Answers {
    fn next_u64(&self) -> u64 {
        match self.next(RANDOM.to_owned()) {
            Some(Answer::Random { answer }) => u64::from_str_radix(&answer, 16).unwrap_or_default(),
            _ => self.made_up(),
        }
    }

    fn fill(&self, bytes: &mut [u8]) {
        match self.next(random_bytes_question(bytes.len())) {
            Some(Answer::RandomBytes { answer }) if answer.0.len() == bytes.len() => bytes.copy_from_slice(&answer.0),
            _ => {
                for part in bytes.chunks_mut(size_of::<u64>()) {
                    for (to, from) in part.iter_mut().zip(self.made_up().to_le_bytes()) {
                        *to = from;
                    }
                }
            }
        }
    }
}

impl WasiTap for Answers {
    fn elapsed_ms(&self, _: u64) -> u64 {
        let mut state = self.state.lock();
        let left = state.left.get_mut(&comparable(ELAPSED.to_owned(), self.with_content));
        // Beyond the recording, the clock stands still.
        let found = left.and_then(|answers| match answers.len() {
            0 | 1 => answers.front().cloned(),
            _ => answers.pop_front(),
        });
        state.asked.push(ELAPSED.to_owned());
        match found {
            Some(Answer::Elapsed { answer }) => answer,
            _ => 0,
        }
    }

    fn answers_http(&self) -> bool {
        true
    }

    fn request(&self, request: HttpRequest) -> HttpTap {
        let recorded = RecordedRequest::from(&request);
        let question = http_question(&recorded.method, &recorded.origin);
        let mut state = self.state.lock();
        let key = comparable(question.clone(), self.with_content);
        let answer = state.left.get_mut(&key).and_then(|answers| {
            // Requests that run at once arrive here in any order.
            let own = |answer: &Answer| matches!(answer, Answer::Http { number, .. } if *number == request.number);
            let at = answers.iter().position(own).unwrap_or(0);
            answers.remove(at)
        });
        if answer.is_none() && state.dropped > 0 {
            state.dropped -= 1;
            return HttpTap::Answer(HttpAnswer::default());
        }
        state.requests.push((request.number, recorded));
        HttpTap::Answer(match answer {
            Some(Answer::Http { answer, .. }) => HttpAnswer::from(&answer),
            _ => {
                state.missing.push(question);
                HttpAnswer {
                    head: Some(Err("connection-refused".to_owned())),
                    ..HttpAnswer::default()
                }
            }
        })
    }
}
