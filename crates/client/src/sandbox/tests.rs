//! Tests of the policy and of its errors; the process-level tests are in `tests/isolation`.

use super::*;

#[test]
fn a_policy_is_read_from_json_as_it_was_written() {
    let policy =
        Policy { level: Level::Require, readable: vec!["/a".into()], memory_limit: Some(1 << 40), ..Policy::default() };
    let text = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy, "{text}");
    assert_eq!(serde_json::from_str::<Policy>("{}").unwrap(), Policy::default());
}

#[test]
fn each_missing_mechanism_is_named() {
    let missing = MissingIsolation(vec!["Landlock (a reason)".into(), "seccomp (another)".into()]);
    let expected = "isolation is required, but is missing here: Landlock (a reason); seccomp (another); --isolation auto continues without";
    assert_eq!(missing.to_string(), expected);
}

#[test]
fn the_level_off_enforces_nothing() {
    let policy = Policy { level: Level::Off, ..Policy::default() };
    assert_eq!(lock_in(&policy), Ok(InForce { level: Level::Off, ..InForce::default() }));
}
