//! Typed keys, maps and sets over [`kv`].
//!
//! The name of a [`Key`] is its parts, joined by `/`. A [`Map`] and a [`Set`] own the keys that begin with such a name and
//! a `:`; the rest of the key is the member. A `/`, `:` or `%` within a part is written as `%2F`, `%3A` or `%25`. So the
//! first `:` of a key ends the name, no two names have a key in common, and a member may be any text.

use std::borrow::Borrow;
use std::marker::PhantomData;
use std::time::Duration;
use std::vec::IntoIter;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Fault, kv, log};

/// Most keys that the host returns in one page.
const PAGE: u32 = 200;
/// The value of a set's members. Not empty, so that it counts as true in every language.
const MEMBER: &[u8] = b"1";

/// A key whose value is a `T`, stored as JSON.
pub struct Key<T> {
    name: String,
    value: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Key<T> {
    /// The key with the name that has these parts, such as `["title", &room]`.
    #[must_use]
    pub fn new(name: &[&str]) -> Self {
        Self::named(join(name))
    }

    fn named(name: String) -> Self {
        Self {
            name,
            value: PhantomData,
        }
    }

    /// The key as [`kv`] takes it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value; none if the key is absent or has expired.
    ///
    /// # Errors
    /// As [`kv::get`]; `invalid` if the value is not a `T`.
    pub fn get(&self) -> Result<Option<T>, Fault> {
        kv::get(&self.name)?.map(|value| read(&self.name, &value)).transpose()
    }

    /// Sets the value.
    ///
    /// # Errors
    /// As [`kv::set`]; `invalid` if the value cannot be written as JSON.
    pub fn set<V: Serialize + ?Sized>(&self, value: &V) -> Result<(), Fault>
    where
        T: Borrow<V>,
    {
        kv::set(&self.name, &write(value)?, None)
    }

    /// Sets the value, which expires after this time, counted from the event's arrival.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn set_with_ttl<V: Serialize + ?Sized>(&self, value: &V, ttl: Duration) -> Result<(), Fault>
    where
        T: Borrow<V>,
    {
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        kv::set(&self.name, &write(value)?, Some(ttl))
    }

    /// Sets the value if the key is absent, and returns whether it did. This holds when the event is committed, at every
    /// isolation level.
    ///
    /// # Errors
    /// As [`kv::set_if_absent`]; `invalid` if the value cannot be written as JSON.
    pub fn set_if_absent<V: Serialize + ?Sized>(&self, value: &V) -> Result<bool, Fault>
    where
        T: Borrow<V>,
    {
        kv::set_if_absent(&self.name, &write(value)?, None)
    }

    /// Replaces the value by what `change` makes of it, and returns the new value, which does not expire. No change of
    /// another event is lost, at every isolation level. `change` may be called more than once.
    ///
    /// # Errors
    /// As [`kv::swap`]; `invalid` if the value is not a `T`, or cannot be written as JSON.
    pub fn update(&self, mut change: impl FnMut(Option<T>) -> T) -> Result<T, Fault> {
        loop {
            let before = kv::get(&self.name)?;
            let value = before.as_deref().map(|value| read(&self.name, value)).transpose()?;
            let after = change(value);
            // Another event can change the key between the two calls.
            if kv::swap(&self.name, before.as_deref(), &write(&after)?, None)? {
                return Ok(after);
            }
        }
    }

    /// Removes the key, if it exists.
    ///
    /// # Errors
    /// As [`kv::delete`].
    pub fn delete(&self) -> Result<(), Fault> {
        kv::delete(&self.name)
    }
}

impl Key<i64> {
    /// Adds to the number, where an absent one counts as 0, and returns the sum as this event sees it. Unlike
    /// [`update`](Key::update) it never runs an event again.
    ///
    /// # Errors
    /// As [`kv::increment`].
    pub fn increment(&self, by: i64) -> Result<i64, Fault> {
        kv::increment(&self.name, by)
    }
}

/// The keys below a name, each a member with a value, stored as JSON.
pub struct Map<T> {
    prefix: String,
    value: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Map<T> {
    /// The map with the name that has these parts, such as `["votes", &poll]`.
    #[must_use]
    pub fn new(name: &[&str]) -> Self {
        Self {
            prefix: join(name) + ":",
            value: PhantomData,
        }
    }

    /// The key of a member, to set it with a TTL, update it, or take it if it is absent.
    #[must_use]
    pub fn key(&self, member: &str) -> Key<T> {
        Key::named(format!("{}{member}", self.prefix))
    }

    /// The value of a member; none if there is no such member.
    ///
    /// # Errors
    /// As [`Key::get`].
    pub fn get(&self, member: &str) -> Result<Option<T>, Fault> {
        self.key(member).get()
    }

    /// Sets the value of a member.
    ///
    /// # Errors
    /// As [`Key::set`].
    pub fn insert<V: Serialize + ?Sized>(&self, member: &str, value: &V) -> Result<(), Fault>
    where
        T: Borrow<V>,
    {
        self.key(member).set(value)
    }

    /// Removes a member, and returns whether it was there.
    ///
    /// # Errors
    /// As [`kv::get`] and [`kv::delete`].
    pub fn remove(&self, member: &str) -> Result<bool, Fault> {
        let was_there = self.contains(member)?;
        if was_there {
            self.key(member).delete()?;
        }
        Ok(was_there)
    }

    /// Whether there is such a member.
    ///
    /// # Errors
    /// As [`kv::get`].
    pub fn contains(&self, member: &str) -> Result<bool, Fault> {
        Ok(kv::get(self.key(member).name())?.is_some())
    }

    /// The members with their values, in the order of the members' bytes. A page of up to 200 is read when it is needed.
    pub fn iter(&self) -> impl Iterator<Item = Result<(String, T), Fault>> + use<T> {
        Members::of(&self.prefix).map(|member| {
            let (member, value) = member?;
            let value = read(&member, &value)?;
            Ok((member, value))
        })
    }

    /// How many members there are. All of them are read.
    ///
    /// # Errors
    /// As [`kv::scan`].
    pub fn count(&self) -> Result<usize, Fault> {
        count(&self.prefix)
    }
}

/// The keys below a name, each a member.
pub struct Set {
    prefix: String,
}

impl Set {
    /// The set with the name that has these parts, such as `["guests", &room]`.
    #[must_use]
    pub fn new(name: &[&str]) -> Self {
        Self {
            prefix: join(name) + ":",
        }
    }

    fn key(&self, member: &str) -> String {
        format!("{}{member}", self.prefix)
    }

    /// Adds a member, and returns whether it is new. Of events that add the same member at once, one gets true, at every
    /// isolation level.
    ///
    /// # Errors
    /// As [`kv::set_if_absent`].
    pub fn insert(&self, member: &str) -> Result<bool, Fault> {
        kv::set_if_absent(&self.key(member), MEMBER, None)
    }

    /// Removes a member, and returns whether it was there.
    ///
    /// # Errors
    /// As [`kv::get`] and [`kv::delete`].
    pub fn remove(&self, member: &str) -> Result<bool, Fault> {
        let was_there = self.contains(member)?;
        if was_there {
            kv::delete(&self.key(member))?;
        }
        Ok(was_there)
    }

    /// Whether there is such a member.
    ///
    /// # Errors
    /// As [`kv::get`].
    pub fn contains(&self, member: &str) -> Result<bool, Fault> {
        Ok(kv::get(&self.key(member))?.is_some())
    }

    /// The members, in the order of their bytes. A page of up to 200 is read when it is needed.
    pub fn iter(&self) -> impl Iterator<Item = Result<String, Fault>> + use<> {
        Members::of(&self.prefix).map(|member| Ok(member?.0))
    }

    /// How many members there are. All of them are read.
    ///
    /// # Errors
    /// As [`kv::scan`].
    pub fn count(&self) -> Result<usize, Fault> {
        count(&self.prefix)
    }
}

/// The members below a prefix, with their stored values. Ends after an error.
struct Members {
    prefix: String,
    page: IntoIter<kv::Entry>,
    /// The key after which the next page begins.
    last: Option<String>,
    is_over: bool,
}

impl Members {
    fn of(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            page: Vec::new().into_iter(),
            last: None,
            is_over: false,
        }
    }

    fn next_entry(&mut self) -> Result<Option<kv::Entry>, Fault> {
        if let Some(entry) = self.page.next() {
            return Ok(Some(entry));
        }
        self.page = kv::scan(&self.prefix, self.last.as_deref(), PAGE)?.into_iter();
        self.last = self.page.as_slice().last().map(|entry| entry.key.clone());
        Ok(self.page.next())
    }
}

impl Iterator for Members {
    type Item = Result<(String, Vec<u8>), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let entry = self.next_entry().transpose();
        self.is_over = !matches!(entry, Some(Ok(_)));
        entry.map(|entry| {
            let kv::Entry { mut key, value } = entry?;
            Ok((key.split_off(self.prefix.len()), value))
        })
    }
}

fn count(prefix: &str) -> Result<usize, Fault> {
    Members::of(prefix).try_fold(0, |count, member| member.map(|_| count + 1))
}

/// The name that has these parts.
fn join(parts: &[&str]) -> String {
    let mut name = String::new();
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            name.push('/');
        }
        for letter in part.chars() {
            match letter {
                '%' => name.push_str("%25"),
                '/' => name.push_str("%2F"),
                ':' => name.push_str("%3A"),
                _ => name.push(letter),
            }
        }
    }
    name
}

fn write<V: Serialize + ?Sized>(value: &V) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(value).map_err(|error| Fault::Invalid(error.to_string()))
}

/// The value that a handler has stored. The log says what is wrong with one of another type; a client that gets the fault
/// learns nothing of the value.
fn read<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(value).map_err(|error| {
        log::write(
            log::Level::Error,
            &format!("the value of {key:?} is of another type: {error}"),
        );
        Fault::Invalid("a stored value is of another type".into())
    })
}
