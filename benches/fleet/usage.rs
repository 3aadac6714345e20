//! What the kernel says a process has used: processor time and memory. Linux only.

use std::{fs, io, path::PathBuf};

/// Ticks of `/proc/PID/stat` are 10 ms on every Linux that Debian builds.
const TICK_NS: u64 = 10_000_000;

/// A process to look at.
#[derive(Debug, Clone)]
pub struct Process {
    proc: PathBuf,
}

/// Processor time used since the process began.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    /// Sum over living threads, to the nanosecond.
    threads_ns: u64,
    /// Whole process including threads that ended, in ticks.
    process_ns: u64,
}

/// Resident memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// All of it.
    pub rss_kib: u64,
    /// The part that is not files: heap and stacks.
    pub anon_kib: u64,
}

impl Process {
    /// The process with this number.
    pub fn new(pid: u32) -> Process {
        Process { proc: PathBuf::from(format!("/proc/{pid}")) }
    }

    /// Its processor time so far.
    pub fn cpu(&self) -> io::Result<Cpu> {
        let mut threads_ns = 0;
        for task in fs::read_dir(self.proc.join("task"))? {
            let schedstat = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            threads_ns += number(schedstat.split_whitespace().next());
        }
        let stat = fs::read_to_string(self.proc.join("stat"))?;
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: u64 = after_name.split_whitespace().skip(11).take(2).map(|field| number(Some(field))).sum();
        Ok(Cpu { threads_ns, process_ns: ticks * TICK_NS })
    }

    /// Its memory now.
    pub fn memory(&self) -> io::Result<Memory> {
        let status = fs::read_to_string(self.proc.join("status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            number(line.and_then(|line| line.split_whitespace().next()))
        };
        Ok(Memory { rss_kib: field("VmRSS:"), anon_kib: field("RssAnon:") })
    }
}

impl Cpu {
    /// Nanoseconds used since an earlier reading. The coarse figure counts only where threads have ended in between.
    pub fn since(self, earlier: Cpu) -> u64 {
        let fine = self.threads_ns.saturating_sub(earlier.threads_ns);
        let coarse = self.process_ns.saturating_sub(earlier.process_ns);
        fine.max(coarse.saturating_sub(2 * TICK_NS))
    }
}

/// Raises this process's limit of open files as far as it may go; children inherit it. Returns the limit.
pub fn raise_file_limit() -> io::Result<u64> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let (soft, hard) = {
        let mut fields = line.split_whitespace();
        (number(fields.next()), number(fields.next()))
    };
    if soft < hard {
        let pid = std::process::id().to_string();
        let nofile = format!("--nofile={hard}:{hard}");
        let done = std::process::Command::new("prlimit").args(["--pid", &pid, &nofile]).status()?;
        if !done.success() {
            return Ok(soft);
        }
    }
    Ok(hard)
}

fn number(field: Option<&str>) -> u64 {
    field.and_then(|text| text.parse().ok()).unwrap_or(0)
}
