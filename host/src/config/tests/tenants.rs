//! The tables of tenants, in the file and as documents of the admin API.

use serde_json::json;

use super::*;

fn granted(tenant: &TenantConfig) -> Vec<String> {
    tenant.grants.http.iter().map(ToString::to_string).collect()
}

#[test]
fn a_tenant_has_the_grants_of_its_own_table_and_no_others() {
    let config = file("[grants]\nhttp = [\"of.all\"]\n[tenants.acme.grants]\nhttp = [\"of.acme\"]\n[tenants.globex]\n")
        .load()
        .unwrap();
    assert_eq!(granted(&config.tenants[0]), ["https://of.acme"]);
    assert!(granted(&config.tenants[1]).is_empty());
    let error = only_error("[tenants.acme.grants]\nhttp = [\"*\"]\n");
    assert_eq!(error.key, "tenants.acme.grants.http");
}

#[test]
fn a_document_of_the_admin_api_may_grant_servers() {
    let defaults = TenantDefaults::default();
    let tenant = defaults
        .read("acme", &json!({ "grants": { "http": ["api.example.org"] } }))
        .unwrap();
    assert_eq!(granted(&tenant), ["https://api.example.org"]);
    let errors = defaults.read("acme", &json!({ "grant": {} })).unwrap_err();
    assert!(errors.to_string().contains("grants"), "the help lists it: {errors}");
}
