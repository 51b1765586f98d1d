//! Calls the kit's typed keys, maps and sets, and the functions beneath them, as the event's name says.

use std::time::Duration;

use parlance_guest::{Arguments, Context, EventHandler, Fault, Key, Map, Rejection, Set, kv};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

struct Collections;

/// A value with a type of its own.
#[derive(Serialize, Deserialize)]
struct Score {
    points: i64,
}

impl EventHandler for Collections {
    fn handle(_: &Context, name: &str, arguments: Arguments) -> Result<impl serde::Serialize, Rejection> {
        match name {
            "key" => key(),
            "update" => {
                let (key,): (String,) = arguments.parse()?;
                let score = Key::new(&["score", &key]).update(|score: Option<Score>| Score {
                    points: score.map_or(0, |score| score.points) + 1,
                })?;
                Ok(json!(score))
            }
            "map" => map(),
            "set" => set(),
            "add" => {
                let (name, members): (String, Vec<String>) = arguments.parse()?;
                let set = Set::new(&[&name]);
                let added: Vec<bool> = members
                    .iter()
                    .map(|member| set.insert(member))
                    .collect::<Result<_, _>>()?;
                Ok(json!([added, set.count()?]))
            }
            "read" => {
                let (name, limit): (String, usize) = arguments.parse()?;
                let members = Set::new(&[&name]).iter().take(limit);
                Ok(json!(members.collect::<Result<Vec<_>, _>>()?))
            }
            "names" => names(),
            "raw" => raw(),
            _ => Err(Rejection::NotFound("no such event".into())),
        }
    }
}

fn key() -> Result<Value, Rejection> {
    let title: Key<String> = Key::new(&["title", "a/b"]);
    let before = title.get()?;
    let first = title.set_if_absent("one")?;
    let second = title.set_if_absent("two")?;
    let at_first = title.get()?;
    title.set_with_ttl("three", Duration::from_secs(60))?;
    let later = title.get()?;
    title.delete()?;
    let count: Key<i64> = Key::new(&["count"]);
    count.set(&5)?;
    let sum = count.increment(-7)?;
    let other: Key<Score> = Key::new(&["count"]);
    let mismatch = match other.get() {
        Err(Fault::Invalid(message)) => message,
        _ => String::new(),
    };
    Ok(json!([
        before,
        first,
        second,
        at_first,
        later,
        title.get()?,
        sum,
        count.get()?,
        mismatch
    ]))
}

fn map() -> Result<Value, Rejection> {
    let scores: Map<Score> = Map::new(&["scores"]);
    for (user, points) in [("bob", 2), ("alice", 1), ("carol:x/y%", 3)] {
        scores.insert(user, &Score { points })?;
    }
    let all: Vec<(String, Score)> = scores.iter().collect::<Result<_, _>>()?;
    let there = [scores.contains("bob")?, scores.remove("bob")?, scores.contains("bob")?];
    let again = scores.remove("bob")?;
    let taken = scores.key("alice").set_if_absent(&Score { points: 9 })?;
    Ok(json!([
        all,
        there,
        again,
        taken,
        scores.get("alice")?,
        scores.get("bob")?,
        scores.count()?
    ]))
}

fn set() -> Result<Value, Rejection> {
    let guests = Set::new(&["guests", "tea"]);
    let added = [guests.insert("bob")?, guests.insert("alice")?, guests.insert("bob")?];
    let all: Vec<String> = guests.iter().collect::<Result<_, _>>()?;
    let removed = [guests.remove("bob")?, guests.remove("bob")?, guests.contains("alice")?];
    Ok(json!([added, all, removed, guests.count()?]))
}

/// Names whose joined parts look alike.
fn names() -> Result<Value, Rejection> {
    let names: [&[&str]; 6] = [&["a"], &["a", "b"], &["a/b"], &["a:b"], &["a%2Fb"], &["a", ""]];
    for (name, number) in names.iter().zip('0'..) {
        Set::new(name).insert(&format!("b:{number}"))?;
    }
    let mut found = Vec::new();
    for name in names {
        found.push(Set::new(name).iter().collect::<Result<Vec<_>, _>>()?);
    }
    Ok(json!(found))
}

fn raw() -> Result<Value, Rejection> {
    let swapped = [
        kv::swap("k", None, b"1", None)?,
        kv::swap("k", None, b"2", None)?,
        kv::swap("k", Some(b"1"), b"3", Some(1000))?,
    ];
    let many = kv::get_many(&["none".into(), "k".into()])?;
    let page = kv::scan("", None, 1)?.len();
    let wrong = kv::scan("", None, 0).is_err();
    Ok(json!([swapped, many, page, wrong]))
}

parlance_guest::export!(Collections: event);
