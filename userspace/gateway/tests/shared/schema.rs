//! The schema of access records, for every test that has some.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;
use sluice_gateway::daemon::records::SCHEMA;

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(SCHEMA).unwrap();
    jsonschema::validator_for(&schema).unwrap()
});

/// Fails where a record is none.
#[track_caller]
pub(crate) fn assert_follows(record: &Value) {
    if let Err(fault) = VALIDATOR.validate(record) {
        panic!("{fault}, at {}: {record}", fault.instance_path());
    }
}
