//! Mistakes in what rules refer to: users, groups, lists, schedules.

use super::assert_mistake;

#[test]
fn mistakes_in_users_are_refused() {
    let user = |rest: &str| format!("[[user]]\nname = \"a\"\n{rest}\n");
    assert_mistake(
        &user("addresses = [\"10.0.0.1/8\"]"),
        "5:14: `addresses` in [[user]]: \"10.0.0.1/8\": the address has bits beyond its prefix: \
         write \"10.0.0.0/8\" or a longer prefix",
    );
    assert_mistake(
        &user("adresses = []"),
        "5:1: unknown key `adresses` in [[user]]: did you mean `addresses`?",
    );
    assert_mistake(
        &format!("{}{}", user(""), user("")),
        "7:8: `name` in [[user]]: there are two users \"a\": rename one",
    );
    assert_mistake(
        &user("file = \"a.txt\""),
        "5:8: `file` in [[user]]: \"a.txt\": a configuration that is no file itself can name none",
    );
    assert_mistake(
        "[identity]\nfiles = \"users.txt\"\n",
        "4:9: `files` in [identity]: expected a list of texts in quotes, found a text",
    );
    assert_mistake(
        "[identity]\nfile = \"users.txt\"\n",
        "4:1: unknown key `file` in [identity]: did you mean `files`?",
    );
}

#[test]
fn mistakes_in_groups_are_refused() {
    let group = |members: &str| format!("[[group]]\nname = \"a\"\nmembers = [{members}]\n");
    assert_mistake(
        &group("\"10.0.0.1/8\""),
        "5:12: `members` in [[group]]: \"10.0.0.1/8\": the address has bits beyond its prefix: \
         write \"10.0.0.0/8\" or a longer prefix",
    );
    assert_mistake(
        &group("\"alice\", \"10.0.0\""),
        "5:21: `members` in [[group]]: \"10.0.0\": expected an address or a CIDR such as \
         \"10.20.0.0/16\" or \"2001:db8::/32\"",
    );
    assert_mistake(
        &group("\"\""),
        "5:12: `members` in [[group]]: \"\": expected one line of at most 200 bytes",
    );
    assert_mistake(
        &group("\"group:b\""),
        "5:12: `members` in [[group]]: \"group:b\": there is no group \"b\": write a [[group]] of \
         that name",
    );
    assert_mistake(
        &group("\"group:a\""),
        "5:11: `members` in [[group]]: the group is a member of itself: take one of the \"group:\" \
         members out",
    );
    assert_mistake(
        &format!("{}{}", group(""), group("")),
        "7:8: `name` in [[group]]: there are two groups \"a\": rename one",
    );
    assert_mistake(
        "[[group]]\nname = \"a\"\nfiles = [\"a.txt\"]\n",
        "5:10: `files` in [[group]]: \"a.txt\": a configuration that is no file itself can name \
         none",
    );
    assert_mistake(
        "[[group]]\nmembers = []\n",
        "3:1: `name` is missing in [[group]]: give it a name, which logs and metrics will show",
    );
}

#[test]
fn mistakes_in_lists_are_refused() {
    let list = |rest: &str| format!("[[list]]\nname = \"a\"\n{rest}\n");
    assert_mistake(
        &list(""),
        "3:1: `kind` is missing in [[list]]: write \"domains\", \"addresses\" or \"urls\"",
    );
    assert_mistake(
        &list("kind = \"domain\""),
        "5:8: `kind` in [[list]]: \"domain\": expected one of \"domains\", \"addresses\", \
         \"urls\": did you mean \"domains\"?",
    );
    assert_mistake(
        &list("kind = \"domains\"\nentries = [\"a.example\", \"a b\"]"),
        "6:25: `entries` in [[list]]: \"a b\": expected a server name such as \
         \"www.example.com\", \"*.example.com\" or \".example.com\"",
    );
    assert_mistake(
        &list("kind = \"addresses\"\nentries = [\"10.0.0.1/8\"]"),
        "6:12: `entries` in [[list]]: \"10.0.0.1/8\": the address has bits beyond its prefix: \
         write \"10.0.0.0/8\" or a longer prefix",
    );
    assert_mistake(
        &list("kind = \"urls\"\nentries = [\"ftp://a.example\"]"),
        "6:12: `entries` in [[list]]: \"ftp://a.example\": expected http:// or https://, or no \
         scheme at all",
    );
    assert_mistake(
        &list("kind = \"urls\"\nentries = [1]"),
        "6:12: `entries` in [[list]]: expected a text in quotes, found the number 1",
    );
    assert_mistake(
        &list("kind = \"urls\"\nfile = \"a.txt\""),
        "6:1: unknown key `file` in [[list]]: did you mean `files`?",
    );
    assert_mistake(
        &list("kind = \"urls\"\nfiles = [\"a.txt\"]"),
        "6:10: `files` in [[list]]: \"a.txt\": a configuration that is no file itself can name \
         none",
    );
    let whole = list("kind = \"urls\"");
    assert_mistake(
        &format!("{whole}{whole}"),
        "7:8: `name` in [[list]]: there are two lists \"a\": rename one",
    );
}

#[test]
fn mistakes_in_schedules_are_refused() {
    let schedule = |rest: &str| format!("[[schedule]]\nname = \"a\"\n{rest}\n");
    let times = "expected two times of the day from \"00:00\" to \"24:00\", as in \
                 \"08:00-18:00\"";
    let dates = "expected a date such as \"2027-01-01\" or dates such as \
                 \"2026-12-24..2026-12-26\"";
    for (key, value, message) in [
        (
            "days",
            "mon-friday",
            "expected a day such as \"mon\" or days such as \"mon-fri\": did you mean \"fri\"?",
        ),
        (
            "days",
            "weekend",
            "expected a day such as \"mon\" or days such as \"mon-fri\"",
        ),
        ("times", "8-18", times),
        ("times", "24:00-08:00", times),
        ("times", "08:00-24:01", times),
        (
            "times",
            "08:00-08:00",
            "the range ends where it begins: for the whole day write \"00:00-24:00\"",
        ),
        ("dates", "2026-02-30", dates),
        ("dates", "2026-12-24T00:00", dates),
        (
            "dates",
            "2026-12-26..2026-12-24",
            "the range ends before it begins: write \"2026-12-24..2026-12-26\"",
        ),
    ] {
        let column = key.len() + 5;
        assert_mistake(
            &schedule(&format!("{key} = [\"{value}\"]")),
            &format!("5:{column}: `{key}` in [[schedule]]: \"{value}\": {message}"),
        );
    }
    assert_mistake(
        &schedule("zone = \"Europe/Berln\""),
        "5:8: `zone` in [[schedule]]: \"Europe/Berln\": expected the name of a time zone such as \
         \"Europe/Berlin\" or \"UTC\": did you mean \"Europe/Berlin\"?",
    );
    assert_mistake(
        &schedule("zone = \"Mars\""),
        "5:8: `zone` in [[schedule]]: \"Mars\": expected the name of a time zone such as \
         \"Europe/Berlin\" or \"UTC\"",
    );
    assert_mistake(
        &schedule("days = []"),
        "5:8: `days` in [[schedule]]: an empty list never holds: write a value, or take the key out",
    );
    assert_mistake(
        &schedule("time = []"),
        "5:1: unknown key `time` in [[schedule]]: did you mean `times`?",
    );
    let whole = schedule("");
    assert_mistake(
        &format!("{whole}{whole}"),
        "7:8: `name` in [[schedule]]: there are two schedules \"a\": rename one",
    );
}

#[test]
fn a_configuration_that_is_no_file_names_no_candidate() {
    assert_mistake(
        "[policy]\nshadow = \"a.toml\"\n",
        "4:10: `shadow` in [policy]: \"a.toml\": a configuration that is no file itself can name \
         none",
    );
}
