//! The kinds of work that operators do: finer than their names, one for each way in which a task can run
//! and be taken back. Tests of faults have a case for every kind.

use super::{InPlaceAction, Operator, ShadowStage, Statement, StatementUndo};

impl Operator {
    /// Every kind. A variant that is not here fails a test beside this list.
    pub const KINDS: [&'static str; 18] = [
        "metadata",
        "in_place update",
        "in_place delete",
        "transform",
        "append",
        "statement sql",
        "statement copy",
        "statement nothing",
        "statement irreversible",
        "check",
        "exec",
        "shadow build",
        "shadow fill",
        "shadow index",
        "shadow before",
        "shadow swap",
        "shadow validate",
        "shadow settle",
    ];

    /// The kind of work: one of [`Self::KINDS`], made of the words by which the plan is stored.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Metadata(_) => "metadata",
            Self::InPlace(op) => match op.action {
                InPlaceAction::Update(_) => "in_place update",
                InPlaceAction::Delete => "in_place delete",
            },
            Self::Transform(_) => "transform",
            Self::Append(_) => "append",
            Self::Statement(op) => of_statement(op),
            Self::Check(_) => "check",
            Self::Exec(_) => "exec",
            Self::Shadow(op) => of_stage(&op.stage),
        }
    }
}

fn of_statement(op: &Statement) -> &'static str {
    match op.undo {
        StatementUndo::Sql { .. } => "statement sql",
        StatementUndo::Copy { .. } => "statement copy",
        StatementUndo::Nothing => "statement nothing",
        StatementUndo::Irreversible => "statement irreversible",
    }
}

fn of_stage(stage: &ShadowStage) -> &'static str {
    match stage {
        ShadowStage::Build { .. } => "shadow build",
        ShadowStage::Fill { .. } => "shadow fill",
        ShadowStage::Index { .. } => "shadow index",
        ShadowStage::Before { .. } => "shadow before",
        ShadowStage::Swap { .. } => "shadow swap",
        ShadowStage::Validate { .. } => "shadow validate",
        ShadowStage::Settle { .. } => "shadow settle",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::de::DeserializeOwned;

    use super::*;

    /// The variants of an enum, as serde names them when it is given one that it does not know.
    fn variants<T: DeserializeOwned>(unknown: &str) -> Vec<String> {
        let Err(error) = serde_json::from_str::<T>(unknown) else {
            panic!("{unknown} is a variant");
        };
        let text = error.to_string();
        let (_, list) = text.split_once("expected ").expect("what was expected");
        let names = list.split('`').skip(1).step_by(2);
        names.map(str::to_owned).collect()
    }

    #[test]
    fn every_variant_has_a_kind() {
        let within = |operator: &str, variants: Vec<String>| -> Vec<String> {
            let names = variants.iter();
            names.map(|name| format!("{operator} {name}")).collect()
        };
        let mut expected = BTreeSet::new();
        for operator in variants::<Operator>(r#"{"kind": "?"}"#) {
            expected.extend(match operator.as_str() {
                "in_place" => within("in_place", variants::<InPlaceAction>("\"?\"")),
                "statement" => within("statement", variants::<StatementUndo>(r#"{"undo": "?"}"#)),
                "shadow" => within("shadow", variants::<ShadowStage>(r#"{"stage": "?"}"#)),
                _ => vec![operator],
            });
        }
        let listed: BTreeSet<String> = Operator::KINDS.map(str::to_owned).into();
        assert_eq!(listed, expected);
    }
}
