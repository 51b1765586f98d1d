//! On which line of the file each key is, for messages.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

/// The line of each key and of each item of a list, by path; nothing for a text that is not TOML.
pub(super) fn lines(text: &str) -> BTreeMap<String, usize> {
    let mut lines = Lines {
        text,
        found: BTreeMap::new(),
    };
    if let Ok(table) = DeTable::parse(text) {
        lines.of_table("", table.get_ref());
    }
    lines.found
}

struct Lines<'t> {
    text: &'t str,
    found: BTreeMap<String, usize>,
}

impl Lines<'_> {
    fn of_table(&mut self, path: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = key.get_ref();
            let at = if path.is_empty() {
                name.to_string()
            } else {
                format!("{path}.{name}")
            };
            self.add(&at, key.span().start);
            self.of_value(&at, value.get_ref());
        }
    }

    fn of_value(&mut self, path: &str, value: &DeValue<'_>) {
        match value {
            DeValue::Table(table) => self.of_table(path, table),
            DeValue::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    let at = format!("{path}[{n}]");
                    self.add(&at, item.span().start);
                    self.of_value(&at, item.get_ref());
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, path: &str, offset: usize) {
        let before = self.text.get(..offset).unwrap_or_default();
        self.found.insert(path.to_owned(), before.matches('\n').count() + 1);
    }
}
