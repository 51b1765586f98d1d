//! The open questions of a connection: events of handlers that its client should acknowledge.

use std::sync::Arc;

use parlance_handler::capability::Question;

/// The most open questions of a connection. Further ones reach the client as plain events. Each takes a timer and a
/// task.
const QUESTIONS_MAX: usize = 16;

/// The questions. Each is taken out once: when the client has answered, when its time is over, or when the client has
/// gone. It counts as open until its handler was told the result.
#[derive(Default)]
pub(super) struct Questions {
    open: Vec<(u64, Arc<Question>)>,
    /// Questions that were taken out, but whose handlers were not told yet.
    taken: usize,
    last: u64,
    closed: bool,
}

impl Questions {
    /// Opens a question. Returns its number, or `None` when too many are open or the client has gone.
    pub(super) fn open(&mut self, question: &Arc<Question>) -> Option<u64> {
        if self.closed || self.open.len() + self.taken >= QUESTIONS_MAX {
            return None;
        }
        self.last += 1;
        self.open.push((self.last, question.clone()));
        Some(self.last)
    }

    /// Takes a question out. `None` when it was taken out before.
    pub(super) fn take(&mut self, number: u64) -> Option<Arc<Question>> {
        let at = self.open.iter().position(|(own, _)| *own == number)?;
        self.taken += 1;
        Some(self.open.swap_remove(at).1)
    }

    /// Counts a question that was taken out as ended.
    pub(super) fn finish(&mut self) {
        self.taken = self.taken.saturating_sub(1);
    }

    /// Takes all questions out. No further ones are opened.
    pub(super) fn close(&mut self) -> Vec<Arc<Question>> {
        self.closed = true;
        let open = std::mem::take(&mut self.open);
        self.taken += open.len();
        open.into_iter().map(|(_, question)| question).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn question() -> Arc<Question> {
        Arc::new(Question {
            handler: "h".into(),
            tag: "t".into(),
            time: Duration::from_secs(1),
        })
    }

    #[test]
    fn each_question_ends_once() {
        let mut questions = Questions::default();
        let (first, second) = (
            questions.open(&question()).unwrap(),
            questions.open(&question()).unwrap(),
        );
        assert!(questions.take(first).is_some());
        assert!(questions.take(first).is_none());
        assert_eq!(questions.close().len(), 1);
        assert!(questions.take(second).is_none());
        assert!(questions.open(&question()).is_none(), "the client has gone");
    }

    #[test]
    fn a_question_counts_until_its_handler_was_told() {
        let mut questions = Questions::default();
        let numbers: Vec<u64> = (0..QUESTIONS_MAX)
            .map(|_| questions.open(&question()).unwrap())
            .collect();
        assert!(questions.open(&question()).is_none());
        questions.take(numbers[7]).unwrap();
        assert!(questions.open(&question()).is_none(), "its handler may be slow");
        questions.finish();
        assert!(questions.open(&question()).is_some());
    }
}
