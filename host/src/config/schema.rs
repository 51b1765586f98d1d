//! The JSON Schema (draft 2020-12) of the file, for editors: made from the declarations that the reader uses.

use serde_json::{Map, Value as Json, json};

use super::custom_handlers::{CustomHandlerTable, EVENTS};
use super::environment::VARIABLES;
use super::handlers::HANDLERS;
use super::tables::{Declaration, declaration, declarations};
use super::{admin, auth, handlers, tenants};
use parlance_types::auth::JwksRules;
use parlance_types::settings::{Scope, Setting};

/// The schema of a configuration file.
#[must_use]
pub fn schema() -> Json {
    let mut tables = tables(Scope::Server);
    let tokens = list(
        "Who may use the admin API.",
        &[declaration::<admin::TokenTable>()],
        &admin::TOKEN_IS,
    );
    let admin = object("The admin API.", Map::from_iter([(admin::TOKENS.to_owned(), tokens)]));
    tables.insert(admin::TABLE.to_owned(), admin);
    let tenants = json!({
        "type": "object",
        "description": "Further tenants, each with a table of its own.",
        "propertyNames": { "pattern": "^[a-z0-9][a-z0-9-]*$", "not": { "const": parlance_types::id::DEFAULT_TENANT } },
        "additionalProperties": object(
            "A tenant. What it does not set of limits, clients, sandbox and quota is as at the top level.",
            self::tables(Scope::Tenant),
        ),
    });
    tables.insert(tenants::TABLE.to_owned(), tenants);
    let mut schema = object(
        "The configuration of Parlance. A file needs only what it changes.",
        tables,
    );
    if let Some(schema) = schema.as_object_mut() {
        schema.insert(
            "$schema".to_owned(),
            "https://json-schema.org/draft/2020-12/schema".into(),
        );
        schema.insert("title".to_owned(), "parlance.toml".into());
    }
    schema
}

/// The tables of the file, or of a tenant, which has only the settings of tenants.
fn tables(scope: Scope) -> Map<String, Json> {
    let mut tables: Map<String, Json> = Map::new();
    let is_here = |declaration: &Declaration| scope == Scope::Server || declaration.scope == Scope::Tenant;
    for declaration in declarations().iter().filter(|declaration| is_here(declaration)) {
        let table = tables
            .entry(declaration.table)
            .or_insert_with(|| object("", Map::new()));
        if let Some(properties) = table.get_mut("properties").and_then(Json::as_object_mut) {
            properties.extend(declaration.settings.iter().map(|setting| property(setting, scope)));
        }
        if let Some(Json::String(description)) = table.get_mut("description") {
            *description = format!("{description}{}", declaration.about.concat()).trim().to_owned();
        }
    }
    let keys = list(
        "The keys that verify tokens.",
        &[declaration::<auth::KeyTable>()],
        &auth::KEY_IS,
    );
    let sets = [declaration::<auth::JwksPlace>(), declaration::<JwksRules>()];
    let jwks = list("Published key sets (RFC 7517).", &sets, &auth::JWKS_IS);
    let lists = [(auth::KEYS.to_owned(), keys), (auth::JWKS.to_owned(), jwks)];
    let table = tables
        .get_mut(auth::TABLE)
        .and_then(|table| table.get_mut("properties"));
    if let Some(properties) = table.and_then(Json::as_object_mut) {
        properties.extend(lists);
    }
    let all = HANDLERS
        .iter()
        .map(|handler| (handler.name.to_owned(), self::handler(handler)));
    let mut handlers = object("Which component handles what.", all.collect());
    if let Some(handlers) = handlers.as_object_mut() {
        handlers.insert("additionalProperties".to_owned(), custom_handler());
        let name = json!({ "anyOf": [{ "pattern": "^[a-z0-9][a-z0-9-]*$" }, { "const": "server_event" }] });
        handlers.insert("propertyNames".to_owned(), name);
    }
    tables.insert(handlers::TABLE.to_owned(), handlers);
    tables
}

/// A handler of custom events.
fn custom_handler() -> Json {
    let mut keys = handler_keys();
    keys.extend(entries(&declaration::<CustomHandlerTable>()));
    let about = "What happens at the custom events with these names. [handlers.event] has those of all other names.";
    let mut handler = object(about, keys);
    if let Some(handler) = handler.as_object_mut() {
        handler.insert("required".to_owned(), json!(["component", EVENTS]));
    }
    handler
}

fn handler(doc: &handlers::HandlerDoc) -> Json {
    let mut keys = handler_keys();
    if let Some(component) = keys.get_mut("component").and_then(Json::as_object_mut) {
        component.insert("default".to_owned(), doc.default.into());
    }
    object(doc.doc.trim(), keys)
}

/// The keys that all handlers have.
fn handler_keys() -> Map<String, Json> {
    let mut keys: Map<String, Json> = entries(&declaration::<handlers::HandlerTable>()).collect();
    let settings = json!({
        "type": "object",
        "description": "What the component can read.",
        "additionalProperties": { "type": "string" },
    });
    keys.insert(handlers::SETTINGS.to_owned(), settings);
    keys
}

/// A list of tables with the keys of these structs; exactly one of the keys in `one_of` must be there.
fn list(description: &str, declarations: &[Declaration], one_of: &[&str]) -> Json {
    let mut item = object("", declarations.iter().flat_map(entries).collect());
    let settings = declarations.iter().flat_map(|declaration| &declaration.settings);
    let required: Vec<_> = settings
        .filter(|setting| setting.is_required)
        .map(|setting| setting.name)
        .collect();
    let one_of: Vec<_> = one_of.iter().map(|key| json!({ "required": [key] })).collect();
    if let Some(item) = item.as_object_mut() {
        item.remove("description");
        item.insert("required".to_owned(), required.into());
        item.insert("oneOf".to_owned(), one_of.into());
    }
    json!({ "type": "array", "description": description, "items": item })
}

fn entries(declaration: &Declaration) -> impl Iterator<Item = (String, Json)> {
    let entry = |setting: &Setting| (setting.name.to_owned(), setting.json_schema(""));
    declaration.settings.iter().map(entry)
}

/// A setting with the names of its variables, where it has any: a tenant's has none.
fn property(setting: &Setting, scope: Scope) -> (String, Json) {
    let more = match scope {
        Scope::Tenant => String::new(),
        Scope::Server => format!(" Environment: {}.", variables(setting).join(", ")),
    };
    (setting.name.to_owned(), setting.json_schema(&more))
}

/// The variables that set it, the one that counts first.
fn variables(setting: &Setting) -> Vec<String> {
    let path = setting.path();
    let usual = VARIABLES.iter().filter(|variable| variable.key == Some(&*path));
    let names = usual
        .map(|variable| variable.name.to_owned())
        .chain([setting.variable()]);
    let with_file = |name: String| {
        let file = setting.is_secret.then(|| format!("{name}_FILE"));
        [Some(name), file]
    };
    names.flat_map(with_file).flatten().collect()
}

/// A table that holds these keys and no others.
fn object(description: &str, properties: Map<String, Json>) -> Json {
    json!({
        "type": "object",
        "description": description,
        "additionalProperties": false,
        "properties": properties,
    })
}
