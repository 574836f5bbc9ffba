//! How the identity providers fare, for `sluice status`.

use serde_json::{Value, json};

use crate::ask::AskError;
use crate::identity::providers::{State, Status};

/// What the daemon says of them.
type Told = Result<Vec<Status>, AskError>;

/// For machines.
pub(super) fn machine(told: &Told) -> Value {
    match told {
        Ok(all) => json!(all),
        Err(why) => json!({ "error": why.to_string() }),
    }
}

/// For people: nothing where there are none, or where nobody answers, which is said already.
pub(super) fn human(told: &Told) -> String {
    let Ok(all) = told else {
        return String::new();
    };
    let mut text = String::new();
    for one in all {
        text.push_str(if text.is_empty() { "\n" } else { "" });
        let state = match (one.state, &one.why) {
            (State::Untried, _) => "nobody has asked yet".to_owned(),
            (State::Up, _) => "up".to_owned(),
            (State::Down, None) => "DOWN".to_owned(),
            (State::Down, Some(why)) => format!("DOWN: {why}"),
        };
        let users = one
            .users
            .map_or_else(String::new, |users| format!(", {users} users"));
        text.push_str(&format!(
            "provider    \"{}\", {}{users}: {state}; {} right, {} as remembered, {} wrong, {} not \
             answered\n",
            one.name, one.kind, one.ok, one.cached, one.refused, one.unavailable,
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told {
        let one = |name: &str, state, why: Option<&str>| Status {
            name: name.to_owned(),
            kind: "ldap".to_owned(),
            state,
            since: Some(1_700_000_000),
            why: why.map(str::to_owned),
            users: None,
            remembered: 4,
            ok: 7,
            cached: 20,
            refused: 2,
            unavailable: 1,
        };
        Ok(vec![
            one("corp", State::Down, Some("connection refused")),
            Status {
                users: Some(2),
                kind: "htpasswd".to_owned(),
                ..one("staff", State::Up, None)
            },
        ])
    }

    #[test]
    fn people_see_which_provider_is_down_and_why() {
        assert_eq!(
            human(&told()),
            "\nprovider    \"corp\", ldap: DOWN: connection refused; 7 right, 20 as remembered, 2 \
             wrong, 1 not answered\nprovider    \"staff\", htpasswd, 2 users: up; 7 right, 20 as \
             remembered, 2 wrong, 1 not answered\n"
        );
        assert_eq!(human(&Ok(Vec::new())), "");
        assert_eq!(human(&Err(AskError::Nowhere)), "");
    }

    #[test]
    fn machines_see_everything() {
        let all = machine(&told());
        assert_eq!(all[0]["state"], "down");
        assert_eq!(all[0]["why"], "connection refused");
        assert_eq!(all[1]["users"], 2);
        assert_eq!(all[1]["remembered"], 4);
        assert!(machine(&Err(AskError::Nowhere))["error"].is_string());
    }
}
