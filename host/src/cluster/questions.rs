//! The open questions of a connection: what handlers have asked its client, and the client has not answered yet.

use std::sync::Arc;

use crate::capability::Question;

/// Questions that a client is asked at a time; it gets further ones as plain events.
const QUESTIONS_MAX: usize = 64;

/// Each is taken out once: when the client has answered, when its time is over, or when the client has gone.
#[derive(Default)]
pub(super) struct Questions {
    open: Vec<(u64, Arc<Question>)>,
    last: u64,
    given_up: bool,
}

impl Questions {
    /// Opens a question and gives its number; `None` when too many are open, or the client has gone.
    pub(super) fn open(&mut self, question: &Arc<Question>) -> Option<u64> {
        if self.given_up || self.open.len() >= QUESTIONS_MAX {
            return None;
        }
        self.last += 1;
        self.open.push((self.last, question.clone()));
        Some(self.last)
    }

    /// Takes the question out; `None` when that has been done.
    pub(super) fn take(&mut self, number: u64) -> Option<Arc<Question>> {
        let at = self.open.iter().position(|(own, _)| *own == number)?;
        Some(self.open.swap_remove(at).1)
    }

    /// Takes all out, and opens no others.
    pub(super) fn give_up(&mut self) -> Vec<Arc<Question>> {
        self.given_up = true;
        let open = std::mem::take(&mut self.open);
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
        assert_eq!(questions.give_up().len(), 1);
        assert!(questions.take(second).is_none());
        assert!(questions.open(&question()).is_none(), "the client has gone");
    }

    #[test]
    fn a_client_is_asked_so_many_at_a_time() {
        let mut questions = Questions::default();
        let numbers: Vec<u64> = (0..QUESTIONS_MAX)
            .map(|_| questions.open(&question()).unwrap())
            .collect();
        assert!(questions.open(&question()).is_none());
        questions.take(numbers[7]).unwrap();
        assert!(questions.open(&question()).is_some());
    }
}
