//! How the versions of a pack are read: plainly, or by Odoo's rules with the target's series.

use super::Version;

/// The first major version of Odoo under that name; below, `N.M` is taken for somebody else's scheme.
const FIRST_ODOO: u64 = 8;

/// The scheme of a pack's versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scheme {
    /// As written.
    Plain,
    /// Odoo's: a version may leave out the series, such as `17.0`, which is the target's then
    /// (`convert_version` and `adapt_version` in odoo/modules).
    Odoo(Version),
}

impl Scheme {
    /// The scheme that goes with a target version, unless the pack says which.
    pub(super) fn of_target(target: Option<&Version>) -> Self {
        match target {
            Some(target)
                if target.parts().len() == 2
                    && target.parts()[0] >= FIRST_ODOO
                    && target.parts()[1] < 10 =>
            {
                Self::Odoo(target.clone())
            }
            _ => Self::Plain,
        }
    }

    /// A module's own version, as its manifest has it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn module(&self, text: &str) -> Result<Version, String> {
        let version: Version = text.parse()?;
        match self {
            Self::Odoo(series)
                if version.parts().len() <= 2 || !version.parts().starts_with(series.parts()) =>
            {
                if version.parts().len() > 3 {
                    return Err(format!(
                        "version {text} is of another series than the pack's target {series}: write {series} and the module's own version"
                    ));
                }
                format!("{series}.{text}").parse()
            }
            _ => Ok(version),
        }
    }

    /// The version of a folder below `migrations`, and whether it was written without the series.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn folder(&self, text: &str) -> Result<(Version, bool), String> {
        let version: Version = text.parse()?;
        match self {
            Self::Odoo(series) if !version.is_always() && version.parts().len() <= 3 => {
                Ok((format!("{series}.{text}").parse()?, true))
            }
            _ => Ok((version, false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_versions_take_the_target_s_series() {
        let target: Version = "17.0".parse().unwrap();
        let odoo = Scheme::of_target(Some(&target));
        let folder = |text: &str| odoo.folder(text).map(|(v, short)| (v.to_string(), short));
        assert_eq!(folder("1.2"), Ok(("17.0.1.2".into(), true)));
        assert_eq!(folder("1.2.3"), Ok(("17.0.1.2.3".into(), true)));
        assert_eq!(folder("17.0.1.2"), Ok(("17.0.1.2".into(), false)));
        assert_eq!(folder("16.0.1.2"), Ok(("16.0.1.2".into(), false)));
        assert_eq!(folder("0.0.0"), Ok(("0.0.0".into(), false)));
        let module = |text: &str| odoo.module(text).map(|v| v.to_string());
        assert_eq!(module("1.2"), Ok("17.0.1.2".into()));
        assert_eq!(module("17.0"), Ok("17.0.17.0".into()));
        assert_eq!(module("17.0.1.2"), Ok("17.0.1.2".into()));
        assert!(module("16.0.1.2").is_err());
    }

    #[test]
    fn other_applications_versions_stay_as_they_are() {
        for target in [None, Some("2.0"), Some("24.10"), Some("3.1.0")] {
            let target = target.map(|text| text.parse::<Version>().unwrap());
            let scheme = Scheme::of_target(target.as_ref());
            assert_eq!(scheme, Scheme::Plain, "{target:?}");
            assert_eq!(
                scheme.module("2.0").map(|v| v.to_string()),
                Ok("2.0".into())
            );
            assert_eq!(
                scheme.folder("1.2").map(|(v, s)| (v.to_string(), s)),
                Ok(("1.2".into(), false))
            );
        }
    }
}
