//! `[cluster]`: where its parts find each other, by what they know each other, and what they may take.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use toml::{Spanned, de::DeValue};

use super::{connection::Secret, environment::Environment, file::Source, secret::SecretSource};
use crate::Result;

/// A lease that a process holds in etcd, where nothing else is said.
const LEASE: Duration = Duration::from_secs(5);
/// Packs may be so large, all files together.
const PACK_BYTES: u64 = 64 * 1024 * 1024;

/// What somebody may do in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Looks, and changes nothing.
    Viewer,
    /// Submits runs, and takes them forward and back.
    Operator,
    /// Runs units.
    Worker,
    /// Drives runs.
    Coordinator,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Viewer,
        Self::Operator,
        Self::Worker,
        Self::Coordinator,
    ];

    /// Its name, in configurations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Worker => "worker",
            Self::Coordinator => "coordinator",
        }
    }

    /// The organization (O) that the subject of a certificate names for it.
    #[must_use]
    pub fn organization(self) -> &'static str {
        match self {
            Self::Viewer => "upshift-viewer",
            Self::Operator => "upshift-operator",
            Self::Worker => "upshift-worker",
            Self::Coordinator => "upshift-coordinator",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Whether who has this role may do what is for `asked`: operators may look as well, and a coordinator
    /// may ask another one whatever an operator may.
    #[must_use]
    pub fn may(self, asked: Self) -> bool {
        match asked {
            Self::Viewer => matches!(self, Self::Viewer | Self::Operator | Self::Coordinator),
            Self::Operator => matches!(self, Self::Operator | Self::Coordinator),
            Self::Worker | Self::Coordinator => self == asked,
        }
    }
}

/// Files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Who signed the certificates of the others.
    pub ca: PathBuf,
    /// This part's own certificate, with those between it and the CA.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// Somebody who is known by a token: `[cluster.tokens.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What he may do.
    pub role: Role,
    /// SHA-256 of the token, in lower-case hexadecimal digits: the token itself stands nowhere.
    pub sha256: String,
}

/// `[cluster]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Its name: what keys in etcd begin with is `/upshift/NAME/`.
    pub name: String,
    /// `http://` or `https://` addresses of the members of etcd.
    pub etcd: Vec<String>,
    /// Who asks etcd.
    pub etcd_user: Option<String>,
    /// `etcd_password_env`, `etcd_password_file`, `etcd_password_command`
    pub etcd_password: SecretSource,
    /// `[cluster.etcd_tls]`
    pub etcd_tls: Option<TlsFiles>,
    /// How long what a process holds in etcd outlives it.
    pub lease: Duration,
    /// Where a coordinator listens.
    pub listen: Option<SocketAddr>,
    /// By what URL others reach this coordinator.
    pub advertise: Option<String>,
    /// Where metrics are served, in the text format of Prometheus, over plain HTTP.
    pub metrics: Option<SocketAddr>,
    /// URLs of coordinators, for workers and operators that do not ask etcd.
    pub coordinators: Vec<String>,
    /// Whether plain text is allowed where others than this machine can listen.
    pub insecure: bool,
    /// Units of all runs at once.
    pub max_units: Option<u32>,
    /// Runs that are driven at once; others wait for their turn.
    pub max_runs: u32,
    /// A submitted pack may be so large, all files together.
    pub max_pack_bytes: u64,
    /// Whether fleets may have hooks: programs that an operator names, and that this coordinator runs.
    pub hooks: bool,
    /// `[cluster.tls]`
    pub tls: Option<TlsFiles>,
    /// `[cluster.tokens.NAME]`: who may do what without a certificate. For a coordinator.
    pub tokens: BTreeMap<String, Token>,
    /// `token_env`, `token_file`, `token_command`: what this part shows to a coordinator.
    pub token: SecretSource,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            etcd: Vec::new(),
            etcd_user: None,
            etcd_password: SecretSource::default(),
            etcd_tls: None,
            lease: LEASE,
            listen: None,
            advertise: None,
            metrics: None,
            coordinators: Vec::new(),
            insecure: false,
            max_units: None,
            max_runs: 100,
            max_pack_bytes: PACK_BYTES,
            hooks: false,
            tls: None,
            tokens: BTreeMap::new(),
            token: SecretSource::default(),
        }
    }
}

impl ClusterSettings {
    /// What the keys of this cluster in etcd begin with.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("/upshift/{}", self.name)
    }

    /// The password for etcd.
    ///
    /// # Errors
    /// Where it is not to be had.
    pub fn etcd_password(&self, environment: &Environment) -> Result<Option<Secret>> {
        self.etcd_password
            .read("[cluster]", "etcd_password", environment)
    }

    /// What is shown to a coordinator.
    ///
    /// # Errors
    /// Where it is not to be had.
    pub fn token(&self, environment: &Environment) -> Result<Option<Secret>> {
        self.token.read("[cluster]", "token", environment)
    }
}

/// `[servers."HOST:PORT"]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerSettings {
    /// Units at once on all databases of the server.
    pub max_units: Option<u32>,
    /// Runs at once on all databases of the server.
    pub max_runs: Option<u32>,
}

/// The keys of `[cluster]`.
const KEYS: [&str; 22] = [
    "name",
    "etcd",
    "etcd_user",
    "etcd_password_env",
    "etcd_password_file",
    "etcd_password_command",
    "etcd_tls",
    "lease",
    "listen",
    "advertise",
    "metrics",
    "coordinators",
    "insecure",
    "max_units",
    "max_runs",
    "max_pack",
    "hooks",
    "tls",
    "tokens",
    "token_env",
    "token_file",
    "token_command",
];

impl Source<'_> {
    /// `[cluster]`
    pub(super) fn cluster(&self, value: &Spanned<DeValue<'_>>) -> Result<ClusterSettings> {
        let mut cluster = ClusterSettings::default();
        for (key, value) in self.table(value, "[cluster]")? {
            match key.get_ref().as_ref() {
                "name" => cluster.name = self.cluster_name(value)?,
                "etcd" => cluster.etcd = self.urls(value)?,
                "etcd_user" => cluster.etcd_user = Some(self.string(value)?.to_owned()),
                "etcd_password_env" => {
                    cluster.etcd_password.env = Some(self.string(value)?.to_owned());
                }
                "etcd_password_file" => {
                    cluster.etcd_password.file = Some(self.string(value)?.into());
                }
                "etcd_password_command" => {
                    cluster.etcd_password.command = Some(self.strings(value)?);
                }
                "etcd_tls" => cluster.etcd_tls = Some(self.tls(value, "[cluster.etcd_tls]")?),
                "lease" => cluster.lease = self.duration(value)?,
                "listen" => cluster.listen = Some(self.address(value)?),
                "advertise" => cluster.advertise = Some(self.url(value)?),
                "metrics" => cluster.metrics = Some(self.address(value)?),
                "coordinators" => cluster.coordinators = self.urls(value)?,
                "insecure" => cluster.insecure = self.boolean(value)?,
                "max_units" => cluster.max_units = Some(self.count(value)?),
                "max_runs" => cluster.max_runs = self.count(value)?,
                "max_pack" => cluster.max_pack_bytes = self.size(value)?,
                "hooks" => cluster.hooks = self.boolean(value)?,
                "tls" => cluster.tls = Some(self.tls(value, "[cluster.tls]")?),
                "tokens" => cluster.tokens = self.tokens(value)?,
                "token_env" => cluster.token.env = Some(self.string(value)?.to_owned()),
                "token_file" => cluster.token.file = Some(self.string(value)?.into()),
                "token_command" => cluster.token.command = Some(self.strings(value)?),
                _ => return Err(self.unknown(key, KEYS)),
            }
        }
        Ok(cluster)
    }

    /// `[servers."HOST:PORT"]`
    pub(super) fn server(&self, value: &Spanned<DeValue<'_>>) -> Result<ServerSettings> {
        let mut server = ServerSettings::default();
        for (key, value) in self.table(value, "[servers.\"HOST:PORT\"]")? {
            match key.get_ref().as_ref() {
                "max_units" => server.max_units = Some(self.count(value)?),
                "max_runs" => server.max_runs = Some(self.count(value)?),
                _ => return Err(self.unknown(key, ["max_units", "max_runs"])),
            }
        }
        Ok(server)
    }

    /// A table of strings.
    pub(crate) fn labels(&self, value: &Spanned<DeValue<'_>>) -> Result<BTreeMap<String, String>> {
        let table = self.table(value, "labels = { region = \"eu\" }")?;
        let pairs = table.iter().map(|(key, value)| {
            let text = self.string(value)?;
            Ok((key.get_ref().to_string(), text.to_owned()))
        });
        pairs.collect()
    }

    fn tokens(&self, value: &Spanned<DeValue<'_>>) -> Result<BTreeMap<String, Token>> {
        let mut tokens = BTreeMap::new();
        for (name, entry) in self.table(value, "[cluster.tokens.NAME]")? {
            let (mut role, mut sha256) = (None, None);
            for (key, value) in self.table(entry, "[cluster.tokens.NAME]")? {
                match key.get_ref().as_ref() {
                    "role" => role = Some(self.role(value)?),
                    "sha256" => sha256 = Some(self.sha256(value)?),
                    _ => return Err(self.unknown(key, ["role", "sha256"])),
                }
            }
            let (Some(role), Some(sha256)) = (role, sha256) else {
                let message = "a token has a role and the sha256 of the token".to_owned();
                return Err(self.complain(entry.span(), message));
            };
            tokens.insert(name.get_ref().to_string(), Token { role, sha256 });
        }
        Ok(tokens)
    }

    fn role(&self, value: &Spanned<DeValue<'_>>) -> Result<Role> {
        let role = Role::parse(self.string(value)?);
        role.ok_or_else(|| {
            let names = Role::ALL.map(Role::name);
            let message = format!("expected one of {}", names.join(", "));
            self.complain(value.span(), message)
        })
    }

    fn sha256(&self, value: &Spanned<DeValue<'_>>) -> Result<String> {
        let text = self.string(value)?.to_ascii_lowercase();
        let is_digest = text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit());
        match is_digest {
            true => Ok(text),
            false => {
                let message = "expected 64 hexadecimal digits: what `sha256sum` prints of the \
                               token, without a newline at its end"
                    .to_owned();
                Err(self.complain(value.span(), message))
            }
        }
    }

    pub(super) fn tls(&self, value: &Spanned<DeValue<'_>>, what: &str) -> Result<TlsFiles> {
        let (mut ca, mut certificate, mut private) = (None, None, None);
        for (key, value) in self.table(value, what)? {
            let file = PathBuf::from(self.string(value)?);
            match key.get_ref().as_ref() {
                "ca" => ca = Some(file),
                "certificate" => certificate = Some(file),
                "key" => private = Some(file),
                _ => return Err(self.unknown(key, ["ca", "certificate", "key"])),
            }
        }
        let Some(ca) = ca else {
            let message = format!("{what} needs ca: who signed the certificates of the others");
            return Err(self.complain(value.span(), message));
        };
        if certificate.is_some() != private.is_some() {
            let message = format!("{what} needs both certificate and key, or neither");
            return Err(self.complain(value.span(), message));
        }
        Ok(TlsFiles {
            ca,
            certificate,
            key: private,
        })
    }

    fn cluster_name(&self, value: &Spanned<DeValue<'_>>) -> Result<String> {
        let name = self.string(value)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        match !name.is_empty() && name.chars().all(plain) {
            true => Ok(name.to_owned()),
            false => {
                let message = "expected letters, digits, - and _".to_owned();
                Err(self.complain(value.span(), message))
            }
        }
    }

    pub(super) fn url(&self, value: &Spanned<DeValue<'_>>) -> Result<String> {
        let text = self.string(value)?;
        let host = ["https://", "http://"]
            .into_iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .unwrap_or_default();
        // Whoever writes a password into a URL would find it in etcd and in logs.
        match !host.is_empty() && !host.contains('@') {
            true => Ok(text.to_owned()),
            false => {
                let message = "expected https://HOST:PORT, or http://HOST:PORT".to_owned();
                Err(self.complain(value.span(), message))
            }
        }
    }

    fn urls(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>> {
        let items = value.get_ref().as_array().filter(|items| !items.is_empty());
        let items = items.ok_or_else(|| {
            let message = "expected an array: [\"https://HOST:PORT\", …]".to_owned();
            self.complain(value.span(), message)
        })?;
        items.iter().map(|item| self.url(item)).collect()
    }

    fn address(&self, value: &Spanned<DeValue<'_>>) -> Result<SocketAddr> {
        self.string(value)?.parse().map_err(|_| {
            let message = "expected an address and a port: \"127.0.0.1:7432\", \"[::]:7432\"";
            self.complain(value.span(), message.to_owned())
        })
    }

    pub(crate) fn boolean(&self, value: &Spanned<DeValue<'_>>) -> Result<bool> {
        let flag = value.get_ref().as_bool();
        flag.ok_or_else(|| self.complain(value.span(), "expected true or false".to_owned()))
    }

    pub(crate) fn size(&self, value: &Spanned<DeValue<'_>>) -> Result<u64> {
        let text = value.get_ref().as_str().unwrap_or_default();
        super::parse_size(text).map_err(|message| self.complain(value.span(), message))
    }
}
