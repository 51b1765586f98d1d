//! The open questions of a connection: what handlers have asked its client, and no handler has been told the end of yet.

use std::sync::Arc;

use crate::capability::Question;

/// Open questions of a connection; further ones reach its client as plain events. Each keeps a timer and a task.
const QUESTIONS_MAX: usize = 16;

/// Each is taken out once: when the client has answered, when its time is over, or when the client has gone. It counts
/// until the handler was told.
#[derive(Default)]
pub(super) struct Questions {
    open: Vec<(u64, Arc<Question>)>,
    /// Taken out, and not done with.
    taken: usize,
    last: u64,
    given_up: bool,
}

impl Questions {
    /// Opens a question and gives its number; `None` when too many are open, or the client has gone.
    pub(super) fn open(&mut self, question: &Arc<Question>) -> Option<u64> {
        if self.given_up || self.open.len() + self.taken >= QUESTIONS_MAX {
            return None;
        }
        self.last += 1;
        self.open.push((self.last, question.clone()));
        Some(self.last)
    }

    /// Takes the question out; `None` when that has been done.
    pub(super) fn take(&mut self, number: u64) -> Option<Arc<Question>> {
        let at = self.open.iter().position(|(own, _)| *own == number)?;
        self.taken += 1;
        Some(self.open.swap_remove(at).1)
    }

    /// One that was taken out is done with.
    pub(super) fn done(&mut self) {
        self.taken = self.taken.saturating_sub(1);
    }

    /// Takes all out, and opens no others.
    pub(super) fn give_up(&mut self) -> Vec<Arc<Question>> {
        self.given_up = true;
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
        assert_eq!(questions.give_up().len(), 1);
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
        questions.done();
        assert!(questions.open(&question()).is_some());
    }
}
