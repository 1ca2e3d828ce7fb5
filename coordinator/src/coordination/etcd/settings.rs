//! How etcd is reached, as `[cluster]` says.

use std::{fs, path::Path};

use upshift_shared::{
    Error, Result,
    config::{ClusterSettings, Environment, TlsFiles},
};

use super::{EtcdOptions, EtcdTls};

impl EtcdOptions {
    /// As `[cluster]` says; `None` where it names no members of etcd.
    ///
    /// # Errors
    /// Where a file or the password cannot be read.
    pub fn of(cluster: &ClusterSettings, environment: &Environment) -> Result<Option<Self>> {
        if cluster.etcd.is_empty() {
            return Ok(None);
        }
        let user = match &cluster.etcd_user {
            None => None,
            Some(user) => {
                let password = cluster.etcd_password(environment)?.ok_or_else(|| {
                    Error::Config(
                        "[cluster] etcd_user needs etcd_password_env or etcd_password_command"
                            .to_owned(),
                    )
                })?;
                Some((user.clone(), password.reveal().to_owned()))
            }
        };
        Ok(Some(Self {
            endpoints: cluster.etcd.clone(),
            prefix: cluster.prefix(),
            lease: cluster.lease,
            user,
            tls: cluster.etcd_tls.as_ref().map(tls).transpose()?,
        }))
    }
}

fn tls(files: &TlsFiles) -> Result<EtcdTls> {
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|source| Error::Io {
            context: format!("cannot read {}", path.display()),
            source,
        })
    };
    let identity = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        _ => None,
    };
    Ok(EtcdTls {
        authority: read(&files.ca)?,
        identity,
    })
}
