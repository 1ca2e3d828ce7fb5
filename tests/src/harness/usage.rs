//! What a process takes of memory and processors, as Linux tells it in `/proc` (proc(5)).

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result};

/// That of a process.
#[derive(Debug)]
pub struct Usage(PathBuf);

impl Usage {
    /// That of this one.
    #[must_use]
    pub fn own() -> Self {
        Self(PathBuf::from("/proc/self"))
    }

    /// That of another one, by its number.
    #[must_use]
    pub fn of(id: u32) -> Self {
        Self(PathBuf::from(format!("/proc/{id}")))
    }

    fn kilobytes(&self, key: &str) -> Result<u64> {
        let status = fs::read_to_string(self.0.join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let number = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
        let number = number.with_context(|| format!("/proc has no {key}"))?;
        Ok(number.parse::<u64>()?)
    }

    /// Bytes that it has in memory.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn memory(&self) -> Result<u64> {
        Ok(self.kilobytes("VmRSS")? * 1_024)
    }

    /// Bytes that it had in memory at the most.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn peak(&self) -> Result<u64> {
        Ok(self.kilobytes("VmHWM")? * 1_024)
    }

    /// From now on [`Self::peak`] is that of what comes.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn forget_peak(&self) -> Result<()> {
        Ok(fs::write(self.0.join("clear_refs"), "5")?)
    }

    /// Time that processors have spent on it, to the hundredth of a second.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn processor(&self) -> Result<Duration> {
        let stat = fs::read_to_string(self.0.join("stat"))?;
        // The name, in parentheses, may have blanks in it.
        let (_, rest) = stat.rsplit_once(')').context("/proc has a name")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |place: usize| -> Result<u64> {
            let field = fields.get(place).context("/proc has times")?;
            Ok(field.parse()?)
        };
        // utime and stime are fields 14 and 15, the state after the name is 3. USER_HZ is 100 on Linux.
        Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
    }
}
