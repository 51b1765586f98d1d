//! Leaves out and simplifies events as long as they still fail.

use serde_json::{Map, Value};

/// Most runs that making a finding smaller may take.
const RUNS_MAX: usize = 600;

/// The smallest events that still fail, as far as leaving out and simplifying finds them.
pub(super) fn shrink(mut steps: Vec<Value>, mut fails: impl FnMut(&[Value]) -> bool) -> Vec<Value> {
    let mut left = RUNS_MAX;
    let mut still_fails = |steps: &[Value]| {
        if left == 0 {
            return false;
        }
        left -= 1;
        fails(steps)
    };
    leave_out(&mut steps, &mut still_fails);
    loop {
        let before = steps.clone();
        simplify(&mut steps, &mut still_fails);
        leave_out(&mut steps, &mut still_fails);
        if steps == before {
            return steps;
        }
    }
}

/// Leaves out parts, halves first, then single events.
fn leave_out(steps: &mut Vec<Value>, fails: &mut impl FnMut(&[Value]) -> bool) {
    let mut part = steps.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + part).min(steps.len()));
            if !fewer.is_empty() && fails(&fewer) {
                *steps = fewer;
            } else {
                at += part;
            }
        }
        part /= 2;
    }
}

fn simplify(steps: &mut [Value], fails: &mut impl FnMut(&[Value]) -> bool) {
    for at in 0..steps.len() {
        // Each simpler event that still fails is simplified further.
        while let Some(simpler) = steps.get(at).map(simpler_steps).and_then(|candidates| {
            candidates.into_iter().find(|candidate| {
                let mut tried = steps.to_vec();
                if let Some(step) = tried.get_mut(at) {
                    step.clone_from(candidate);
                }
                fails(&tried)
            })
        }) {
            if let Some(step) = steps.get_mut(at) {
                *step = simpler;
            }
        }
    }
}

/// Events that are a little simpler, the simplest first.
fn simpler_steps(step: &Value) -> Vec<Value> {
    let Some(fields) = step.as_object() else {
        return Vec::new();
    };
    let with = |key: &str, value: Option<Value>| {
        let mut changed = fields.clone();
        match value {
            Some(value) => changed.insert(key.to_owned(), value),
            None => changed.remove(key),
        };
        Value::Object(changed)
    };
    let mut simpler = Vec::new();
    for optional in ["fault", "by", "as"] {
        if fields.contains_key(optional) {
            simpler.push(with(optional, None));
        }
    }
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("event" | "server-event" | "answer", Value::Object(event)) => {
                for (name, arguments) in event {
                    let changed = simpler_values(arguments).into_iter();
                    simpler.extend(changed.map(|arguments| {
                        let event = Map::from_iter([(name.clone(), arguments)]);
                        with(key, Some(Value::Object(event)))
                    }));
                }
            }
            ("send-message", Value::Object(message)) => {
                for field in ["metadata", "clientId"] {
                    if message.contains_key(field) {
                        let mut fewer = message.clone();
                        fewer.remove(field);
                        simpler.push(with(key, Some(Value::Object(fewer))));
                    }
                }
                let contents = message.get("content").map(simpler_values).unwrap_or_default();
                // A message without content never reaches a handler.
                for content in contents.into_iter().filter(|content| content.as_str() != Some("")) {
                    let mut changed = message.clone();
                    changed.insert("content".to_owned(), content);
                    simpler.push(with(key, Some(Value::Object(changed))));
                }
            }
            _ => {}
        }
    }
    simpler
}

/// Values that are a little simpler, of the same type.
fn simpler_values(value: &Value) -> Vec<Value> {
    match value {
        Value::String(text) if text.starts_with("${") => Vec::new(),
        Value::String(text) => {
            let half = text.floor_char_boundary(text.len() / 2);
            let (start, end) = text.split_at(half);
            let fewer = text.char_indices().last().and_then(|(last, _)| text.get(..last));
            let candidates = ["", "a", start, end, fewer.unwrap_or_default()];
            let is_simpler = |candidate: &&str| {
                candidate.len() < text.len() || (candidate.len() == text.len() && **candidate < **text)
            };
            let simpler = candidates.iter().filter(|candidate| is_simpler(candidate));
            simpler.map(|candidate| Value::from(*candidate)).collect()
        }
        Value::Number(number) => {
            let Some(number) = number.as_i64() else {
                return vec![0.into()];
            };
            let candidates = [0, 1, -1, number / 2, number - number.signum()];
            let simpler = candidates
                .into_iter()
                .filter(|candidate| candidate.unsigned_abs() < number.unsigned_abs());
            simpler.map(Value::from).collect()
        }
        Value::Bool(true) => vec![false.into()],
        Value::Bool(false) | Value::Null => Vec::new(),
        Value::Array(items) => {
            let fewer = (0..items.len()).map(|at| {
                let mut fewer = items.clone();
                fewer.remove(at);
                Value::Array(fewer)
            });
            let changed = items.iter().enumerate().flat_map(|(at, item)| {
                simpler_values(item).into_iter().map(move |simpler| {
                    let mut changed = items.clone();
                    if let Some(item) = changed.get_mut(at) {
                        *item = simpler;
                    }
                    Value::Array(changed)
                })
            });
            fewer.chain(changed).collect()
        }
        Value::Object(fields) => {
            let fewer = fields.keys().map(|key| {
                let mut fewer = fields.clone();
                fewer.remove(key);
                Value::Object(fewer)
            });
            let changed = fields.iter().flat_map(|(key, value)| {
                simpler_values(value).into_iter().map(move |simpler| {
                    let mut changed = fields.clone();
                    changed.insert(key.clone(), simpler);
                    Value::Object(changed)
                })
            });
            fewer.chain(changed).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_needed_is_left_out() {
        let steps: Vec<_> = (0..20)
            .map(|n| json!({"by": "bob", "event": {"e": [n, "text"]}}))
            .collect();
        let number = |step: &Value| step["event"]["e"][0].as_i64().unwrap_or_default();
        let shrunk = shrink(steps, |steps| {
            let numbers: Vec<_> = steps.iter().map(number).collect();
            numbers.iter().any(|n| *n >= 3) && numbers.iter().any(|n| *n >= 7) && numbers.len() >= 2
        });
        assert_eq!(shrunk.len(), 2);
        assert!(shrunk.iter().all(|step| step.get("by").is_none()), "{shrunk:?}");
        assert_eq!(shrunk.iter().map(number).max(), Some(7));
    }

    #[test]
    fn it_ends_when_everything_fails() {
        let steps = vec![json!({"send-message": {"roomId": "r", "content": "long enough", "metadata": {"a": 1}}}); 3];
        let shrunk = shrink(steps, |_| true);
        assert_eq!(shrunk, [json!({"send-message": {"roomId": "r", "content": "a"}})]);
    }
}
