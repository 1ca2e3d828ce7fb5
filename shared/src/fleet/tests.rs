//! Tables: what a file says → what is understood, or the complaint.

use std::{path::Path, time::Duration};

use super::*;

fn parse(text: &str) -> Result<FleetFile, String> {
    FleetFile::parse(text, Path::new("/etc/night.toml")).map_err(|error| error.to_string())
}

/// Enough of a file for what is looked at.
fn with(more: &str) -> Result<FleetFile, String> {
    parse(&format!(
        "pack = \"pack\"\n{more}\n[[members]]\ndatabases = [\"a\"]\n"
    ))
}

#[test]
fn the_sample_is_understood() {
    let text = include_str!("../../../deploy/samples/fleet.toml");
    let fleet = FleetFile::parse(text, Path::new("deploy/samples/fleet.toml")).unwrap();
    assert_eq!(fleet.name, "night");
    assert_eq!(fleet.pack, Path::new("deploy/samples/openupgrade-18"));
    assert_eq!(fleet.members.len(), 4);
    let waves: Vec<_> = fleet
        .waves
        .iter()
        .map(|wave| (wave.name.as_str(), wave.take))
        .collect();
    let expected = [
        ("canary", Share::Count(3)),
        ("some", Share::Part(500)),
        ("more", Share::Part(2_500)),
        ("rest", Share::Rest),
    ];
    assert_eq!(waves, expected);
    assert!(fleet.waves[0].approval && !fleet.waves[3].approval);
    assert_eq!(fleet.waves[0].on_failure.stop_after, StopAfter::Failed(1));
    assert_eq!(fleet.waves[3].on_failure.stop_after, StopAfter::Part(200));
    assert_eq!(fleet.waves[3].on_failure.then, Then::RollBack);
    assert_eq!(
        fleet.hooks.before.unwrap().timeout,
        Duration::from_secs(120)
    );
    let window = fleet.window.unwrap();
    assert_eq!(
        (window.from, window.to, window.utc_offset),
        (22 * 3_600, 5 * 3_600, 60)
    );
    // As it is stored, it is the same.
    let fleet = FleetFile::parse(text, Path::new("deploy/samples/fleet.toml")).unwrap();
    let stored = serde_json::to_string(&fleet).unwrap();
    assert_eq!(serde_json::from_str::<FleetFile>(&stored).unwrap(), fleet);
}

#[test]
fn little_is_needed() {
    let fleet = with("").unwrap();
    assert_eq!(fleet.name, "night");
    assert_eq!(fleet.pack, Path::new("/etc/pack"));
    let one = MemberName::from("a".to_owned());
    assert_eq!(fleet.members[0].source, MembersSource::Listed(vec![one]));
    assert_eq!(fleet.waves, [Wave::rest("all")]);
    assert_eq!(fleet.order, Order::LargeFirst);
    assert_eq!(fleet.commit, CommitPolicy::ByHand);
    assert_eq!(fleet.caps.in_all(), Caps::DATABASES);
}

#[test]
fn names_of_members_are_read_as_they_are_written() {
    for (text, entry, database) in [
        ("erp", "erp", None),
        ("db1/erp", "db1", Some("erp")),
        ("db1/a/b \"c\"", "db1", Some("a/b \"c\"")),
    ] {
        let name = MemberName::from(text.to_owned());
        assert_eq!(
            (name.entry.as_str(), name.database.as_deref()),
            (entry, database)
        );
        assert_eq!(name.to_string(), text);
    }
}

#[test]
fn caps_of_a_server_go_by_its_name_and_by_its_entry() {
    let fleet = with(
        "[caps]\nmax_databases_per_server = 8\nservers = { db1 = 4, \"10.0.0.1:5432\" = 2 }\n",
    );
    let caps = fleet.unwrap().caps;
    assert_eq!(caps.of_server("10.0.0.1:5432", "db1"), 2);
    assert_eq!(caps.of_server("10.0.0.2:5432", "db1"), 4);
    assert_eq!(caps.of_server("10.0.0.2:5432", "db2"), 8);
}

#[test]
fn a_list_of_members_is_read_line_by_line() {
    let path = Path::new("tenants.txt");
    let text = "# all of them\ndb1/a\n\ndb2/b c\ttier=gold\tregion=eu\n";
    let members = parse_members_file(text, path, None).unwrap();
    assert_eq!(members[0], (MemberName::on("db1", "a"), Labels::new()));
    assert_eq!(members[1].0, MemberName::on("db2", "b c"));
    assert_eq!(members[1].1["region"], "eu");
    let members = parse_members_file("a/b\n", path, Some("db1")).unwrap();
    assert_eq!(members[0].0, MemberName::on("db1", "a/b"));
    for (text, expected) in [
        (
            "db1/a\n\tx=y\n",
            "a line begins with the name of a database\n  --> tenants.txt:2",
        ),
        (
            "db1/\n",
            "write ENTRY/DATABASE: neither is empty\n  --> tenants.txt:1",
        ),
        (
            "db1/a\tgold\n",
            "write labels as name=value, apart by tabs\n  --> tenants.txt:1",
        ),
    ] {
        let error = parse_members_file(text, path, None)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

/// The message, and line and column.
fn complaint(text: &str) -> (String, String) {
    let error = match parse(text) {
        Err(error) => error,
        Ok(fleet) => panic!("{text} was understood: {fleet:?}"),
    };
    let mut lines = error.lines();
    let message = lines.next().unwrap_or_default().to_owned();
    let place = lines.next().unwrap_or_default();
    let place = place
        .trim_start()
        .strip_prefix("--> /etc/night.toml:")
        .unwrap_or(place);
    (message, place.to_owned())
}

#[test]
fn what_a_file_lacks_is_said() {
    for (text, message) in [
        ("", "a fleet has a pack: write pack = \"FOLDER\""),
        (
            "pack = \"p\"",
            "a fleet has members: write [[members]] with databases, servers and like, query, or file",
        ),
        (
            "pack = \"p\"\nmembers = []",
            "expected an array: [[members]]",
        ),
    ] {
        assert_eq!(complaint(text).0, message);
    }
}

/// What stands in the line behind `pack`, the complaint, and its column.
const BAD_LINES: &[(&str, &str, u32)] = &[
    (
        "wave = 1",
        "unknown key \"wave\" (did you mean \"waves\"?)",
        1,
    ),
    (
        "name = \"a b\"",
        "expected 1 to 64 letters, digits, - and _",
        8,
    ),
    (
        "name = \"\"",
        "expected 1 to 64 letters, digits, - and _",
        8,
    ),
    (
        "order = \"big_first\"",
        "expected one of large_first, small_first, by_name",
        9,
    ),
    (
        "commit = 1",
        "expected one of after_run, after_wave, by_hand",
        10,
    ),
    ("approval = \"yes\"", "expected true or false", 12),
    (
        "exclude = [\"\"]",
        "expected a string that is not empty",
        12,
    ),
    (
        "caps = { max_databases = 0 }",
        "expected a number from 1 to 1000000",
        26,
    ),
    (
        "caps = { max_database = 1 }",
        "unknown key \"max_database\" (did you mean \"max_databases\"?)",
        10,
    ),
    (
        "on_failure = { stop_after = \"101 %\" }",
        "expected a part: \"5 %\", \"0.5 %\", at most \"100 %\"",
        29,
    ),
    (
        "on_failure = { stop_after = \"soon\" }",
        "expected a number of failed databases, \"5 %\" of those of the wave, or \"never\"",
        29,
    ),
    (
        "on_failure = { then = \"cry\" }",
        "expected one of leave, roll_back",
        23,
    ),
    (
        "window = { from = \"22:00\" }",
        "a window has from = \"22:00\" and to = \"05:00\"",
        10,
    ),
    (
        "window = { from = \"24:00\", to = \"5:00\" }",
        "expected a time of day: \"22:00\", \"22:00:30\"",
        19,
    ),
    (
        "window = { from = \"22:00\", to = \"05:00\", days = [\"someday\"] }",
        "expected a day: \"saturday\" or \"sat\"",
        50,
    ),
    (
        "window = { from = \"22:00\", to = \"05:00\", utc_offset = \"CET\" }",
        "expected the distance to UTC: \"+01:00\", \"-05:00\"",
        55,
    ),
    (
        "hooks = { before = { command = \"stop\" } }",
        "expected an array: [\"program\", \"argument\", …]",
        32,
    ),
    (
        "hooks = { before = { timeout = \"5s\" } }",
        "a hook has command = [\"program\", \"argument\", …]",
        20,
    ),
    (
        "hooks = { after = { command = [\"x\"], timeout = \"0s\" } }",
        "a hook has a timeout that is not zero",
        19,
    ),
    (
        "hooks = { after = { command = [\"sh\", \"-ec\", \"stop {database}\"] } }",
        "{database} in a script would be read as a part of it, whatever it holds: write \
         \"$UPSHIFT_DATABASE\" there",
        31,
    ),
    (
        "hooks = { after = { command = [\"/bin/bash\", \"-c\", \"{outcome}\"] } }",
        "{outcome} in a script would be read as a part of it, whatever it holds: write \
         \"$UPSHIFT_OUTCOME\" there",
        31,
    ),
    (
        "patience = \"0s\"",
        "a database that is away is waited for, if only for a second: patience = \"90s\"",
        12,
    ),
    (
        "hooks = { after = { command = [\"x\", \"{databse}\"] } }",
        "{databse} stands for nothing: did you mean \"database\"?",
        31,
    ),
    (
        "waves = [{ take = \"half\" }]",
        "expected a number, \"5 %\" or \"rest\"",
        19,
    ),
    (
        "waves = [{ take = \"0 %\" }]",
        "expected a part: \"5 %\", \"0.5 %\", at most \"100 %\"",
        19,
    ),
    (
        "waves = [{ take = 3 }]",
        "the last wave takes the rest, so that every database has its place: write one more \
             [[waves]] with take = \"rest\", and exclude what is to be left alone",
        10,
    ),
    (
        "waves = [{ take = \"rest\" }, { take = 3 }]",
        "nothing is left for this wave: the one before takes all the rest",
        29,
    ),
    (
        "waves = [{ name = \"a\", take = 3 }, { name = \"a\" }]",
        "there are two waves \"a\": name them apart",
        36,
    ),
    (
        "labels = [{ match = \"a*\" }]",
        "[[labels]] has match = [\"PATTERN\"] and set = { … }",
        11,
    ),
];

#[test]
fn what_a_file_should_not_hold_is_said_with_its_place() {
    for (line, message, column) in BAD_LINES {
        let text = format!("pack = \"p\"\n{line}\n[[members]]\ndatabases = [\"a\"]\n");
        let expected = ((*message).to_owned(), format!("2:{column}"));
        assert_eq!(complaint(&text), expected, "{line}");
    }
}

#[test]
fn members_are_found_in_one_way() {
    let one_way = "members are found in one way: databases, or servers and like, or server and \
                   query, or file; write one more [[members]] for another";
    for (members, message) in [
        ("databases = [\"a\"], query = \"SELECT\"", one_way),
        ("server = \"db1\"", one_way),
        ("servers = [\"db1\"], file = \"f\"", one_way),
        (
            "like = \"a*\"",
            "like needs servers: entries of upshift.toml whose databases are looked through",
        ),
        (
            "query = \"SELECT 1\"",
            "query needs server: the entry of upshift.toml that is asked",
        ),
        (
            "server = \"postgres://u:p@h/d\", query = \"SELECT 1\"",
            "a server is the NAME of an entry [databases.NAME] of upshift.toml",
        ),
        ("like = \"a*\", host = \"h\"", "unknown key \"host\""),
    ] {
        let text = format!("pack = \"p\"\nmembers = [{{ {members} }}]\n");
        assert_eq!(complaint(&text).0, message, "{members}");
    }
}

/// Whatever the bytes, there is an answer.
#[test]
fn hostile_files_are_refused() {
    let long = "x".repeat(100_000);
    for text in [
        "\u{0}".to_owned(),
        "[".repeat(10_000),
        "pack = {".to_owned(),
        format!("pack = \"p\"\nname = \"{long}\""),
        "pack = \"p\"\npack = \"p\"".to_owned(),
        format!(
            "pack = \"p\"\nwaves = [{}]\nmembers = [{{databases=[\"a\"]}}]",
            "{take=1},".repeat(1_001)
        ),
        "pack = \"p\"\ncaps = { max_databases = 99999999999999999999 }".to_owned(),
    ] {
        assert!(parse(&text).is_err());
    }
}
