//! What a setting is: a field that is declared once, in the module that reads it.
//!
//! `settings!` declares a struct of settings, each a field with its default, what it accepts (a [`ValueKind`]) and its
//! description; the field's name is the key. All that concerns a setting comes from there: reading a file
//! ([`Reader`]), messages about it, the commented defaults, the JSON Schema, and the variable that sets it. The code
//! that obeys the settings holds the declared struct itself, so there is no second list of fields to keep in step.
//!
//! A struct belongs to the whole server or to each tenant ([`Scope`]). One table of the file may hold the settings of
//! several structs: `[limits]` has those of sockets, of transports and of a tenant's clients.

mod error;
mod kinds;
mod numbers;
mod reader;

pub use error::{ConfigError, ConfigErrors, Errors};
pub use kinds::{
    Choice, Directory, NonEmptyText, Secret, Switch, Syntax, Texts, ValueKind, WithoutDefault, optional, pattern,
    required, text,
};
pub use numbers::{Count, GIB, KIB, MIB, Port, Size, Time, format_size, format_time, hours, millis, secs};
pub use reader::{Reader, Source, nearest, suggestion};

pub use toml::Value;

use serde_json::Value as Json;

/// Whom a struct of settings concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The whole server: one value serves all tenants.
    Server,
    /// Each tenant: the file's top level has the default tenant's values, and a tenant's table may have others.
    Tenant,
}

/// One setting as data: what messages, the commented defaults, the schema and the environment say of it.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The table that holds it.
    pub table: &'static str,
    /// Its key in that table.
    pub name: &'static str,
    /// Whom it concerns.
    pub scope: Scope,
    /// What it is, in lines that begin with a space, as in the source.
    pub doc: &'static [&'static str],
    /// Its default, when it has one.
    pub default: Option<Value>,
    /// Whether it must be there.
    pub is_required: bool,
    /// Which values it takes, in words that follow "allowed: ".
    pub allowed: String,
    /// Which values it takes, as JSON Schema.
    pub schema: Json,
    /// How a variable of the environment writes it.
    pub syntax: Syntax,
    /// Whether it may hold a password.
    pub is_secret: bool,
}

impl Setting {
    /// Describes a setting by its kind; `settings!` calls this.
    pub fn of<T, K: ValueKind<T>>(
        (table, scope): (&'static str, Scope),
        name: &'static str,
        doc: &'static [&'static str],
        default: &T,
        kind: &K,
    ) -> Self {
        Self {
            table,
            name,
            scope,
            doc,
            default: kind.show(default),
            is_required: kind.is_required(),
            allowed: kind.allowed(),
            schema: kind.schema(),
            syntax: kind.syntax(),
            is_secret: kind.is_secret(),
        }
    }

    /// Table and key: `sandbox.guest_time`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}.{}", self.table, self.name)
    }

    /// The variable of the environment that sets it: `PARLANCE_SANDBOX_GUEST_TIME`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("PARLANCE_{}_{}", self.table, self.name).to_uppercase()
    }

    /// What it is, as one paragraph.
    #[must_use]
    pub fn description(&self) -> String {
        self.doc.concat().trim().to_owned()
    }

    /// The schema of its value, with its description and default. The description ends with `more`.
    #[must_use]
    pub fn json_schema(&self, more: &str) -> Json {
        let mut schema = self.schema.as_object().cloned().unwrap_or_default();
        let description = format!("{}\n\nAllowed: {}.{more}", self.description(), self.allowed);
        schema.insert("description".to_owned(), description.into());
        if let Some(default) = self
            .default
            .as_ref()
            .and_then(|default| serde_json::to_value(default).ok())
        {
            schema.insert("default".to_owned(), default);
        }
        Json::Object(schema)
    }
}

/// A struct of settings, which `settings!` declares.
pub trait Settings: Sized + Default {
    /// The table that holds them.
    const TABLE: &'static str;
    /// Whom they concern.
    const SCOPE: Scope;
    /// What they are about, in lines that begin with a space.
    const ABOUT: &'static [&'static str];
    /// The settings, in the order of their declaration.
    fn settings() -> Vec<Setting>;
    /// Reads every setting, reporting each that is wrong; `None` when one was.
    fn read(reader: &mut Reader<'_, '_>) -> Option<Self>;
}

/// Declares a struct of settings: `pub struct NAME of the server in "TABLE"`, or `of each tenant in "TABLE"`. Each
/// field is `key: Type = default, kind;` below its description.
#[macro_export]
macro_rules! declare_settings {
    (
        $(#[doc = $about:literal])+
        $(#[derive($($derived:path),+)])?
        $vis:vis struct $name:ident of $article:ident $whom:ident in $table:literal {
            $( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr, $kind:expr; )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, $($($derived),+)?)]
        $vis struct $name {
            $(
                $(#[doc = $doc])+
                #[doc = ""]
                #[doc = concat!("Default: `", stringify!($default), "`; allowed: `", stringify!($kind), "`.")]
                pub $field: $type,
            )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl $crate::settings::Settings for $name {
            const TABLE: &'static str = $table;
            const SCOPE: $crate::settings::Scope = $crate::settings::settings!(@scope $article $whom);
            const ABOUT: &'static [&'static str] = &[$($about),+];

            fn settings() -> Vec<$crate::settings::Setting> {
                let at = (Self::TABLE, Self::SCOPE);
                let defaults = Self::default();
                vec![$(
                    $crate::settings::Setting::of(at, stringify!($field), &[$($doc),+], &defaults.$field, &$kind)
                ),+]
            }

            fn read(reader: &mut $crate::settings::Reader<'_, '_>) -> Option<Self> {
                let defaults = Self::default();
                $( let $field = reader.setting(stringify!($field), defaults.$field, &$kind); )+
                Some(Self { $( $field: $field?, )+ })
            }
        }
    };
    (@scope the server) => { $crate::settings::Scope::Server };
    (@scope each tenant) => { $crate::settings::Scope::Tenant };
}
pub use declare_settings as settings;
