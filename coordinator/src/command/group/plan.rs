//! `upshift plan PACK --group FILE`: the plan of each database. Changes nothing.

use std::{collections::BTreeMap, path::Path};

use upshift_shared::pg;

use super::{
    super::{
        Failure,
        compiling::{self, PackArguments},
        database::{print_json, print_line},
        plan::WIDTH,
    },
    opening::Group,
};
use crate::compile;

pub(in super::super) async fn run(
    file: &Path,
    pack: &PackArguments,
    json: bool,
    config: Option<&Path>,
) -> Result<(), Failure> {
    let group = Group::read(file, config)?;
    let mut plans = BTreeMap::new();
    for member in &group.members {
        let of = |failure: Failure| failure.within(&format!("database {}", member.name));
        let loaded = compiling::load(member.pack.as_ref().unwrap_or(&pack.pack))?;
        let conn = pg::connect(&member.target, "upshift plan").await;
        let mut conn = conn.map_err(|error| of(error.into()))?;
        let sources = compiling::read(&mut conn, loaded, pack).await.map_err(of)?;
        let options = sources.options(pack);
        plans.insert(
            &member.name,
            compiling::compile(sources, &options).map_err(of)?,
        );
    }
    if json {
        return print_json(&plans);
    }
    for member in &group.members {
        print_line(&format!("database {}", member.name));
        print_line(compile::render::tree(&plans[&member.name], WIDTH).trim_end());
    }
    Ok(())
}
