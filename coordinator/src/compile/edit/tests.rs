use super::*;

fn step(identity: &str, file: &str, line: u32) -> KnownStep {
    KnownStep {
        identity: identity.to_owned(),
        location: Location {
            file: file.into(),
            line,
            column: 1,
        },
        checkpoint: None,
    }
}

fn changes(was: &[KnownStep], now: &[KnownStep]) -> Vec<String> {
    let changes = Matching::new(was, now).changes();
    changes
        .into_iter()
        .map(|change| match change {
            Change::Added { now } => format!("+ {now}"),
            Change::Removed { was } => format!("- {was}"),
            Change::Changed { was, now } => format!("{was} -> {now}"),
        })
        .collect()
}

#[test]
fn steps_are_known_again_wherever_they_stand() {
    let was = [
        step("a", "x.sql", 1),
        step("b", "x.sql", 2),
        step("a", "y.sql", 1),
        step("c", "y.sql", 2),
    ];
    let same = |now: &[KnownStep]| changes(&was, now);
    // Lines move, a file gets another name.
    assert!(
        same(&[
            step("a", "x.sql", 4),
            step("b", "x.sql", 9),
            step("a", "z.sql", 1),
            step("c", "z.sql", 2),
        ])
        .is_empty()
    );
    // Of two that are the same, each is looked for in its own file first.
    assert_eq!(
        same(&[
            step("b", "x.sql", 1),
            step("a", "y.sql", 1),
            step("c", "y.sql", 2)
        ]),
        ["- x.sql:1:1"]
    );
    assert_eq!(
        same(&[
            step("a", "x.sql", 1),
            step("d", "x.sql", 2),
            step("e", "x.sql", 3),
            step("a", "y.sql", 1),
        ]),
        ["x.sql:2:1 -> x.sql:2:1", "- y.sql:2:1", "+ x.sql:3:1"]
    );
}
