//! The machine, and what a process takes of it, as Linux tells.

use std::fmt;

use crate::stage::Outcome;

/// What the figures were measured on.
#[derive(Debug)]
pub(crate) struct Machine {
    cores: usize,
    memory_gib: u64,
}

impl Machine {
    /// Looks at this machine.
    pub(crate) fn look() -> Outcome<Self> {
        let cores = std::thread::available_parallelism()?.get();
        let total = kib(&std::fs::read_to_string("/proc/meminfo")?, "MemTotal:")?;
        Ok(Self { cores, memory_gib: total.div_ceil(1 << 20) })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cores and {} GiB of memory", self.cores, self.memory_gib)
    }
}

/// How much else this machine does: the load of the last minute.
pub(crate) fn load() -> Outcome<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().next().ok_or("/proc/loadavg is empty")?.parse()?)
}

/// The memory of a process, MiB: what it has now, and the most that it had.
#[allow(clippy::cast_precision_loss, reason = "far fewer KiB than a float can count")]
pub(crate) fn memory(process: u32) -> Outcome<(f64, f64)> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let mib = |name| kib(&text, name).map(|kib| kib as f64 / 1024.0);
    Ok((mib("VmRSS:")?, mib("VmHWM:")?))
}

/// The processor time of a process so far, in seconds.
pub(crate) fn processor_seconds(process: u32) -> Outcome<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may have blanks; after it come the fields from the third on. Times are in hundredths.
    let (_, fields) = text.rsplit_once(')').ok_or("/proc/PID/stat has no name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let [user, system] = [11, 12].map(|index| fields.get(index).and_then(|text| text.parse::<f64>().ok()));
    Ok((user.ok_or("no user time")? + system.ok_or("no system time")?) / 100.0)
}

fn kib(text: &str, name: &str) -> Outcome<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(|| format!("no {name}"))?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
