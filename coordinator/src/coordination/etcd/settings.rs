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
    /// Where a file or the password cannot be read, or members are to be trusted by nobody's word: this
    /// program has no authorities of its own, so without one every `https://` handshake would fail.
    pub fn of(cluster: &ClusterSettings, environment: &Environment) -> Result<Option<Self>> {
        if cluster.etcd.is_empty() {
            return Ok(None);
        }
        let secure = |url: &&String| url.starts_with("https://");
        if let (Some(url), None) = (cluster.etcd.iter().find(secure), &cluster.etcd_tls) {
            return Err(Error::Config(format!(
                "[cluster] etcd has {url}, so [cluster.etcd_tls] has to name ca: who signed the certificates \
                 of the members"
            )));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_needs_an_authority() {
        let environment = Environment::default();
        let of = |etcd: &[&str]| {
            let etcd = etcd.iter().map(|&url| url.to_owned()).collect();
            let cluster = ClusterSettings {
                etcd,
                ..ClusterSettings::default()
            };
            EtcdOptions::of(&cluster, &environment)
        };
        assert!(matches!(of(&[]), Ok(None)));
        assert!(matches!(of(&["http://etcd:2379"]), Ok(Some(_))));
        let mixed = of(&["http://etcd-1:2379", "https://etcd-2:2379"]);
        let refusal = mixed.err().expect("nobody vouches for it").to_string();
        assert!(refusal.contains("https://etcd-2:2379"), "{refusal}");
        assert!(refusal.contains("[cluster.etcd_tls]"), "{refusal}");
    }
}
