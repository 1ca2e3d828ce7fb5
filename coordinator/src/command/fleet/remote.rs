//! Fleets of a cluster, as operators ask for them: the same file, and the coordinator that leads conducts it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use tokio::time::{sleep, timeout};
use tokio_stream::iter;
use tonic::Status;
use upshift_proto::v1::{
    FleetHead, FleetMembers, FleetOrderRequest, FleetPart, FleetReportRequest, FleetStatusRequest,
    FleetStatusResponse, fleet_order_request::What, fleet_part::Part,
};
use upshift_shared::{
    config::Environment,
    fleet::FleetFile,
    ids::RunId,
    telemetry::trace::{Key, Parent, Span, Stage},
};

use super::{
    super::{
        Failure,
        cluster::{
            client::{Client, soon},
            files,
        },
        database::{print_json, print_line, shell_quoted},
    },
    plan,
    report::Report,
    run::{HowArguments, Next},
    shown::{Shown, in_words},
};

/// How long a coordinator may take for a fleet: it lets one travel for 15 minutes.
const DEADLINE: Duration = Duration::from_secs(30 * 60);
/// How long it may take for a report: it looks at all databases.
const REPORT_DEADLINE: Duration = Duration::from_secs(15 * 60);
/// How often it is looked how a fleet stands.
const EVERY: Duration = Duration::from_secs(1);

/// Whether the fleet is one of a cluster, and of which.
#[derive(Debug, Clone, Args)]
pub(super) struct ClusterArguments {
    /// URL of a coordinator of the cluster that conducts the fleet; may be given several times
    #[arg(long = "coordinator", value_name = "URL")]
    coordinators: Vec<String>,
    /// The cluster that upshift.toml names conducts the fleet
    #[arg(long)]
    cluster: bool,
}

/// A fleet of a cluster.
pub(super) struct Remote {
    client: Client,
    file: PathBuf,
    fleet: String,
    /// As the command line has it, for commands that the user is told to say next.
    hint: String,
}

impl ClusterArguments {
    /// `None` where this process conducts the fleet. `file` may be the name of a fleet, where there is no
    /// such file.
    pub(super) fn remote(
        &self,
        file: &Path,
        config: Option<&Path>,
    ) -> Result<Option<Remote>, Failure> {
        if self.coordinators.is_empty() && !self.cluster {
            return Ok(None);
        }
        let fleet = match file.to_str().filter(|name| is_name(name) && !file.exists()) {
            Some(name) => name.to_owned(),
            None => load(file)?.name,
        };
        let quoted = |text: &str| shell_quoted(text);
        let mut hint = quoted(&file.display().to_string());
        for url in &self.coordinators {
            hint.push_str(&format!(" --coordinator {}", quoted(url)));
        }
        if self.cluster {
            hint.push_str(" --cluster");
        }
        Ok(Some(Remote {
            client: Client::to(&self.coordinators, config)?,
            file: file.to_owned(),
            fleet,
            hint,
        }))
    }
}

/// Whether it may be the name of a fleet.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !text.is_empty() && text.chars().all(plain)
}

fn load(file: &Path) -> Result<FleetFile, Failure> {
    FleetFile::load(file).map_err(|error| Failure::usage(error.to_string()))
}

/// How a fleet is submitted.
pub(super) struct Submit<'a> {
    pub(super) options: &'a [String],
    pub(super) yes: bool,
    pub(super) anew: bool,
    pub(super) watch: bool,
}

impl Remote {
    fn command(&self, verb: &str) -> String {
        format!("upshift fleet {verb} {}", self.hint)
    }

    /// Submits the fleet.
    pub(super) async fn run(&self, submit: Submit<'_>, how: &HowArguments) -> Result<(), Failure> {
        let parts = self.parts(FleetHead {
            submission: RunId::generate().to_string(),
            options: submit.options.to_vec(),
            yes: submit.yes,
            anew: submit.anew,
            ..FleetHead::default()
        })?;
        // The same submission again is one submission.
        let mut span = Span::begin(
            Stage::Submit,
            &Parent::of_environment(&Environment::capture()),
        );
        let answer = self
            .client
            .clone()
            .within(span.context())
            .ask(async |mut operator| {
                let answer = timeout(DEADLINE, operator.submit_fleet(iter(parts.clone()))).await;
                let late = |_| Status::unavailable("the coordinator does not answer");
                Ok(answer.map_err(late)??.into_inner())
            })
            .await;
        match &answer {
            Ok(_) => {
                span.text(Key::Fleet, &self.fleet);
                span.end("accepted", false);
            }
            Err(_) => span.end("refused", true),
        }
        let answer = answer?;
        if how.json {
            let line = serde_json::json!({"event": "submitted", "fleet": self.fleet});
            print_line(&line.to_string());
        } else if submit.watch {
            print_line(&format!("fleet {} is under way", self.fleet));
        } else {
            tracing::debug!(answer = answer.message, "it was accepted");
            let watch = self.command("status");
            print_line(&format!(
                "fleet {} is under way; how it goes: {watch} --watch",
                self.fleet
            ));
        }
        if !submit.watch {
            return Ok(());
        }
        let (shown, message) = self.until_end(how.json).await?;
        if !message.is_empty() {
            return Err(Failure::failed(message));
        }
        let next = Next {
            run: self.command("run"),
            retry: self.command("retry"),
            rollback: self.command("rollback"),
            status: self.command("status"),
        };
        how.upgraded(&shown, &next)
    }

    /// What every database would get.
    pub(super) async fn plan(&self, workers: Option<u32>) -> Result<plan::Shown, Failure> {
        let parts = self.parts(FleetHead {
            workers: workers.unwrap_or_default(),
            ..FleetHead::default()
        })?;
        let answer = self
            .client
            .ask(async |mut operator| {
                let answer = timeout(DEADLINE, operator.plan_fleet(iter(parts.clone()))).await;
                let late = |_| Status::unavailable("the coordinator does not answer");
                Ok(answer.map_err(late)??.into_inner())
            })
            .await?;
        understood(&answer.json)
    }

    /// What travels: the order, the files that it names, the pack.
    fn parts(&self, head: FleetHead) -> Result<Vec<FleetPart>, Failure> {
        let order = load(&self.file)?;
        // What is wrong with the pack is said before anything travels.
        upshift_shared::pack::load(&order.pack)?;
        let as_text = |path: &Path| {
            let text = path.to_str().map(str::to_owned);
            text.ok_or_else(|| Failure::usage(format!("{} is not UTF-8", path.display())))
        };
        let mut paths = vec![self.file.as_path()];
        paths.extend(order.files());
        let mut texts = BTreeMap::new();
        for path in paths {
            let content = fs::read(path).map_err(|error| {
                Failure::usage(format!("cannot read {}: {error}", path.display()))
            })?;
            texts.insert(as_text(path)?, content);
        }
        let head = FleetHead {
            file: as_text(&self.file)?,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..head
        };
        let mut parts = vec![Part::Head(head)];
        for (path, content) in &texts {
            parts.extend(files::pieces(path, content).into_iter().map(Part::Order));
        }
        for (path, content) in files::collect(&order.pack)? {
            parts.extend(files::pieces(&path, &content).into_iter().map(Part::Pack));
        }
        let part = |part| FleetPart { part: Some(part) };
        Ok(parts.into_iter().map(part).collect())
    }

    async fn ask(&self, brief: bool) -> Result<(FleetStatusResponse, Shown), Failure> {
        let request = FleetStatusRequest {
            fleet: self.fleet.clone(),
            brief,
        };
        let answer = self
            .client
            .ask(async |mut operator| {
                let answer = timeout(REPORT_DEADLINE, operator.fleet_status(request.clone())).await;
                let late = |_| Status::unavailable("the coordinator does not answer");
                Ok(answer.map_err(late)??.into_inner())
            })
            .await?;
        let shown = understood(&answer.json)?;
        Ok((answer, shown))
    }

    /// Shows how it goes, until the coordinator has nothing more to do with it; how it stands then, and what
    /// it failed for as a whole.
    async fn until_end(&self, json: bool) -> Result<(Shown, String), Failure> {
        let mut last = String::new();
        loop {
            let (answer, shown) = self.ask(true).await?;
            if !answer.under_way {
                let (answer, shown) = self.ask(false).await?;
                return Ok((shown, answer.message));
            }
            let line = format!("{}: {}", shown.standing, in_words(&shown.states));
            if line != last {
                match json {
                    true => print_line(&serde_json::to_string(&shown).expect("it is plain data")),
                    false => print_line(&line),
                }
                last = line;
            }
            sleep(EVERY).await;
        }
    }

    /// Shows how it stands.
    pub(super) async fn status(
        &self,
        (all, watch, json): (bool, bool, bool),
    ) -> Result<(), Failure> {
        let (shown, message) = match watch {
            true => self.until_end(json).await?,
            false => {
                let (answer, shown) = self.ask(false).await?;
                (shown, answer.message)
            }
        };
        if json {
            return print_json(&shown);
        }
        // Where nobody conducts it there is nothing to do.
        let shown = Shown {
            conducted: true,
            ..shown
        };
        print_line(shown.text(all).trim_end());
        if !message.is_empty() {
            print_line(&message);
        }
        Ok(())
    }

    /// Says what became of every database.
    pub(super) async fn report(&self) -> Result<Report, Failure> {
        let request = FleetReportRequest {
            fleet: self.fleet.clone(),
        };
        let answer = self
            .client
            .ask(async |mut operator| {
                let answer = timeout(REPORT_DEADLINE, operator.fleet_report(request.clone())).await;
                let late = |_| Status::unavailable("the coordinator does not answer");
                Ok(answer.map_err(late)??.into_inner())
            })
            .await?;
        understood(&answer.json)
    }

    /// Gives an order.
    pub(super) async fn order(&self, what: What, how: &HowArguments) -> Result<(), Failure> {
        let request = FleetOrderRequest {
            fleet: self.fleet.clone(),
            order: RunId::generate().to_string(),
            what: Some(what),
        };
        let answer = self
            .client
            .ask(async |mut operator| soon(operator.order_fleet(request.clone())).await)
            .await?;
        if how.json {
            return print_json(&serde_json::json!({"ordered": true, "message": answer.message}));
        }
        print_line(&answer.message);
        Ok(())
    }
}

/// Members by name, or a wave; all where nothing is said.
pub(super) fn members(members: &[String], wave: Option<&str>) -> FleetMembers {
    FleetMembers {
        members: members.to_vec(),
        wave: wave.unwrap_or_default().to_owned(),
        force: false,
    }
}

fn understood<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(|error| {
        Failure::failed(format!(
            "the coordinator's answer cannot be understood: {error}; use the version that it has"
        ))
    })
}
